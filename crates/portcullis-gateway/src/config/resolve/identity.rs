//! `[identity]` and `[tokens]`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use portcullis_auth::access::Roles;
use portcullis_auth::{Algorithm, DEFAULT_CACHED_TOKENS, MAX_TOKEN_BYTES};
use portcullis_core::HumanDuration;
use portcullis_identity::{
    Database, ExtraClaim, Letters, Lockout, PasswordHash, PasswordPolicy, PostgresUrl, PostgresUrlError,
    longest_access_token,
};

use super::context::Context;
use super::pages;
use super::secrets::{self, Origin};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    ApiKeysTable, At, HashName, IdentityTable, LockoutTable, OneOrMany, PasswordTable, PolicyName, Raw, SessionsTable,
    Table, TokensTable,
};
use crate::config::settings::{IdentitySettings, MailDelivery, SessionSettings, TokenSettings};
use crate::config::words::{alternatives, closest};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What every token says.
const PROMISED_CLAIMS: [&str; 11] =
    ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "role", "plan", "ver"];
/// The longest access token that fits into a cookie with its name and attributes (RFC 6265 §6.1).
const MAX_COOKIE_BYTES: usize = 4096 - 128;
/// What a head needs besides a token.
const OTHER_HEADERS: usize = 2048;

/// The algorithms that our own tokens can be signed with.
const OURS: [Algorithm; 4] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256];

/// The identity endpoints, `None` where they are turned off.
pub(super) fn identity(
    cx: &mut Context<'_>,
    raw: &Raw,
    public_url: &Arc<str>,
    mail: MailDelivery,
    letters: Letters,
) -> Option<IdentitySettings> {
    let none = IdentityTable::default();
    let table = raw.identity.as_ref().map_or(&none, Table::get);
    let tokens = tokens(cx, raw, public_url);
    let master_key = secrets::key(
        cx,
        "master key",
        &Origin {
            file: raw.master_key_file.as_ref(),
            variable: raw.master_key_env.as_ref(),
            fallback: Some("PORTCULLIS_MASTER_KEY"),
        },
    );
    let database = database(cx, raw, table, master_key.is_some());
    let registration = match (&table.registration, &mail) {
        (Some(at), MailDelivery::None) if *at.get() => {
            // A [mail] that is wrong has been told of, and is what has to be put right.
            if raw.mail.is_none() && !cx.is_damaged_below("mail") {
                let found = Diagnostic::error(at.span(), "registration needs mail, to confirm addresses");
                cx.push(found.hint("add [mail] with a server, or create accounts with \"portcullis users create\""));
            }
            false
        }
        (Some(at), _) => *at.get(),
        (None, mail) => !matches!(mail, MailDelivery::None),
    };
    let default_role = table.default_role.as_ref().and_then(|at| cx.name(at)).unwrap_or_else(|| "viewer".into());
    let default_plan = table.default_plan.as_ref().and_then(|at| cx.name(at)).unwrap_or_else(|| "free".into());
    let no_password = PasswordTable::default();
    let password = table.password.as_ref().map_or(&no_password, Table::get);
    let settings = IdentitySettings {
        database,
        master_key,
        registration,
        default_role: default_role.into(),
        default_plan: default_plan.into(),
        password_policy: match password.policy.as_ref().map(At::get) {
            None | Some(PolicyName::Default) => PasswordPolicy::Standard,
            Some(PolicyName::Special) => PasswordPolicy::Special,
            Some(PolicyName::Nist) => PasswordPolicy::Nist,
        },
        password_hash: match password.hash.as_ref().map(At::get) {
            None | Some(HashName::Argon2id) => PasswordHash::Argon2id,
            Some(HashName::Bcrypt) => PasswordHash::Bcrypt,
        },
        mail,
        letters,
        tokens,
        sessions: sessions(cx, table),
        lockout: lockout(cx, table),
        pages: pages::pages(cx, table),
        api_keys_per_account: {
            let none = ApiKeysTable::default();
            let given = table.api_keys.as_ref().map_or(&none, Table::get);
            u32::try_from(cx.number(given.per_account.as_ref(), 20, 0..=10_000)).unwrap_or(20)
        },
    };
    table.enabled.as_ref().is_none_or(|at| *at.get()).then_some(settings)
}

fn sessions(cx: &mut Context<'_>, table: &IdentityTable) -> SessionSettings {
    let none = SessionsTable::default();
    let given = table.sessions.as_ref().map_or(&none, Table::get);
    let settings = SessionSettings {
        life: cx.duration(given.life.as_ref(), 7 * DAY, 10 * MINUTE..=366 * DAY),
        // When a session was last used is known to within two minutes, so that a shorter time would mean nothing.
        idle: cx.duration(given.idle.as_ref(), DAY / 2, 10 * MINUTE..=366 * DAY),
    };
    if let Some(at) = &given.idle
        && settings.idle > settings.life
    {
        let (idle, life) = (HumanDuration(settings.idle), HumanDuration(settings.life));
        cx.push(Diagnostic::warning(at.span(), format!("a session of {life} never rests for {idle}")));
    }
    settings
}

fn lockout(cx: &mut Context<'_>, table: &IdentityTable) -> Option<Lockout> {
    let none = LockoutTable::default();
    let given = table.lockout.as_ref().map_or(&none, Table::get);
    let lockout = Lockout {
        // NIST SP 800-63B-4 §3.2.2: no more than 100 in a row.
        attempts: u32::try_from(cx.number(given.attempts.as_ref(), 5, 1..=100)).unwrap_or(5),
        window: cx.duration(given.window.as_ref(), 15 * MINUTE, MINUTE..=DAY),
        per_day: u32::try_from(cx.number(given.per_day.as_ref(), 50, 1..=10_000)).unwrap_or(50),
        device_life: cx.duration(given.device_life.as_ref(), 90 * DAY, DAY..=366 * DAY),
        notice: given.notice.as_ref().is_none_or(|at| *at.get()),
    };
    match &given.enabled {
        Some(at) if !*at.get() => {
            let found = Diagnostic::warning(at.span(), "whoever has many addresses can try any number of passwords");
            cx.push(found.hint("leave it on: it lets no stranger lock an owner out"));
            None
        }
        _ => Some(lockout),
    }
}

fn database(cx: &mut Context<'_>, raw: &Raw, table: &IdentityTable, has_master_key: bool) -> Database {
    let standard = || Database::Sqlite("portcullis.db".into());
    let connections = cx.number(table.database_connections.as_ref(), PostgresUrl::CONNECTIONS.into(), 2..=500);
    let Some(at) = &table.database else { return standard() };
    let text = at.get().as_str();
    if let Some(path) = text.strip_prefix("sqlite:")
        && !path.is_empty()
        && !path.contains(['?', '\0'])
    {
        return Database::Sqlite(path.into());
    }
    // A database's URL may hold a password, so that none of it is shown.
    if !text.starts_with("postgres:") && !text.starts_with("postgresql:") {
        let found = Diagnostic::error(at.span(), "this is not a database");
        let found = found.concealed().expected("\"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"");
        cx.push(found.hint("write for example \"sqlite:portcullis.db\""));
        return standard();
    }
    let url = match PostgresUrl::parse(text) {
        Ok(url) => url,
        Err(error) => {
            let hint = match error {
                PostgresUrlError::Unreadable => "write for example \"postgres://portcullis@db.example.com/accounts\"",
                PostgresUrlError::Parameter => {
                    "known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, user, password, dbname, \
                     options and application_name; a \"?\" in a password is written %3F"
                }
            };
            cx.push(Diagnostic::error(at.span(), error.to_string()).concealed().hint(hint));
            return standard();
        }
    };
    if url.holds_password() {
        let found = Diagnostic::warning(at.span(), "the password of the database stands in this file").concealed();
        cx.push(found.hint("leave it out and set PGPASSWORD, or write it into ~/.pgpass"));
    }
    if url.is_exposed() {
        let found = Diagnostic::warning(at.span(), "the way to the database is not protected").concealed();
        cx.push(found.hint("add ?sslmode=verify-full, and &sslrootcert=FILE for a certificate authority of your own"));
    }
    if !has_master_key && raw.master_key_file.is_none() && raw.master_key_env.is_none() {
        let found = Diagnostic::error(at.span(), "PostgreSQL needs a master key, the same for every instance");
        cx.push(found.concealed().hint("openssl rand -hex 32 > master.key, then master_key_file = \"master.key\""));
    }
    url.with_connections(u32::try_from(connections).unwrap_or(PostgresUrl::CONNECTIONS)).into()
}

/// How many verified tokens are remembered. It stands with our own tokens in the file, and holds for everybody's.
pub(super) fn remembered_tokens(cx: &mut Context<'_>, raw: &Raw) -> usize {
    let given = raw.tokens.as_ref().and_then(|table| table.get().remembered.as_ref());
    cx.count(given, DEFAULT_CACHED_TOKENS, 1_000..=10_000_000)
}

fn tokens(cx: &mut Context<'_>, raw: &Raw, public_url: &Arc<str>) -> TokenSettings {
    let none = TokensTable::default();
    let table = raw.tokens.as_ref().map_or(&none, Table::get);
    let audience = table.audience.as_ref().and_then(|at| cx.text(at)).map_or_else(|| public_url.clone(), Arc::from);
    let algorithm = table.algorithm.as_ref().and_then(|at| algorithm(cx, at.get().as_str(), at.span(), &OURS));
    let settings = TokenSettings {
        audience,
        claims: extra_claims(cx, table),
        algorithm: algorithm.unwrap_or(Algorithm::Es256),
        access_ttl: cx.duration(table.access.as_ref(), 15 * MINUTE, 10 * SECOND..=DAY),
        refresh_ttl: cx.duration(table.refresh.as_ref(), 7 * DAY, MINUTE..=366 * DAY),
        grace: cx.duration(table.grace.as_ref(), 10 * SECOND, Duration::ZERO..=MINUTE),
        leeway: cx.duration(table.leeway.as_ref(), 30 * SECOND, Duration::ZERO..=5 * MINUTE),
        max_staleness: cx.duration(table.max_staleness.as_ref(), MINUTE, 2 * SECOND..=15 * MINUTE),
        rotate_every: cx.duration(table.rotate.as_ref(), 90 * DAY, DAY..=3660 * DAY),
    };
    if settings.refresh_ttl <= settings.access_ttl {
        let span = table.refresh.as_ref().map(At::span).or_else(|| table.access.as_ref().map(At::span));
        let (refresh, access) = (HumanDuration(settings.refresh_ttl), HumanDuration(settings.access_ttl));
        cx.push(Diagnostic::error(span, format!("refresh tokens ({refresh}) must outlive access tokens ({access})")));
    }
    if let Some(at) = &table.access
        && settings.access_ttl > 60 * MINUTE
    {
        let found = Diagnostic::warning(at.span(), "access tokens live longer than an hour");
        cx.push(found.hint("a stolen one is good that long wherever revocations are not seen; 15m is usual"));
    }
    if let Some(at) = &table.algorithm
        && settings.algorithm == Algorithm::Hs256
    {
        let found = Diagnostic::warning(at.span(), "with HS256 whoever can verify tokens can also make them");
        cx.push(found.hint("prefer \"ES256\" or \"EdDSA\""));
    }
    settings
}

/// The claims that `[tokens] claims` adds.
fn extra_claims(cx: &mut Context<'_>, table: &TokensTable) -> Vec<ExtraClaim> {
    let names = || ExtraClaim::ALL.into_iter().map(ExtraClaim::as_str);
    let mut claims = Vec::new();
    for at in table.claims.iter().flat_map(|OneOrMany(list)| list) {
        let name = at.get().as_str();
        match ExtraClaim::ALL.into_iter().find(|claim| claim.as_str() == name) {
            Some(claim) if claims.contains(&claim) => {
                cx.push(Diagnostic::warning(at.span(), format!("{name:?} stands here twice")));
            }
            Some(claim) => claims.push(claim),
            None if PROMISED_CLAIMS.contains(&name) => {
                cx.push(Diagnostic::warning(at.span(), format!("every token says {name:?} already")));
            }
            None => {
                let found = Diagnostic::error(at.span(), format!("{name:?} is not a claim that tokens can be given"));
                let found = found.expected(alternatives(names()));
                cx.push(match closest(name, names()) {
                    Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
                    None => found,
                });
            }
        }
    }
    claims
}

/// The claims of our own tokens that a limit can count by: texts, and no lists.
pub(super) fn countable_claims(tokens: &TokenSettings) -> Vec<&'static str> {
    let texts = tokens.claims.iter().filter(|claim| !matches!(claim, ExtraClaim::Permissions | ExtraClaim::Roles));
    PROMISED_CLAIMS.into_iter().chain(texts.map(|claim| claim.as_str())).collect()
}

/// Reports tokens that would be too long for those who have to take them.
pub(super) fn token_length(
    cx: &mut Context<'_>,
    raw: &Raw,
    public_url: &str,
    tokens: &TokenSettings,
    around: (&Roles, usize),
) {
    let (roles, max_head) = around;
    let (length, role) = longest_access_token(public_url, &tokens.audience, tokens.algorithm, &tokens.claims, roles);
    let written = raw.tokens.iter().flat_map(|table| &table.get().claims).flat_map(|OneOrMany(list)| list);
    let longest = written.clone().find(|at| at.get().as_str() == ExtraClaim::Permissions.as_str());
    let span = longest.or_else(|| written.clone().next()).map(At::span);
    let whose = role.map_or_else(String::new, |role| format!(" of an account with the role {role:?}"));
    let told = format!("access tokens{whose} may grow to {length} bytes");
    let shorter = "take \"permissions\" out of the list, or give the role fewer of them, with wildcards (\"posts:*\")";
    if length > MAX_TOKEN_BYTES {
        let found = Diagnostic::error(span, format!("{told}; a token of more than {MAX_TOKEN_BYTES} is refused"));
        cx.push(found.hint(shorter));
    } else if length + OTHER_HEADERS > max_head {
        let found =
            Diagnostic::error(span, format!("{told}; a request's head may have {max_head} ([client] max_head)"));
        cx.push(found.hint(shorter));
    } else if length > MAX_COOKIE_BYTES {
        let found = Diagnostic::warning(span, format!("{told}; a browser keeps no cookie of more than 4096"));
        cx.push(found.hint("a login with \"delivery\": \"cookie\" would be lost; \"session\" and \"body\" work"));
    }
}

/// An algorithm among those that can stand here.
pub(super) fn algorithm(
    cx: &mut Context<'_>,
    text: &str,
    span: Range<usize>,
    choices: &[Algorithm],
) -> Option<Algorithm> {
    let names = || choices.iter().map(|choice| choice.as_str());
    if let Ok(algorithm) = text.parse::<Algorithm>()
        && choices.contains(&algorithm)
    {
        return Some(algorithm);
    }
    let found = Diagnostic::error(span, format!("{text:?} cannot be used as a signature algorithm here"));
    let found = found.expected(alternatives(names()));
    cx.push(if text.eq_ignore_ascii_case("none") {
        found.hint("\"none\" would let everyone write tokens")
    } else {
        match closest(text, names()) {
            Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
            None => found,
        }
    });
    None
}

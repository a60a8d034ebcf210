//! `[identity]`, `[tokens]` and `[[issuer]]`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use portcullis_auth::Algorithm;
use portcullis_core::{HumanDuration, Secret};
use portcullis_identity::PasswordPolicy;

use super::context::Context;
use super::secrets::{self, Origin};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    At, ClaimsTable, IdentityTable, IssuerTable, OneOrMany, PasswordName, Raw, Table, Text, TokensTable,
};
use crate::config::settings::{
    ClaimSettings, IdentitySettings, IssuerKeys, IssuerSettings, MailDelivery, TokenSettings,
};
use crate::config::words::{alternatives, closest};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// The algorithms that our own tokens can be signed with.
const OURS: [Algorithm; 4] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256];

/// The identity endpoints, `None` where they are turned off.
pub(super) fn identity(
    cx: &mut Context<'_>,
    raw: &Raw,
    public_url: &Arc<str>,
    mail: MailDelivery,
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
    let database = database(cx, table);
    let registration = match (&table.registration, mail) {
        (Some(at), MailDelivery::None) if *at.get() => {
            let found = Diagnostic::error(at.span(), "registration needs mail, which is not available in this version");
            cx.push(found.hint("create accounts with \"portcullis users create\""));
            false
        }
        (Some(at), _) => *at.get(),
        (None, mail) => mail != MailDelivery::None,
    };
    let default_role = table.default_role.as_ref().and_then(|at| cx.name(at)).unwrap_or_else(|| "viewer".into());
    let default_plan = table.default_plan.as_ref().and_then(|at| cx.name(at)).unwrap_or_else(|| "free".into());
    let settings = IdentitySettings {
        database,
        master_key,
        registration,
        default_role: default_role.into(),
        default_plan: default_plan.into(),
        password_policy: match table.password_policy.as_ref().map(At::get) {
            None | Some(PasswordName::Standard) => PasswordPolicy::Standard,
            Some(PasswordName::Special) => PasswordPolicy::Special,
            Some(PasswordName::Nist) => PasswordPolicy::Nist,
        },
        mail,
        tokens,
    };
    table.enabled.as_ref().is_none_or(|at| *at.get()).then_some(settings)
}

fn database(cx: &mut Context<'_>, table: &IdentityTable) -> Secret<String> {
    let standard = || Secret::new("sqlite:portcullis.db".to_owned());
    let Some(at) = &table.database else { return standard() };
    let text = at.get().as_str();
    if text.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty() && !path.contains(['?', '\0'])) {
        return Secret::new(text.to_owned());
    }
    let found = if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        Diagnostic::error(at.span(), "PostgreSQL is not available in this version")
    } else {
        Diagnostic::error(at.span(), "this is not a database").expected("\"sqlite:PATH\"")
    };
    // A database's URL may hold a password.
    cx.push(found.concealed().hint("write for example \"sqlite:portcullis.db\""));
    standard()
}

fn tokens(cx: &mut Context<'_>, raw: &Raw, public_url: &Arc<str>) -> TokenSettings {
    let none = TokensTable::default();
    let table = raw.tokens.as_ref().map_or(&none, Table::get);
    let audience = table.audience.as_ref().and_then(|at| cx.text(at)).map_or_else(|| public_url.clone(), Arc::from);
    let algorithm = table.algorithm.as_ref().and_then(|at| algorithm(cx, at.get().as_str(), at.span(), &OURS));
    let settings = TokenSettings {
        audience,
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

/// An algorithm among those that can stand here.
fn algorithm(cx: &mut Context<'_>, text: &str, span: Range<usize>, choices: &[Algorithm]) -> Option<Algorithm> {
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

/// Other people's tokens.
pub(super) fn issuers(cx: &mut Context<'_>, raw: &Raw, public_url: &str) -> Vec<IssuerSettings> {
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    for (index, table) in raw.issuer.iter().flatten().enumerate() {
        let Some(issuer) = issuer(cx, table, &format!("issuer.{index}")) else { continue };
        let (name_span, iss_span) = {
            let raw = table.get();
            let or_table = |at: &Option<At<Text>>| at.as_ref().map_or(table.span(), At::span);
            (or_table(&raw.name), or_table(&raw.issuer))
        };
        if issuers.iter().any(|other| other.name == issuer.name) {
            cx.push(Diagnostic::error(name_span, format!("there are two issuers named \"{}\"", issuer.name)));
        }
        if issuers.iter().any(|other| other.issuer == issuer.issuer) {
            cx.push(Diagnostic::error(iss_span, format!("there are two issuers for {:?}", issuer.issuer)));
        } else if &*issuer.issuer == public_url {
            cx.push(
                Diagnostic::error(iss_span, "this is the issuer of this gate's own tokens")
                    .hint("an issuer of the same name could speak for our accounts; change it, or public_url"),
            );
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(cx: &mut Context<'_>, table: &Table<IssuerTable>, path: &str) -> Option<IssuerSettings> {
    let (raw, span) = (table.get(), table.span());
    if raw.name.is_none() {
        cx.missing(path, "name", span.clone(), "name = \"partner\"");
    }
    if raw.issuer.is_none() {
        cx.missing(path, "issuer", span.clone(), "issuer = \"https://id.example.com\"");
    }
    if raw.audience.as_ref().is_none_or(|list| list.0.is_empty()) {
        // Without an audience, a token made for any other service of that issuer would open this one (RFC 8725 §3.9).
        cx.missing(path, "audience", span.clone(), "audience = \"https://api.example.com\"");
    }
    let name = raw.name.as_ref().and_then(|at| cx.name(at));
    let issuer = raw.issuer.as_ref().and_then(|at| cx.text(at));
    let keys = issuer_keys(cx, raw, path, &span);
    let algorithms = issuer_algorithms(cx, raw, keys.as_ref(), path, &span);
    let audience = texts(cx, raw.audience.as_ref());
    let leeway = cx.duration(raw.leeway.as_ref(), 30 * SECOND, Duration::ZERO..=5 * MINUTE);
    let token_type = raw.token_type.as_ref().and_then(|at| cx.text(at));
    let claims = claims(cx, raw.claims.as_ref());
    Some(IssuerSettings {
        name: name?.into(),
        issuer: issuer?,
        audience,
        keys: keys?,
        algorithms,
        leeway,
        token_type,
        claims,
    })
}

fn texts(cx: &mut Context<'_>, list: Option<&OneOrMany<Text>>) -> Vec<Box<str>> {
    list.iter().flat_map(|list| &list.0).filter_map(|at| cx.text(at)).collect()
}

fn issuer_keys(cx: &mut Context<'_>, raw: &IssuerTable, path: &str, span: &Range<usize>) -> Option<IssuerKeys> {
    let given: Vec<(&str, Range<usize>)> = [
        ("jwks_file", raw.jwks_file.as_ref().map(At::span)),
        ("pem_file", raw.pem_file.as_ref().map(At::span)),
        ("secret_file", raw.secret_file.as_ref().map(At::span)),
        ("secret_env", raw.secret_env.as_ref().map(At::span)),
    ]
    .into_iter()
    .filter_map(|(key, span)| Some((key, span?)))
    .collect();
    match given.as_slice() {
        [] => {
            let keys = ["jwks_file", "pem_file", "secret_file", "secret_env"];
            if !keys.iter().any(|key| cx.is_damaged(&format!("{path}.{key}"))) {
                let found = Diagnostic::error(span.clone(), "the issuer's keys are missing");
                cx.push(found.expected(format!("one of {}", alternatives(keys))));
            }
            return None;
        }
        [_] => {}
        [(first, _), (second, span), ..] => {
            cx.push(Diagnostic::error(span.clone(), format!("\"{first}\" and \"{second}\" cannot stand together")));
            return None;
        }
    }
    if let Some(at) = raw.jwks_file.as_ref().or(raw.pem_file.as_ref()) {
        let path = cx.path(at);
        let text = cx.outside.read(&path).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned()));
        return match text {
            Ok(text) if raw.jwks_file.is_some() => Some(IssuerKeys::Jwks(text)),
            Ok(text) => Some(IssuerKeys::Pem(text)),
            Err(error) => {
                cx.push(Diagnostic::error(at.span(), format!("cannot read {}: {error}", path.display())));
                None
            }
        };
    }
    let origin = Origin { file: raw.secret_file.as_ref(), variable: raw.secret_env.as_ref(), fallback: None };
    secrets::strong(cx, "shared secret", &origin).map(IssuerKeys::Shared)
}

fn issuer_algorithms(
    cx: &mut Context<'_>,
    raw: &IssuerTable,
    keys: Option<&IssuerKeys>,
    path: &str,
    span: &Range<usize>,
) -> Vec<Algorithm> {
    let shared = raw.secret_file.is_some() || raw.secret_env.is_some();
    let symmetric = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512);
    let choices: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|choice| symmetric(choice) == shared).collect();
    let Some(list) = &raw.algorithms else {
        // A key set names its algorithms itself; a bare key does not, and guessing is how tokens get confused.
        match keys {
            Some(IssuerKeys::Shared(_)) => return vec![Algorithm::Hs256],
            Some(IssuerKeys::Pem(_)) => cx.missing(path, "algorithms", span.clone(), "algorithms = \"RS256\""),
            Some(IssuerKeys::Jwks(_)) | None => {}
        }
        return choices;
    };
    let mut seen = BTreeSet::new();
    let mut algorithms = Vec::new();
    for at in &list.0 {
        let text = at.get().as_str();
        if let Some(algorithm) = algorithm(cx, text, at.span(), &choices)
            && seen.insert(text)
        {
            algorithms.push(algorithm);
        }
    }
    if algorithms.len() > 1
        && raw.jwks_file.is_none()
        && let Some(second) = list.0.get(1)
    {
        let found = Diagnostic::error(second.span(), "a single key has a single algorithm (RFC 8725 §3.1)");
        cx.push(found.hint("name the one that its tokens are signed with"));
    }
    algorithms
}

fn claims(cx: &mut Context<'_>, table: Option<&Table<ClaimsTable>>) -> ClaimSettings {
    let Some(raw) = table.map(Table::get) else { return ClaimSettings::default() };
    let mut claim = |at: &Option<At<Text>>| at.as_ref().and_then(|at| cx.text(at));
    let (user, roles, plan) = (claim(&raw.user), claim(&raw.roles), claim(&raw.plan));
    let permissions = claim(&raw.permissions);
    ClaimSettings { user, roles, plan, permissions, keep: texts(cx, raw.keep.as_ref()) }
}

//! `[identity]`, `[tokens]` and `[[issuer]]`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, DurationText, OneOrMany, PathText, Table, Text, UrlText, VariableText};

/// The identity endpoints under `/auth`: accounts, login, tokens.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IdentityTable {
    /// Whether they are served. Default: true.
    pub(crate) enabled: Option<At<bool>>,
    /// Where accounts are kept: `sqlite:PATH`, the path taken from the state directory, or for several instances
    /// `postgres://USER@HOST/DATABASE?sslmode=verify-full`, with the password in the variable `PGPASSWORD` or in
    /// `~/.pgpass`. Default: `sqlite:portcullis.db`.
    pub(crate) database: Option<At<Text>>,
    /// How many connections to PostgreSQL this instance opens at most. Default: 16.
    pub(crate) database_connections: Option<At<u64>>,
    /// Whether strangers may register; needs mail. Default: where there is mail.
    pub(crate) registration: Option<At<bool>>,
    /// The role of a new account. Default: `viewer`.
    pub(crate) default_role: Option<At<Text>>,
    /// The plan of a new account. Default: `free`.
    pub(crate) default_plan: Option<At<Text>>,
    /// Whether mail is kept in memory and shown on the admin listener instead of being sent: for development and tests,
    /// because whoever reads it can confirm any address. Default: false.
    pub(crate) danger_mail_catcher: Option<At<bool>>,
    /// What a password must be and how it is stored.
    pub(crate) password: Option<Table<PasswordTable>>,
    /// Server sessions: one cookie in place of tokens.
    pub(crate) sessions: Option<Table<SessionsTable>>,
    /// API keys of programs.
    pub(crate) api_keys: Option<Table<ApiKeysTable>>,
    /// Pages for people: sign in, sign up, a forgotten password, one's own account.
    pub(crate) pages: Option<Table<PagesTable>>,
}

/// The hosted pages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PagesTable {
    /// Whether they are there; the pages behind mailed links are in any case. Default: true.
    pub(crate) enabled: Option<At<bool>>,
    /// What they call the service. Default: the host of the public URL.
    pub(crate) name: Option<At<Text>>,
    /// Where a sign-in leads that came from nowhere: a path, or one of `redirects`. Default: `/auth/account`.
    pub(crate) after_login: Option<At<Text>>,
    /// URLs elsewhere to which a sign-in may lead by `?next=`, with all below them. Paths of this origin always may.
    pub(crate) redirects: Option<OneOrMany<UrlText>>,
}

/// Server sessions, for logins with `"delivery": "session"`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionsTable {
    /// How long a session lives at most. Default: `7d`.
    pub(crate) life: Option<At<DurationText>>,
    /// After so long without a request it ends, to within two minutes. Default: `12h`.
    pub(crate) idle: Option<At<DurationText>>,
}

/// API keys.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKeysTable {
    /// How many an account may have at once; 0 for none. Default: 20.
    pub(crate) per_account: Option<At<u64>>,
}

/// Passwords.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PasswordTable {
    /// What a new password must be. Default: `default`.
    pub(crate) policy: Option<At<PolicyName>>,
    /// How a password is stored. A hash of another kind, imported or from before, is made again at its next login.
    /// Default: `argon2id`.
    pub(crate) hash: Option<At<HashName>>,
}

/// A preset of password rules. Each refuses common passwords, and what is little more than the owner's address or the name
/// of the service.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyName {
    /// At least 10 characters with an upper-case letter, a lower-case letter and a number.
    Default,
    /// 8 to 100 characters with an upper-case letter, a lower-case letter, a number and a special character.
    Special,
    /// NIST SP 800-63B-4: at least 15 characters, no composition rules.
    Nist,
}

/// A hash for passwords.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HashName {
    /// 19 MiB, two passes, one lane.
    Argon2id,
    /// A cost of 12, for a table that other programs read too. Passwords over 72 bytes are stored as `bcrypt-sha256`.
    Bcrypt,
}

/// The tokens that the identity endpoints issue.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokensTable {
    /// The audience of access tokens (`aud`). Default: the public URL.
    pub(crate) audience: Option<At<Text>>,
    /// What access tokens say besides `iss`, `aud`, `sub`, `client_id`, `iat`, `exp`, `jti`, `sid`, `role`, `plan` and
    /// `ver`: `email` (with `email_verified`), `name`, `permissions` (what the role stands for), `roles` (the role as a
    /// list), `tier` (the plan). Whoever holds a token can read it. Default: none.
    pub(crate) claims: Option<OneOrMany<Text>>,
    /// The signature algorithm: `ES256`, `EdDSA`, `RS256` or `HS256`. Default: `ES256`.
    pub(crate) algorithm: Option<At<Text>>,
    /// The life of an access token. Default: `15m`.
    pub(crate) access: Option<At<DurationText>>,
    /// The life of a refresh token. Default: `7d`.
    pub(crate) refresh: Option<At<DurationText>>,
    /// How long a spent refresh token still yields its successor, for two tabs that refresh at once; `0` turns it off.
    /// Default: `10s`.
    pub(crate) grace: Option<At<DurationText>>,
    /// The difference between clocks that is allowed for. Default: `30s`.
    pub(crate) leeway: Option<At<DurationText>>,
    /// How old the record of revocations may be before tokens are refused with 503. Default: `60s`.
    pub(crate) max_staleness: Option<At<DurationText>>,
    /// How often the signing key is rotated by itself. Default: `90d`.
    pub(crate) rotate: Option<At<DurationText>>,
    /// How many verified tokens are remembered, whoever issued them, so that a signature is checked once; each takes at
    /// most about 1 KiB. Default: 100000.
    pub(crate) remembered: Option<At<u64>>,
}

/// Somebody else's tokens that are believed. Exactly one of `jwks_file`, `pem_file`, `secret_file` and `secret_env` must
/// be given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IssuerTable {
    /// A name for records and limit keys.
    pub(crate) name: Option<At<Text>>,
    /// The exact value of the claim `iss`.
    pub(crate) issuer: Option<At<Text>>,
    /// The audiences of which a token must name one (`aud`).
    pub(crate) audience: Option<OneOrMany<Text>>,
    /// A file with its public keys as a JWK set.
    pub(crate) jwks_file: Option<At<PathText>>,
    /// A file with its public key as PEM.
    pub(crate) pem_file: Option<At<PathText>>,
    /// A file with the secret that it shares with this gate (HS256, HS384, HS512), at least 32 bytes.
    pub(crate) secret_file: Option<At<PathText>>,
    /// The environment variable that holds the shared secret.
    pub(crate) secret_env: Option<At<VariableText>>,
    /// The signature algorithms that are accepted, such as `ES256`; one algorithm for `pem_file` and a secret.
    pub(crate) algorithms: Option<OneOrMany<Text>>,
    /// The difference between clocks that is allowed for. Default: `30s`.
    pub(crate) leeway: Option<At<DurationText>>,
    /// The type that its tokens must name in their header (`typ`), such as `at+jwt`. Default: any.
    #[serde(rename = "type")]
    pub(crate) token_type: Option<At<Text>>,
    /// Which of its claims say what.
    pub(crate) claims: Option<Table<ClaimsTable>>,
}

/// Which claims of a token say what; a dot leads into an object, as in `realm_access.roles`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClaimsTable {
    /// The user's id. Default: `sub`.
    pub(crate) user: Option<At<Text>>,
    /// The roles: one as a text, or several as a list. Default: `role`.
    pub(crate) roles: Option<At<Text>>,
    /// The plan. Default: `plan`.
    pub(crate) plan: Option<At<Text>>,
    /// The permissions that a token carries itself. Default: none are taken from tokens of this issuer.
    pub(crate) permissions: Option<At<Text>>,
    /// Further claims that limits count by.
    pub(crate) keep: Option<OneOrMany<Text>>,
}

//! What an access token says (T1): the promised claims, and those that a configuration adds.

use std::sync::Arc;

use portcullis_auth::access::Roles;
use portcullis_auth::{Algorithm, MAX_TOKEN_BYTES};
use portcullis_core::Timestamp;
use serde_json::{Map, Value, json};

use super::login::Holder;
use crate::error::IdentityError;
use crate::policy::{MAX_EMAIL_BYTES, MAX_NAME_CHARS, MAX_PLAIN_NAME_BYTES};
use crate::service::Identity;

/// A claim that access tokens carry where the configuration asks for it. A token can be read by everybody who holds it, so
/// none of them is there unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraClaim {
    /// `email`, and `email_verified`, which is always true of an account (OpenID Connect Core 1.0 §5.1).
    Email,
    /// `name`; absent where the account has none.
    Name,
    /// `permissions`: what the role stands for, inheritance resolved, as the configuration spells it (`posts:*`). It is for
    /// whoever else verifies our tokens. The gate itself goes on asking the roles of its present policy.
    Permissions,
    /// `roles`: the role as a list, for verifiers that read one (RFC 9068 §2.2.3.1).
    Roles,
    /// `tier`: the plan under its other name.
    Tier,
}

impl ExtraClaim {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Email, Self::Name, Self::Permissions, Self::Roles, Self::Tier];

    /// Its name in a configuration, and in the token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Name => "name",
            Self::Permissions => "permissions",
            Self::Roles => "roles",
            Self::Tier => "tier",
        }
    }
}

/// One access token that is to be signed.
struct Issue<'a> {
    issuer: &'a str,
    audience: &'a str,
    holder: &'a Holder,
    session: &'a str,
    id: &'a str,
    issued: Timestamp,
    expires: Timestamp,
}

impl Issue<'_> {
    fn payload(&self, extra: &[ExtraClaim], roles: &Roles) -> String {
        let Self { issuer, audience, holder, session, id, issued, expires } = self;
        let promised = [
            ("iss", json!(issuer)),
            ("aud", json!(audience)),
            ("sub", json!(holder.id)),
            ("client_id", json!("portcullis")),
            ("iat", json!(issued.as_secs())),
            ("exp", json!(expires.as_secs())),
            ("jti", json!(id)),
            ("sid", json!(session)),
            ("role", json!(holder.role)),
            ("plan", json!(holder.plan)),
            ("ver", json!(holder.version)),
        ];
        let mut claims: Map<String, Value> =
            promised.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        for claim in extra {
            let value = match claim {
                ExtraClaim::Email => {
                    claims.insert("email_verified".to_owned(), json!(true));
                    json!(holder.email)
                }
                ExtraClaim::Name => match &holder.name {
                    Some(name) => json!(name),
                    None => continue,
                },
                ExtraClaim::Permissions => json!(roles.permissions_of(&holder.role).collect::<Vec<_>>()),
                ExtraClaim::Roles => json!([holder.role]),
                ExtraClaim::Tier => json!(holder.plan),
            };
            claims.insert(claim.as_str().to_owned(), value);
        }
        Value::Object(claims).to_string()
    }
}

/// The longest access token that any account could get, in bytes, and the role whose permissions make it so long. A token of
/// more than [`MAX_TOKEN_BYTES`] would be refused by our own verifier.
#[must_use]
pub fn longest_access_token<'r>(
    issuer: &str,
    audience: &str,
    algorithm: Algorithm,
    extra: &[ExtraClaim],
    roles: &'r Roles,
) -> (usize, Option<&'r str>) {
    let most = |role: &str| {
        let holder = Holder {
            id: "x".repeat(MAX_PLAIN_NAME_BYTES),
            role: role.to_owned(),
            plan: "x".repeat(MAX_PLAIN_NAME_BYTES),
            version: i64::MAX,
            email: "x".repeat(MAX_EMAIL_BYTES),
            // Four bytes each; what JSON escapes takes less.
            name: Some("\u{10ffff}".repeat(MAX_NAME_CHARS)),
        };
        let uuid = "x".repeat(36);
        let (issued, expires) = (Timestamp::MAX, Timestamp::MAX);
        let issue = Issue { issuer, audience, holder: &holder, session: &uuid, id: &uuid, issued, expires };
        portcullis_auth::longest_token(algorithm, issue.payload(extra, roles).len())
    };
    // A role that nobody defined stands for nothing, and can have the longest of names.
    let unknown = (most(&"x".repeat(MAX_PLAIN_NAME_BYTES)), None);
    roles.names().map(|role| (most(role), Some(role))).fold(unknown, |longest, role| match role.0 > longest.0 {
        true => role,
        false => longest,
    })
}

impl Identity {
    /// Takes over which role stands for which permissions, for the claim `permissions` of the tokens that are issued from
    /// now on. Those that are out already go on saying what they say until they end.
    pub fn use_roles(&self, roles: Roles) {
        self.roles.store(Arc::new(roles));
    }

    /// The payload of an access token.
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where nobody would accept it, which a configuration that was checked cannot lead to.
    pub(crate) fn claims(
        &self,
        holder: &Holder,
        session: &str,
        id: &str,
        [issued, expires]: [Timestamp; 2],
    ) -> Result<String, IdentityError> {
        let (issuer, audience) = (&*self.config.public_url, &*self.config.audience);
        let issue = Issue { issuer, audience, holder, session, id, issued, expires };
        let payload = issue.payload(&self.config.claims, &self.roles.load());
        if portcullis_auth::longest_token(self.config.algorithm, payload.len()) > MAX_TOKEN_BYTES {
            tracing::error!("an access token would be too long to be accepted; take claims out of [tokens] claims");
            return Err(IdentityError::Crypto);
        }
        Ok(payload)
    }

    /// Whether tokens say what address their holder has, and so must not outlive it.
    pub(crate) fn tokens_name_addresses(&self) -> bool {
        self.config.claims.contains(&ExtraClaim::Email)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portcullis_auth::SigningKey;
    use portcullis_auth::access::RoleRule;

    use super::*;

    fn roles(count: usize) -> Roles {
        let permissions = (0..count).map(|number| format!("things:verb-{number:04}").into()).collect();
        let rule = RoleRule { inherits: Vec::new(), permissions };
        Roles::new(&BTreeMap::from([("few".into(), RoleRule::default()), ("many".into(), rule)])).unwrap()
    }

    /// A token that a real key signs is never longer than what `check` was told of.
    #[test]
    fn t1_no_signed_token_is_longer_than_was_reckoned() {
        let roles = roles(20);
        let (issuer, audience) = ("https://api.example.com", "https://api.example.com/\"quoted\"");
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Hs256] {
            let key = SigningKey::generate(algorithm).unwrap();
            let holder = Holder {
                id: "i".repeat(64),
                role: "many".to_owned(),
                plan: "p".repeat(64),
                version: i64::MAX,
                email: "e".repeat(255),
                name: Some("\u{1f980}".repeat(100)),
            };
            let uuid = uuid::Uuid::nil().to_string();
            let (issued, expires) = (Timestamp::MAX, Timestamp::MAX);
            let issue = Issue { issuer, audience, holder: &holder, session: &uuid, id: &uuid, issued, expires };
            let token = key.sign("at+jwt", issue.payload(&ExtraClaim::ALL, &roles).as_bytes()).unwrap();
            let (longest, role) = longest_access_token(issuer, audience, algorithm, &ExtraClaim::ALL, &roles);
            assert_eq!(role, Some("many"));
            assert!(token.len() <= longest, "{algorithm:?}: {} of {longest}", token.len());
            assert!(token.len() + 100 > longest, "{algorithm:?}: {} of {longest}", token.len());
        }
    }

    #[test]
    fn t1_permissions_are_what_makes_a_token_too_long() {
        let reckon = |roles: &Roles, extra: &[ExtraClaim]| {
            longest_access_token("https://a.example", "https://a.example", Algorithm::Es256, extra, roles).0
        };
        assert!(reckon(&roles(2_000), &[ExtraClaim::Email, ExtraClaim::Name]) < 3_000);
        assert!(reckon(&roles(2_000), &[ExtraClaim::Permissions]) > MAX_TOKEN_BYTES);
        assert!(reckon(&roles(50), &[ExtraClaim::Permissions]) < MAX_TOKEN_BYTES);
    }
}

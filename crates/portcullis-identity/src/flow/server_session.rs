//! Server sessions (T10): one opaque cookie in place of tokens. Nothing is in the browser that could outlive a revocation.

use std::time::Duration;

use portcullis_core::ports::Found;
use portcullis_core::{Principal, PrincipalParts, Scheme, Secret, Timestamp};

use super::login::{Credentials, Hands};
use crate::error::IdentityError;
use crate::last_use::Used;
use crate::service::Identity;
use crate::store::audit::Origin;
use crate::store::{Write, millis, moment, sql};
use crate::token;

/// A session that was just opened.
#[derive(Debug)]
pub struct ServerSession {
    /// Its id.
    pub id: Box<str>,
    /// The cookie's value.
    pub secret: Secret<String>,
    /// How long it lives at most.
    pub life: Duration,
    /// After so long without a request it ends.
    pub idle: Duration,
    /// What the device is known by from now on, where attempts to log in are counted.
    pub device: Option<Secret<String>>,
}

#[derive(sqlx::FromRow)]
struct Holding {
    session_id: String,
    seen_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    account_id: String,
    role: String,
    plan: String,
    version: i64,
    disabled_at: Option<i64>,
}

impl Identity {
    /// Logs in for a session in place of tokens; `credentials.delivery` is not asked.
    ///
    /// # Errors
    /// As [`Identity::login`].
    pub async fn open_session(
        &self,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<ServerSession, IdentityError> {
        let secret = token::random()?;
        let entered = self.admit(credentials, Hands::Session(&secret), origin).await?;
        Ok(self.handed_over(entered.session, secret, entered.device))
    }

    /// A session that was stored, as it is handed over.
    pub(crate) fn handed_over(
        &self,
        id: String,
        secret: Secret<String>,
        device: Option<Secret<String>>,
    ) -> ServerSession {
        ServerSession { id: id.into(), secret, life: self.config.session_ttl, idle: self.config.session_idle, device }
    }

    /// Ends the session of a cookie; an unknown one is nobody's and changes nothing.
    ///
    /// # Errors
    /// Only that of a part that failed.
    pub async fn close_session(&self, secret: &str, origin: Origin) -> Result<(), IdentityError> {
        let Some(hash) = token::hash(secret) else { return Ok(()) };
        let session: Option<(String,)> = sql("SELECT session_id FROM server_session WHERE hash = $1")
            .bind(hash)
            .fetch_optional(self.store.read())
            .await?;
        match session {
            Some((session,)) => self.end_session(&session, origin).await,
            None => Ok(()),
        }
    }

    /// Whose session's cookie has this SHA-256.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn find_session(&self, hash: &[u8; 32]) -> Result<Found, IdentityError> {
        let found: Option<Holding> = sql("SELECT s.id AS session_id, c.seen_at, c.expires_at, s.revoked_at, \
             s.account_id, a.role, a.plan, a.version, a.disabled_at \
             FROM server_session c JOIN session s ON s.id = c.session_id JOIN account a ON a.id = s.account_id \
             WHERE c.hash = $1")
        .bind(&hash[..])
        .fetch_optional(self.store.read())
        .await?;
        let Some(found) = found else { return Ok(Found::Nobody) };
        if found.revoked_at.is_some() || found.disabled_at.is_some() {
            return Ok(Found::Revoked);
        }
        let now = self.now();
        // What this process has seen and not yet written counts too.
        let seen = self.last_uses.of(Used::Session, &found.session_id);
        let seen = seen.map_or(moment(found.seen_at), |seen| seen.max(moment(found.seen_at)));
        let ends = moment(found.expires_at);
        let expires = if now > seen.after(self.config.session_idle) {
            // It ended while nobody used it.
            seen.after(self.config.session_idle).min(ends)
        } else {
            now.after(self.config.session_idle).min(ends)
        };
        let principal = Principal::new(PrincipalParts {
            subject: found.account_id.into(),
            issuer: None,
            roles: std::iter::once(found.role.into()).collect(),
            permissions: Vec::new(),
            scopes: None,
            plan: Some(found.plan.into()),
            session: Some(found.session_id.as_str().into()),
            token_id: None,
            version: u64::try_from(found.version).unwrap_or_default(),
            expires,
            scheme: Scheme::Session,
            claims: Default::default(),
        });
        // What the store holds was checked when it was written; what cannot be told to an upstream proves nobody.
        let Ok(principal) = principal else { return Ok(Found::Nobody) };
        if expires > now {
            self.last_uses.note(Used::Session, &found.session_id, now);
        }
        Ok(Found::Holder(Box::new(principal)))
    }

    /// Stores a session's cookie as its hash.
    pub(crate) async fn store_cookie(
        &self,
        transaction: &mut Write,
        secret: &str,
        session: &str,
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        sql("INSERT INTO server_session (hash, session_id, seen_at, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(token::hash(secret).ok_or(IdentityError::Crypto)?)
            .bind(session)
            .bind(millis(now))
            .bind(millis(now.after(self.config.session_ttl)))
            .execute(transaction)
            .await?;
        Ok(())
    }
}

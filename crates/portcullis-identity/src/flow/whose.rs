//! Which living session a cookie's secret belongs to. Nothing is changed and no last use noted: who asks wants to know what
//! a request would be done to, before it is.

use crate::error::IdentityError;
use crate::service::Identity;
use crate::store::{millis, sql};
use crate::token;

impl Identity {
    /// The id of the living session that a refresh token belongs to, spent or not.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn session_of_refresh(&self, refresh: &str) -> Result<Option<String>, IdentityError> {
        self.session_by(
            refresh,
            "SELECT s.id FROM refresh_token t JOIN session s ON s.id = t.session_id \
             WHERE t.hash = $1 AND t.expires_at > $2 AND s.revoked_at IS NULL",
        )
        .await
    }

    /// The id of the living session that a server session's cookie belongs to.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn session_of_cookie(&self, secret: &str) -> Result<Option<String>, IdentityError> {
        self.session_by(
            secret,
            "SELECT s.id FROM server_session c JOIN session s ON s.id = c.session_id \
             WHERE c.hash = $1 AND c.expires_at > $2 AND s.revoked_at IS NULL",
        )
        .await
    }

    async fn session_by(&self, secret: &str, statement: &'static str) -> Result<Option<String>, IdentityError> {
        let Some(hash) = token::hash(secret) else { return Ok(None) };
        let found: Option<(String,)> =
            sql(statement).bind(hash).bind(millis(self.now())).fetch_optional(self.store.read()).await?;
        Ok(found.map(|(session,)| session))
    }
}

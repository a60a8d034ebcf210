//! Logout (A8): ends a session, its refresh tokens and, within a second everywhere, its access tokens.

use portcullis_core::Timestamp;

use crate::error::IdentityError;
use crate::revocation::{self, Revoked};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{Write, locking, millis, sql};
use crate::token;

impl Identity {
    /// Ends the session of a refresh token, spent or not; an unknown token is nobody's and changes nothing.
    ///
    /// # Errors
    /// Only that of a part that failed.
    pub async fn logout(&self, refresh: &str, origin: Origin) -> Result<(), IdentityError> {
        let Some(hash) = token::hash(refresh) else { return Ok(()) };
        let session: Option<(String,)> = sql("SELECT session_id FROM refresh_token WHERE hash = $1")
            .bind(hash)
            .fetch_optional(self.store.read())
            .await?;
        match session {
            Some((session,)) => self.end_session(&session, origin).await,
            None => Ok(()),
        }
    }

    /// Ends a session by its id.
    ///
    /// # Errors
    /// Only that of a part that failed.
    pub async fn end_session(&self, session: &str, origin: Origin) -> Result<(), IdentityError> {
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // A session that has ended was revoked for as long as its tokens live. Whoever repeats the logout gets the same
        // answer and writes nothing, so that an old token cannot be used to fill the database.
        let account: Option<(String,)> =
            sql(locking!("SELECT account_id FROM session WHERE id = $1 AND revoked_at IS NULL", "FOR UPDATE"))
                .bind(session)
                .fetch_optional(&mut transaction)
                .await?;
        let Some((account,)) = account else { return Ok(transaction.commit().await?) };
        revoke_session(&mut transaction, session, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, "logged_out", Some(&account), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }

    /// Ends every session of an account.
    ///
    /// # Errors
    /// Only that of a part that failed.
    pub async fn logout_all(&self, account: &str, origin: Origin) -> Result<(), IdentityError> {
        let now = self.now();
        let mut transaction = self.store.write().await?;
        revoke_account(&mut transaction, account, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, "logged_out_everywhere", Some(account), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }
}

/// Ends one session; nothing it issued outlives `expires`.
pub(crate) async fn revoke_session(
    transaction: &mut Write,
    session: &str,
    now: Timestamp,
    expires: Timestamp,
) -> Result<(), sqlx::Error> {
    sql("UPDATE session SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(millis(now))
        .bind(session)
        .execute(&mut *transaction)
        .await?;
    revocation::write(transaction, Revoked::Session(session), expires).await
}

/// Ends every session of an account and makes every access token of its present version void.
pub(crate) async fn revoke_account(
    transaction: &mut Write,
    account: &str,
    now: Timestamp,
    expires: Timestamp,
) -> Result<(), sqlx::Error> {
    // The account first: whoever logs in at this moment holds it, and what they leave behind is then seen below.
    let version: Option<(i64,)> = sql("UPDATE account SET version = version + 1 WHERE id = $1 RETURNING version")
        .bind(account)
        .fetch_optional(&mut *transaction)
        .await?;
    sql("UPDATE session SET revoked_at = $1 WHERE account_id = $2 AND revoked_at IS NULL")
        .bind(millis(now))
        .bind(account)
        .execute(&mut *transaction)
        .await?;
    if let Some((version,)) = version {
        revocation::write(transaction, Revoked::User(account, version), expires).await?;
    }
    Ok(())
}

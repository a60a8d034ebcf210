//! The end of every session of everybody (T7), for the day on which nobody knows what was stolen.

use super::link;
use crate::error::IdentityError;
use crate::revocation;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{millis, sql};

impl Identity {
    /// Ends every session of every account, with all refresh tokens and mailed links, and makes every access token void; every
    /// instance sees it within a second. Gives the number of sessions. Passwords and API keys stay what they were.
    ///
    /// # Errors
    /// Only that of a part that failed; then nothing has ended.
    pub async fn revoke_everybody(&self, origin: Origin) -> Result<u64, IdentityError> {
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // Two at once would hold accounts in two orders and wait for each other.
        transaction.lock("everybody", "").await?;
        // The accounts first: whoever logs in at this moment holds theirs, and what they leave behind is then seen below.
        sql("UPDATE account SET version = version + 1").execute(&mut transaction).await?;
        link::void_everybodys(&mut transaction).await?;
        let ended = sql("UPDATE session SET revoked_at = $1 WHERE revoked_at IS NULL")
            .bind(millis(now))
            .execute(&mut transaction)
            .await?;
        revocation::write_for_sessions_ended_at(&mut transaction, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, "everybody_revoked", None, origin, Some(&ended.to_string())).await?;
        transaction.commit().await?;
        self.see_revocations().await?;
        Ok(ended)
    }
}

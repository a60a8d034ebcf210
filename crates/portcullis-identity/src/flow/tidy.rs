//! Forgetting: what has expired goes, a few hundred rows in a write, so that nobody waits long for their turn behind it.

use std::time::Duration;

use portcullis_core::Timestamp;

use crate::error::OpenError;
use crate::service::Identity;
use crate::store::audit::Origin;
use crate::store::{millis, sql};

/// How many rows go in one write.
const BATCH: usize = 500;

/// How long audit rows are kept (W1).
const AUDIT_KEPT: Duration = Duration::from_secs(90 * 86_400);

/// How long an API key that has ended is still told from one that never was.
const KEYS_KEPT: Duration = Duration::from_secs(30 * 86_400);

impl Identity {
    /// Forgets what has expired and rotates the key when it is due. To be called every few minutes.
    ///
    /// # Errors
    /// [`OpenError`] where the database cannot be written.
    pub async fn tidy(&self) -> Result<(), OpenError> {
        let now = self.now();
        self.write_last_uses().await?;
        while self.forget_refresh_tokens(now).await? == BATCH {}
        for (statement, until) in [
            ("DELETE FROM pending WHERE id IN (SELECT id FROM pending WHERE expires_at <= $1 LIMIT $2)", now),
            (
                "DELETE FROM account_link WHERE hash IN (SELECT hash FROM account_link WHERE expires_at <= $1 LIMIT $2)",
                now,
            ),
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at <= $1 ORDER BY at LIMIT $2)",
                now.before(AUDIT_KEPT),
            ),
            // Those that have ended stay in the trail, so that a list of them is not needed here.
            (
                "DELETE FROM api_key WHERE id IN (SELECT id FROM api_key \
                 WHERE expires_at <= $1 OR revoked_at <= $1 LIMIT $2)",
                now.before(KEYS_KEPT),
            ),
            (
                "DELETE FROM session WHERE id IN (SELECT session_id FROM server_session WHERE expires_at <= $1 LIMIT $2)",
                now,
            ),
            // Nothing is left to verify with them, and a private key that is gone cannot be stolen.
            (
                "DELETE FROM signing_key WHERE kid IN (SELECT kid FROM signing_key WHERE retired_at <= $1 LIMIT $2)",
                now.before(self.token_life),
            ),
        ] {
            while self.forget(statement, until).await? == BATCH {}
        }
        self.revocations.forget_expired(&self.store, now).await?;
        self.decoys.catch_up(&self.store, self.config.password_hash).await?;
        self.keyring.rotate_if_due(&self.store, self.config.rotate_every, now, Origin::default()).await
    }

    /// Deletes a batch; gives how many rows it had.
    async fn forget(&self, statement: &'static str, until: Timestamp) -> Result<usize, OpenError> {
        let mut transaction = self.store.write().await?;
        // Two instances that delete the same rows in another order would wait for each other.
        transaction.lock("tidy", "").await?;
        let gone = sql(statement).bind(millis(until)).bind(limit()).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(usize::try_from(gone).unwrap_or(BATCH))
    }

    /// Deletes a batch of refresh tokens, and the sessions of which none is left; gives how many tokens there were.
    async fn forget_refresh_tokens(&self, now: Timestamp) -> Result<usize, OpenError> {
        let mut transaction = self.store.write().await?;
        transaction.lock("tidy", "").await?;
        let gone: Vec<(String,)> = sql("DELETE FROM refresh_token WHERE hash IN \
             (SELECT hash FROM refresh_token WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING session_id")
        .bind(millis(now))
        .bind(limit())
        .fetch_all(&mut transaction)
        .await?;
        let mut sessions: Vec<&str> = gone.iter().map(|(session,)| session.as_str()).collect();
        sessions.sort_unstable();
        sessions.dedup();
        for session in sessions {
            sql("DELETE FROM session WHERE id = $1 AND NOT EXISTS \
                 (SELECT 1 FROM refresh_token WHERE refresh_token.session_id = session.id)")
            .bind(session)
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(gone.len())
    }
}

fn limit() -> i64 {
    i64::try_from(BATCH).unwrap_or(i64::MAX)
}

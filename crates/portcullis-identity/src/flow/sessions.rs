//! An owner's sessions: which there are, and the end of one (A8).

use portcullis_core::Timestamp;
use uuid::Uuid;

use super::logout::revoke_session;
use crate::error::IdentityError;
use crate::last_use::Used;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{locking, millis, moment, sql};

/// The longest list; who has more sessions ends them all.
const MOST: i64 = 200;

/// A living session.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its id (`sid`).
    pub id: String,
    /// How it is held: `body` or `cookie` for tokens, `session` for a server session.
    pub kind: String,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// When it was last used: when its tokens were last refreshed, or a server session last seen, to within two minutes.
    pub last_used_at: Timestamp,
    /// The address it was opened from.
    pub client: Option<String>,
    /// What the program called itself.
    pub agent: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    delivery: String,
    created_at: i64,
    last_used_at: Option<i64>,
    client: Option<String>,
    agent: Option<String>,
    seen_at: Option<i64>,
    cookie_expires_at: Option<i64>,
    refresh_expires_at: Option<i64>,
}

impl Identity {
    /// The living sessions of an account, the newest first.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn sessions(&self, account: &str) -> Result<Vec<SessionInfo>, IdentityError> {
        let now = self.now();
        let rows: Vec<Row> =
            sql("SELECT s.id, s.delivery, s.created_at, s.last_used_at, s.client, s.agent, c.seen_at, \
             c.expires_at AS cookie_expires_at, \
             (SELECT max(t.expires_at) FROM refresh_token t WHERE t.session_id = s.id) AS refresh_expires_at \
             FROM session s LEFT JOIN server_session c ON c.session_id = s.id \
             WHERE s.account_id = $1 AND s.revoked_at IS NULL AND CASE WHEN c.session_id IS NULL \
             THEN EXISTS (SELECT 1 FROM refresh_token t WHERE t.session_id = s.id AND t.expires_at > $2) \
             ELSE c.expires_at > $2 AND c.seen_at > $3 END \
             ORDER BY s.created_at DESC, s.id DESC LIMIT $4")
            .bind(account)
            .bind(millis(now))
            // Which rest too long is judged below; those that do by far must not take a living one's place in the list.
            .bind(millis(now.before(self.config.session_idle + 2 * portcullis_auth::BELIEVED)))
            .bind(MOST)
            .fetch_all(self.store.read())
            .await?;
        Ok(rows.into_iter().filter_map(|row| self.living(row, now)).collect())
    }

    fn living(&self, row: Row, now: Timestamp) -> Option<SessionInfo> {
        let seen = row.seen_at.map(moment).max(self.last_uses.of(Used::Session, &row.id));
        let ends = match (row.cookie_expires_at, seen) {
            (Some(expires), Some(seen)) => moment(expires).min(seen.after(self.config.session_idle)),
            _ => moment(row.refresh_expires_at?),
        };
        (ends > now).then(|| SessionInfo {
            id: row.id,
            kind: row.delivery,
            created_at: moment(row.created_at),
            last_used_at: seen.unwrap_or_else(|| moment(row.last_used_at.unwrap_or(row.created_at))),
            client: row.client,
            agent: row.agent,
        })
    }

    /// Ends one session of an account.
    ///
    /// # Errors
    /// [`IdentityError::NoSession`] for one that the account does not have: another's is told like none.
    pub async fn end_own_session(&self, account: &str, id: &str, origin: Origin) -> Result<(), IdentityError> {
        // A text that is no id is asked of no database: PostgreSQL takes none that holds a zero byte.
        Uuid::try_parse(id).map_err(|_| IdentityError::NoSession)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let found: Option<(String,)> = sql(locking!(
            "SELECT id FROM session WHERE id = $1 AND account_id = $2 AND revoked_at IS NULL",
            "FOR UPDATE"
        ))
        .bind(id)
        .bind(account)
        .fetch_optional(&mut transaction)
        .await?;
        found.ok_or(IdentityError::NoSession)?;
        revoke_session(&mut transaction, id, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, "session_ended", Some(account), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }
}

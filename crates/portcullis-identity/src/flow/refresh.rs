//! Refresh (T4, T5): a refresh token is spent once and yields its successor. Who presents a spent one is a thief or has
//! been robbed, and either way the family ends.

use portcullis_core::{EventKind, Secret};

use super::login::{Delivery, Holder, Tokens};
use super::logout::revoke_session;
use crate::error::IdentityError;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{Text, locking, millis, moment, sql};
use crate::token;

/// A refresh token with its session and its account.
#[derive(sqlx::FromRow)]
struct Found {
    session_id: String,
    generation: i64,
    expires_at: i64,
    spent_at: Option<i64>,
    delivery: String,
    revoked_at: Option<i64>,
    account_id: String,
    role: String,
    plan: String,
    version: i64,
    email: String,
    name: Option<String>,
    disabled_at: Option<i64>,
}

const FIND: Text = locking!(
    "SELECT t.session_id, t.generation, t.expires_at, t.spent_at, s.delivery, s.revoked_at, \
                    a.id AS account_id, a.role, a.plan, a.version, a.email, a.name, a.disabled_at \
                    FROM refresh_token t JOIN session s ON s.id = t.session_id JOIN account a ON a.id = s.account_id \
                    WHERE t.hash = $1",
    // The session first, as whoever ends or deletes one holds it first and then asks for its tokens.
    "FOR UPDATE OF s, t"
);

impl Identity {
    /// Spends a refresh token for a new pair. One transaction decides, so that of many who spend one token at once all
    /// get the same successor (inside the grace window) or one does.
    ///
    /// # Errors
    /// [`IdentityError::InvalidRefresh`] for a token that is unknown, too old, of a revoked session, or spent.
    pub async fn refresh(&self, presented: &str, origin: Origin) -> Result<Tokens, IdentityError> {
        let hash = token::hash(presented).ok_or(IdentityError::InvalidRefresh)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let found: Option<Found> = sql(FIND).bind(hash.as_slice()).fetch_optional(&mut transaction).await?;
        let found = found.ok_or(IdentityError::InvalidRefresh)?;
        if found.revoked_at.is_some() || found.disabled_at.is_some() || moment(found.expires_at) <= now {
            return Err(IdentityError::InvalidRefresh);
        }
        let successor = token::successor(&self.refresh_key, &found.session_id, presented);
        match found.spent_at {
            None => {
                sql("UPDATE refresh_token SET spent_at = $1 WHERE hash = $2")
                    .bind(millis(now))
                    .bind(hash.as_slice())
                    .execute(&mut transaction)
                    .await?;
                let next = found.generation + 1;
                self.store_refresh(&mut transaction, successor.expose(), &found.session_id, next, now).await?;
                sql("UPDATE session SET last_used_at = $1 WHERE id = $2")
                    .bind(millis(now))
                    .bind(&found.session_id)
                    .execute(&mut transaction)
                    .await?;
                audit::write(&mut transaction, now, "refreshed", Some(&found.account_id), origin, None).await?;
                transaction.commit().await?;
            }
            Some(spent) if self.in_grace(&mut transaction, &successor, moment(spent)).await? => {
                // The successor may be one of this very group of writes, and must be on the disk before it is handed out.
                transaction.commit().await?;
                self.record(EventKind::RefreshGrace, Some(&found.account_id), origin, None);
            }
            Some(_) => {
                revoke_session(&mut transaction, &found.session_id, now, self.token_end(now)).await?;
                let account = Some(found.account_id.as_str());
                audit::write(&mut transaction, now, "refresh_reused", account, origin, Some(&found.session_id)).await?;
                transaction.commit().await?;
                self.see_revocations().await?;
                self.record(EventKind::RefreshReuse, account, origin, Some("spent_refresh_token"));
                return Err(IdentityError::InvalidRefresh);
            }
        }
        let delivery = if found.delivery == "cookie" { Delivery::Cookie } else { Delivery::Body };
        let Found { account_id: id, role, plan, version, email, name, .. } = found;
        let holder = Holder { id, role, plan, version, email, name };
        self.tokens(&holder, &found.session_id, successor, delivery, now)
    }

    /// Whether a spent token may still yield its successor: soon after it was spent, and while nobody has used the
    /// successor, which makes it the immediate predecessor of the newest.
    async fn in_grace(
        &self,
        transaction: &mut crate::store::Write,
        successor: &Secret<String>,
        spent: portcullis_core::Timestamp,
    ) -> Result<bool, IdentityError> {
        if self.config.grace.is_zero() || self.now() > spent.after(self.config.grace) {
            return Ok(false);
        }
        let unused: Option<(i64,)> = sql("SELECT generation FROM refresh_token WHERE hash = $1 AND spent_at IS NULL")
            .bind(token::hash(successor.expose()).ok_or(IdentityError::Crypto)?)
            .fetch_optional(&mut *transaction)
            .await?;
        Ok(unused.is_some())
    }
}

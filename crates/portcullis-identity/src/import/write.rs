//! Writing a batch of accounts.

use uuid::Uuid;

use super::row::NewUser;
use crate::error::IdentityError;
use crate::password::NO_PASSWORD;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{millis, sql};

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// An account was made, or would be.
    Made,
    /// There is one with this address.
    KnownEmail,
    /// There is one with this id and another address.
    KnownId,
}

impl Identity {
    /// Writes accounts in one transaction, or asks in a dry run whether they could be written.
    pub(super) async fn write_users<'a>(
        &self,
        users: impl ExactSizeIterator<Item = &'a NewUser> + Clone,
        dry_run: bool,
        origin: Origin,
    ) -> Result<Vec<Written>, IdentityError> {
        let mut written = Vec::with_capacity(users.len());
        if users.len() == 0 {
            return Ok(written);
        }
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // In one order, whatever the file's: two imports at once wait for each other instead of blocking each other.
        let mut addresses: Vec<&str> = users.clone().map(|user| user.email.as_str()).collect();
        addresses.sort_unstable();
        for address in addresses {
            transaction.lock("address", address).await?;
        }
        for user in users {
            let email = user.email.as_str();
            let id = user.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
            let made =
                sql("INSERT INTO account (id, email, name, password, role, plan, version, disabled_at, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8) ON CONFLICT DO NOTHING")
                .bind(&id)
                .bind(email)
                .bind(user.name.as_deref())
                .bind(user.hash.as_deref().unwrap_or(NO_PASSWORD))
                .bind(&user.role)
                .bind(&user.plan)
                .bind(user.disabled.then(|| millis(now)))
                .bind(millis(user.created_at))
                .execute(&mut transaction)
                .await?;
            if made == 0 {
                let known: Option<(String,)> =
                    sql("SELECT id FROM account WHERE email = $1").bind(email).fetch_optional(&mut transaction).await?;
                written.push(if known.is_some() { Written::KnownEmail } else { Written::KnownId });
                continue;
            }
            // As for every account that appears: what is pending for the address can make none any more.
            sql("DELETE FROM pending WHERE email = $1").bind(email).execute(&mut transaction).await?;
            audit::write(&mut transaction, now, "account_imported", Some(&id), origin, Some(&user.role)).await?;
            written.push(Written::Made);
        }
        // In a dry run everything happens but its end: dropped, the transaction undoes it.
        if !dry_run {
            transaction.commit().await?;
        }
        Ok(written)
    }
}

//! What an operator does with one account: look at it, change its role or plan, end its sessions, delete it (A11, T7).

use super::account::Account;
use super::link;
use super::logout::revoke_account;
use super::owner::hold_keys;
use crate::error::IdentityError;
use crate::password::hash_name;
use crate::policy::{self, Email, Violation};
use crate::revocation::{self, Revoked};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{locking, sql};

/// An account with what belongs to it.
#[derive(Clone, Debug)]
pub struct AccountDetails {
    /// The account.
    pub account: Account,
    /// Sessions that have not ended.
    pub sessions: i64,
    /// The algorithm of its password's hash; `none` where it has no password.
    pub hash: &'static str,
}

/// Which account is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountName<'a> {
    /// The one with this address.
    Email(&'a str),
    /// The one with this id.
    Id(&'a str),
}

/// One change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// Another role.
    Role(String),
    /// Another plan.
    Plan(String),
    /// Nothing but the end of its sessions.
    Revoke,
    /// Its end. Somebody may register the address again; that is another account with another id.
    Delete,
}

impl Identity {
    /// One account.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn account_details(&self, whose: AccountName<'_>) -> Result<AccountDetails, IdentityError> {
        let find = match whose {
            AccountName::Email(email) => {
                let email = Email::parse(email).map_err(|_| IdentityError::NoAccount)?;
                sql("SELECT id, password FROM account WHERE email = $1").bind(email.as_str())
            }
            AccountName::Id(id) if policy::is_id(id) => sql("SELECT id, password FROM account WHERE id = $1").bind(id),
            AccountName::Id(_) => return Err(IdentityError::NoAccount),
        };
        let row: Option<(String, String)> = find.fetch_optional(self.store.read()).await?;
        let (id, hash) = row.ok_or(IdentityError::NoAccount)?;
        let (sessions,): (i64,) = sql("SELECT count(*) FROM session WHERE account_id = $1 AND revoked_at IS NULL")
            .bind(&id)
            .fetch_one(self.store.read())
            .await?;
        Ok(AccountDetails { account: self.account(&id).await?, sessions, hash: hash_name(&hash) })
    }

    /// Changes an account. Every change ends its sessions, and its access tokens are void within a second everywhere: a
    /// token says which role and plan its holder has, so none may outlive them.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], [`IdentityError::Invalid`] for a role or plan that cannot be one.
    pub async fn change_account(
        &self,
        whose: AccountName<'_>,
        change: AccountChange,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        if let AccountChange::Role(name) | AccountChange::Plan(name) = &change
            && !policy::is_plain_name(name)
        {
            let field = if matches!(change, AccountChange::Role(_)) { "role" } else { "plan" };
            return Err(IdentityError::Invalid(vec![Violation { field, message: "Must be letters, digits, - and _" }]));
        }
        let found: Option<(String, String)> = match whose {
            AccountName::Email(email) => {
                let email = Email::parse(email).map_err(|_| IdentityError::NoAccount)?;
                sql("SELECT id, email FROM account WHERE email = $1").bind(email.as_str())
            }
            AccountName::Id(id) if policy::is_id(id) => sql("SELECT id, email FROM account WHERE id = $1").bind(id),
            AccountName::Id(_) => return Err(IdentityError::NoAccount),
        }
        .fetch_optional(self.store.read())
        .await?;
        let (id, email) = found.ok_or(IdentityError::NoAccount)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let (action, detail) = if change == AccountChange::Delete {
            // Held in the order in which everybody holds them: what the deletion takes along is held before the account.
            transaction.lock("address", &email).await?;
            hold_keys(&mut transaction, &id).await?;
            let gone: Option<(String, i64)> = sql("DELETE FROM account WHERE id = $1 RETURNING email, version")
                .bind(&id)
                .fetch_optional(&mut transaction)
                .await?;
            let (email, version) = gone.ok_or(IdentityError::NoAccount)?;
            sql("DELETE FROM pending WHERE email = $1").bind(&email).execute(&mut transaction).await?;
            // It outlives the account for as long as its tokens do.
            revocation::write(&mut transaction, Revoked::User(&id, version + 1), self.token_end(now)).await?;
            ("account_deleted", None)
        } else {
            let held: Option<(String,)> = sql(locking!("SELECT id FROM account WHERE id = $1", "FOR UPDATE"))
                .bind(&id)
                .fetch_optional(&mut transaction)
                .await?;
            held.ok_or(IdentityError::NoAccount)?;
            let said = match &change {
                AccountChange::Role(role) => {
                    let statement = sql("UPDATE account SET role = $1 WHERE id = $2").bind(role).bind(&id);
                    statement.execute(&mut transaction).await?;
                    ("role_changed", Some(role.as_str()))
                }
                AccountChange::Plan(plan) => {
                    let statement = sql("UPDATE account SET plan = $1 WHERE id = $2").bind(plan).bind(&id);
                    statement.execute(&mut transaction).await?;
                    ("plan_changed", Some(plan.as_str()))
                }
                AccountChange::Revoke | AccountChange::Delete => {
                    // Whoever is to be put out may have asked for another address.
                    link::void(&mut transaction, &id).await?;
                    ("sessions_revoked", None)
                }
            };
            revoke_account(&mut transaction, &id, now, self.token_end(now)).await?;
            said
        };
        audit::write(&mut transaction, now, action, Some(&id), origin, detail).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }
}

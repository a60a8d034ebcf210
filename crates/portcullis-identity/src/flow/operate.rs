//! What an operator does with accounts by their ids: pages of them, changes of several members at once, passwords (A11).

use portcullis_core::Secret;

use super::account::{Account, Row, account};
use super::link;
use super::logout::revoke_account;
use super::manage::{AccountChange, AccountName};
use crate::error::IdentityError;
use crate::policy::{self, Email, Violation};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{locking, millis, sql};

/// Which accounts are asked for.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// The one with this address.
    pub email: Option<String>,
    /// Those with this role.
    pub role: Option<String>,
    /// Those that are disabled, or those that are not.
    pub disabled: Option<bool>,
}

/// What an operator does to what a limit has counted against somebody, or to what limits go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAct {
    /// All of it is forgotten.
    Reset,
    /// Units are taken.
    Penalty,
    /// Units are given back.
    Reward,
    /// They are refused until a moment.
    Block,
    /// They are refused no more.
    Unblock,
    /// The store of the limits is said to have lost nothing, so that leased limits open again.
    Reopen,
    /// What is known of an address is forgotten.
    Forget,
}

impl LimitAct {
    /// The `action` of the row in the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "limit_reset",
            Self::Penalty => "limit_penalty",
            Self::Reward => "limit_reward",
            Self::Block => "limit_blocked",
            Self::Unblock => "limit_unblocked",
            Self::Reopen => "leases_reopened",
            Self::Forget => "reputation_forgotten",
        }
    }
}

/// Some of the accounts, in the order of their ids.
#[derive(Clone, Debug)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// What to ask for the next page with; `None` on the last.
    pub next: Option<String>,
}

/// What is to change of an account; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountPatch {
    /// The role.
    pub role: Option<String>,
    /// The plan.
    pub plan: Option<String>,
    /// The name; `Some(None)` takes it away.
    pub name: Option<Option<String>>,
    /// Whether it is disabled.
    pub disabled: Option<bool>,
}

/// Accounts of a page at most.
pub const MAX_PAGE: u16 = 200;

impl Identity {
    /// At most `limit` accounts (1 to [`MAX_PAGE`]) whose ids come after `after`.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for an address or a role that cannot be one, [`IdentityError::Database`].
    pub async fn accounts_page(
        &self,
        filter: &AccountFilter,
        after: Option<&str>,
        limit: u16,
    ) -> Result<AccountPage, IdentityError> {
        let limit = limit.clamp(1, MAX_PAGE);
        if filter.role.as_deref().is_some_and(|role| !policy::is_plain_name(role)) {
            return Err(unfit("role"));
        }
        // An id is all that a cursor may be: some bytes of a text make a server refuse the whole query.
        if after.is_some_and(|after| !policy::is_id(after)) {
            return Err(IdentityError::Invalid(vec![Violation { field: "cursor", message: "Is not one of ours" }]));
        }
        let disabled = filter.disabled.map(i64::from).unwrap_or(-1);
        let statement = match &filter.email {
            // By its index, and not by a look at every account.
            Some(email) => {
                let email = Email::parse(email).map_err(|violation| IdentityError::Invalid(vec![violation]))?;
                sql("SELECT id, email, name, role, plan, disabled_at, created_at FROM account \
                     WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR role = $2) \
                     AND ($3 < 0 OR ($3 = 1) = (disabled_at IS NOT NULL)) AND email = $5 ORDER BY id LIMIT $4")
                .bind(after.unwrap_or_default())
                .bind(filter.role.as_deref())
                .bind(disabled)
                .bind(i64::from(limit) + 1)
                .bind(email.as_str())
            }
            None => sql("SELECT id, email, name, role, plan, disabled_at, created_at FROM account \
                 WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR role = $2) \
                 AND ($3 < 0 OR ($3 = 1) = (disabled_at IS NOT NULL)) ORDER BY id LIMIT $4")
            .bind(after.unwrap_or_default())
            .bind(filter.role.as_deref())
            .bind(disabled)
            .bind(i64::from(limit) + 1),
        };
        let rows: Vec<Row> = statement.fetch_all(self.store.read()).await?;
        let mut accounts: Vec<Account> = rows.into_iter().map(account).collect();
        let more = accounts.len() > usize::from(limit);
        accounts.truncate(usize::from(limit));
        let next = accounts.last().filter(|_| more).map(|last| last.id.clone());
        Ok(AccountPage { accounts, next })
    }

    /// Changes several members of an account at once. A change of its role, its plan or its being disabled ends its
    /// sessions, as [`Identity::change_account`] says; one that changes nothing does nothing.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], [`IdentityError::Invalid`] with every broken rule.
    pub async fn patch_account(
        &self,
        id: &str,
        patch: &AccountPatch,
        origin: Origin,
    ) -> Result<Account, IdentityError> {
        let mut broken = Vec::new();
        for (field, name) in [("role", &patch.role), ("plan", &patch.plan)] {
            if name.as_deref().is_some_and(|name| !policy::is_plain_name(name)) {
                broken.push(Violation { field, message: "Must be letters, digits, - and _" });
            }
        }
        let wanted_name = patch.name.as_ref().map(|name| name.as_deref().map(policy::parse_name).transpose());
        let wanted_name = match wanted_name.transpose() {
            Ok(name) => name,
            Err(violation) => {
                broken.push(violation);
                None
            }
        };
        if !broken.is_empty() {
            return Err(IdentityError::Invalid(broken));
        }
        if !policy::is_id(id) {
            return Err(IdentityError::NoAccount);
        }
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let row: Option<Row> = sql(locking!(
            "SELECT id, email, name, role, plan, disabled_at, created_at FROM account WHERE id = $1",
            "FOR UPDATE"
        ))
        .bind(id)
        .fetch_optional(&mut transaction)
        .await?;
        let held = row.map(account).ok_or(IdentityError::NoAccount)?;
        let mut next = held.clone();
        let mut acts: Vec<(&'static str, Option<String>)> = Vec::new();
        if let Some(role) = patch.role.as_ref().filter(|role| **role != held.role) {
            next.role.clone_from(role);
            acts.push(("role_changed", Some(role.clone())));
        }
        if let Some(plan) = patch.plan.as_ref().filter(|plan| **plan != held.plan) {
            next.plan.clone_from(plan);
            acts.push(("plan_changed", Some(plan.clone())));
        }
        if let Some(disabled) = patch.disabled.filter(|disabled| *disabled != held.disabled_at.is_some()) {
            next.disabled_at = disabled.then_some(now);
            acts.push((if disabled { "account_disabled" } else { "account_enabled" }, None));
        }
        let ends_sessions = !acts.is_empty();
        if let Some(name) = wanted_name.filter(|name| *name != held.name) {
            next.name = name;
            acts.push(("renamed", None));
        }
        if acts.is_empty() {
            transaction.commit().await?;
            return Ok(held);
        }
        sql("UPDATE account SET role = $1, plan = $2, name = $3, disabled_at = $4 WHERE id = $5")
            .bind(&next.role)
            .bind(&next.plan)
            .bind(next.name.clone())
            .bind(next.disabled_at.map(millis))
            .bind(id)
            .execute(&mut transaction)
            .await?;
        if next.disabled_at.is_some() && held.disabled_at.is_none() {
            link::void(&mut transaction, id).await?;
        }
        if ends_sessions {
            revoke_account(&mut transaction, id, now, self.token_end(now)).await?;
        }
        for (action, detail) in acts {
            audit::write(&mut transaction, now, action, Some(id), origin, detail.as_deref()).await?;
        }
        transaction.commit().await?;
        if ends_sessions {
            self.see_revocations().await?;
        }
        Ok(next)
    }

    /// Takes down in the audit trail what an operator is about to do to a limit, which no transaction of ours holds: before it
    /// is done, so that nothing is done in silence. `account` is the account that it is done to, where it is one; `detail` has
    /// names and addresses, and is cut after 200 characters.
    ///
    /// # Errors
    /// [`IdentityError`] where it cannot be written; then it must not be done.
    pub async fn note_limit_act(
        &self,
        act: LimitAct,
        account: Option<&str>,
        detail: &str,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        let detail: String = detail.chars().take(200).collect();
        let mut transaction = self.store.write().await?;
        audit::write(&mut transaction, self.now(), act.as_str(), account, origin, Some(&detail)).await?;
        Ok(transaction.commit().await?)
    }

    /// Sets a new password for the account with this id and ends its sessions.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], [`IdentityError::Invalid`] for a password that breaks a rule.
    pub async fn set_password_of(
        &self,
        id: &str,
        password: &Secret<String>,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        let held = self.account(id).await?;
        let broken = self.password_violations(password, &held.email, held.name.as_deref());
        if !broken.is_empty() {
            return Err(IdentityError::Invalid(broken));
        }
        let hash = self.hasher.hash(password).await?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let changed =
            sql("UPDATE account SET password = $1 WHERE id = $2").bind(hash).bind(id).execute(&mut transaction).await?;
        if changed == 0 {
            return Err(IdentityError::NoAccount);
        }
        link::void(&mut transaction, id).await?;
        revoke_account(&mut transaction, id, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, "password_set", Some(id), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }

    /// Ends every session of the account with this id.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn revoke_account(&self, id: &str, origin: Origin) -> Result<(), IdentityError> {
        self.change_account(AccountName::Id(id), AccountChange::Revoke, origin).await
    }

    /// Deletes the account with this id.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn delete_account(&self, id: &str, origin: Origin) -> Result<(), IdentityError> {
        self.change_account(AccountName::Id(id), AccountChange::Delete, origin).await
    }
}

fn unfit(field: &'static str) -> IdentityError {
    IdentityError::Invalid(vec![Violation { field, message: "Must be letters, digits, - and _" }])
}

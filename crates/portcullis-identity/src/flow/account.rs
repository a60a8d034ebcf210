//! Accounts as an operator and their owners see them (A7, A11).

use portcullis_core::{Secret, Timestamp};
use uuid::Uuid;

use super::link;
use super::logout::revoke_account;
use crate::error::IdentityError;
use crate::policy::{self, Email};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{Value, millis, moment, sql};

/// An account, without its password.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its address.
    pub email: String,
    /// Its name.
    pub name: Option<String>,
    /// Its role.
    pub role: String,
    /// Its plan.
    pub plan: String,
    /// Since when it is disabled.
    pub disabled_at: Option<Timestamp>,
    /// Since when it exists.
    pub created_at: Timestamp,
}

/// An account that an operator makes: verified from the start.
#[derive(Debug)]
pub struct NewAccount {
    /// The address.
    pub email: String,
    /// The password; the policy holds for operators too.
    pub password: Secret<String>,
    /// The name.
    pub name: Option<String>,
    /// The role.
    pub role: String,
    /// The plan; `None` for the default.
    pub plan: Option<String>,
}

pub(super) type Row = (String, String, Option<String>, String, String, Option<i64>, i64);

pub(super) fn account((id, email, name, role, plan, disabled, created): Row) -> Account {
    Account { id, email, name, role, plan, disabled_at: disabled.map(moment), created_at: moment(created) }
}

impl Identity {
    /// Makes a verified account.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] with every broken rule, [`IdentityError::Exists`] for a known address.
    pub async fn create_account(&self, new: NewAccount, origin: Origin) -> Result<Account, IdentityError> {
        let (email, name) = self.check_new(&new)?;
        let password = self.hasher.hash(&new.password).await?;
        let now = self.now();
        let row: Row = (
            Uuid::now_v7().to_string(),
            email.as_str().to_owned(),
            name,
            new.role,
            new.plan.unwrap_or_else(|| self.config.default_plan.to_string()),
            None,
            millis(now),
        );
        let mut transaction = self.store.write().await?;
        transaction.lock("address", &row.1).await?;
        let made = sql("INSERT INTO account (id, email, name, password, role, plan, version, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, $7) ON CONFLICT (email) DO NOTHING")
        .bind(&row.0)
        .bind(&row.1)
        .bind(row.2.clone())
        .bind(password)
        .bind(&row.3)
        .bind(&row.4)
        .bind(row.6)
        .execute(&mut transaction)
        .await?;
        if made == 0 {
            return Err(IdentityError::Exists);
        }
        sql("DELETE FROM pending WHERE email = $1").bind(&row.1).execute(&mut transaction).await?;
        audit::write(&mut transaction, now, "account_created", Some(&row.0), origin, Some(&row.3)).await?;
        transaction.commit().await?;
        Ok(account(row))
    }

    /// Sets a new password for an account and ends its sessions.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for a password that breaks a rule, [`IdentityError::NoAccount`].
    pub async fn set_password(
        &self,
        email: &str,
        password: &Secret<String>,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        let broken = self.password_violations(password, email, None);
        if !broken.is_empty() {
            return Err(IdentityError::Invalid(broken));
        }
        let hash = self.hasher.hash(password).await?;
        self.change(
            email,
            origin,
            "password_set",
            "UPDATE account SET password = $1 WHERE email = $2 RETURNING id",
            hash,
        )
        .await
    }

    /// Disables an account, which ends its sessions, or enables it again.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn set_disabled(&self, email: &str, disabled: bool, origin: Origin) -> Result<(), IdentityError> {
        let action = if disabled { "account_disabled" } else { "account_enabled" };
        let since = disabled.then(|| millis(self.now()));
        self.change(email, origin, action, "UPDATE account SET disabled_at = $1 WHERE email = $2 RETURNING id", since)
            .await
    }

    /// One account by its id.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn account(&self, id: &str) -> Result<Account, IdentityError> {
        if !policy::is_id(id) {
            return Err(IdentityError::NoAccount);
        }
        let row: Option<Row> =
            sql("SELECT id, email, name, role, plan, disabled_at, created_at FROM account WHERE id = $1")
                .bind(id)
                .fetch_optional(self.store.read())
                .await?;
        row.map(account).ok_or(IdentityError::NoAccount)
    }

    /// One change of one column that makes every token of the account void.
    async fn change(
        &self,
        email: &str,
        origin: Origin,
        action: &'static str,
        statement: &'static str,
        value: impl Into<Value>,
    ) -> Result<(), IdentityError> {
        let email = Email::parse(email).map_err(|_| IdentityError::NoAccount)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let changed: Option<(String,)> =
            sql(statement).bind(value).bind(email.as_str()).fetch_optional(&mut transaction).await?;
        let Some((id,)) = changed else { return Err(IdentityError::NoAccount) };
        link::void(&mut transaction, &id).await?;
        revoke_account(&mut transaction, &id, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, action, Some(&id), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await
    }

    fn check_new(&self, new: &NewAccount) -> Result<(Email, Option<String>), IdentityError> {
        let mut broken = self.password_violations(&new.password, &new.email, new.name.as_deref());
        let email = Email::parse(&new.email).map_err(|violation| broken.push(violation)).ok();
        let name = new.name.as_deref().map(policy::parse_name).transpose().map_err(|violation| broken.push(violation));
        for (field, word) in [("role", Some(&*new.role)), ("plan", new.plan.as_deref())] {
            if !word.is_none_or(policy::is_plain_name) {
                broken.push(policy::Violation { field, message: "Must be letters, digits, - and _" });
            }
        }
        match (email, name) {
            (Some(email), Ok(name)) if broken.is_empty() => Ok((email, name)),
            _ => Err(IdentityError::Invalid(broken)),
        }
    }
}

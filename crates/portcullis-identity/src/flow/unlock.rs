//! Forgetting what was counted against an account.

use super::account::Account;
use super::manage::AccountName;
use crate::error::IdentityError;
use crate::revocation::{self, Revoked};
use crate::service::Identity;
use crate::store::audit::{self, Origin};

impl Identity {
    /// Makes every instance forget, within a second, the failures that limits count against an account, and gives the account.
    /// It is the one place for whatever else keeps an owner out by counting. Nothing else changes: a disabled account stays
    /// disabled, and what is counted by address stays counted, because it is not the account's.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn unlock(&self, whose: AccountName<'_>, origin: Origin) -> Result<Account, IdentityError> {
        let account = self.account_details(whose).await?.account;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        revocation::write(&mut transaction, Revoked::Failures(&account.id), self.token_end(now)).await?;
        audit::write(&mut transaction, now, "account_unlocked", Some(&account.id), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await?;
        Ok(account)
    }
}

//! What an owner does with their own account: another name, another address, its end (A7).

use portcullis_core::Secret;

use super::link::{self, Purpose};
use super::logout::revoke_account;
use crate::error::IdentityError;
use crate::policy::{self, Email, Violation};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::sql;
use crate::token;

impl Identity {
    /// Gives an account another name, or none.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`], [`IdentityError::NoAccount`].
    pub async fn rename(&self, id: &str, name: Option<&str>, origin: Origin) -> Result<(), IdentityError> {
        let name = name.map(policy::parse_name).transpose().map_err(|broken| IdentityError::Invalid(vec![broken]))?;
        let mut transaction = self.store.write().await?;
        let changed = sql("UPDATE account SET name = $1 WHERE id = $2").bind(name).bind(id).execute(&mut transaction);
        if changed.await? == 0 {
            return Err(IdentityError::NoAccount);
        }
        audit::write(&mut transaction, self.now(), "renamed", Some(id), origin, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Deletes the account of somebody who knows its password. Its tokens are void within a second everywhere.
    ///
    /// # Errors
    /// [`IdentityError::WrongPassword`], [`IdentityError::NoAccount`].
    pub async fn delete_own(&self, id: &str, password: &Secret<String>, origin: Origin) -> Result<(), IdentityError> {
        let proved = self.prove_owner(id, password).await?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // Before the deletion: the revocation outlives the account for as long as its tokens do.
        revoke_account(&mut transaction, id, now, self.token_end(now)).await?;
        let gone = sql("DELETE FROM account WHERE id = $1 AND password = $2")
            .bind(id)
            .bind(&proved.hash)
            .execute(&mut transaction)
            .await?;
        if gone == 0 {
            // The password was changed meanwhile, by somebody who knew it too.
            return Err(IdentityError::WrongPassword);
        }
        sql("DELETE FROM pending WHERE email = $1").bind(proved.email.as_str()).execute(&mut transaction).await?;
        audit::write(&mut transaction, now, "account_deleted", Some(id), origin, None).await?;
        transaction.commit().await?;
        self.see_revocations().await?;
        let mail = self.config.letters.account_deleted(proved.email, &self.config.public_url, now);
        self.ports.mailer.send(mail);
        Ok(())
    }

    /// Asks for another address: it is to be confirmed there, and the present one is told. Whether the other address has an
    /// account is told to its owner and to nobody else.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for what is no other address, [`IdentityError::WrongPassword`],
    /// [`IdentityError::NoAccount`], [`IdentityError::NoMail`].
    pub async fn request_email_change(
        &self,
        id: &str,
        password: &Secret<String>,
        address: &str,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        if !self.config.mail {
            return Err(IdentityError::NoMail);
        }
        let other = Email::parse(address).map_err(|broken| IdentityError::Invalid(vec![broken]))?;
        let present = self.prove_owner(id, password).await?.email;
        if present == other {
            let message = "Must not be the present one";
            return Err(IdentityError::Invalid(vec![Violation { field: "email", message }]));
        }
        let token = token::random()?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        transaction.lock("address", present.as_str()).await?;
        link::make(&mut transaction, &token, Purpose::Email, present.as_str(), Some(&other), now).await?;
        let taken: Option<(String,)> = sql("SELECT id FROM account WHERE email = $1")
            .bind(other.as_str())
            .fetch_optional(&mut transaction)
            .await?;
        audit::write(&mut transaction, now, "email_change_requested", Some(id), origin, None).await?;
        transaction.commit().await?;
        let (letters, url) = (&self.config.letters, &self.config.public_url);
        self.ports.mailer.send(match taken {
            Some(_) => letters.already_registered(other, url, now),
            None => letters.confirm_email(other, url, token.expose(), now),
        });
        self.ports.mailer.send(letters.email_changing(present, url, now));
        Ok(())
    }

    /// Confirms another address by the link that was mailed there. Sessions go on: who asked knew the password, and who
    /// confirmed has the mailbox. Links that were mailed to the former address are void.
    ///
    /// # Errors
    /// [`IdentityError::InvalidLink`] for a token that is unknown, used up or too old, or whose address has an account by
    /// now.
    pub async fn confirm_email_change(&self, presented: &str, origin: Origin) -> Result<(), IdentityError> {
        let hash = token::hash(presented).ok_or(IdentityError::InvalidLink)?;
        let now = self.now();
        // The address is locked before the account, as everywhere, so that nobody waits for somebody who waits for them.
        let address: Option<(Option<String>,)> = sql("SELECT email FROM account_link WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(self.store.read())
            .await?;
        let Some((Some(address),)) = address else { return Err(IdentityError::InvalidLink) };
        let mut transaction = self.store.write().await?;
        transaction.lock("address", &address).await?;
        let (id, confirmed) = link::find(&mut transaction, &hash, Purpose::Email, now).await?;
        let taken: Option<(String,)> =
            sql("SELECT id FROM account WHERE email = $1").bind(&address).fetch_optional(&mut transaction).await?;
        if taken.is_some() || confirmed.as_deref() != Some(&*address) {
            return Err(IdentityError::InvalidLink);
        }
        let (former,): (String,) =
            sql("SELECT email FROM account WHERE id = $1").bind(&id).fetch_one(&mut transaction).await?;
        sql("UPDATE account SET email = $1 WHERE id = $2").bind(&address).bind(&id).execute(&mut transaction).await?;
        sql("DELETE FROM pending WHERE email = $1").bind(&address).execute(&mut transaction).await?;
        link::void(&mut transaction, &id).await?;
        audit::write(&mut transaction, now, "email_changed", Some(&id), origin, None).await?;
        transaction.commit().await?;
        if let Ok(former) = Email::parse(&former) {
            self.ports.mailer.send(self.config.letters.email_changed(former, &self.config.public_url, now));
        }
        Ok(())
    }
}

//! What an owner does with their own account: another name, another address, its end (A7).

use portcullis_core::Secret;

use super::link::{self, Purpose, Spent};
use super::password::Proved;
use crate::error::IdentityError;
use crate::policy::{self, Email, Violation};
use crate::revocation::{self, Revoked};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{Write, locking, sql};
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

    /// Deletes the account of somebody who knows its password, with its sessions, keys and links. Its tokens are void within
    /// a second everywhere.
    ///
    /// # Errors
    /// [`IdentityError::WrongPassword`], [`IdentityError::NoAccount`].
    pub async fn delete_own(&self, id: &str, password: &Secret<String>, origin: Origin) -> Result<(), IdentityError> {
        let proved = self.prove_owner(id, password, origin).await?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        transaction.lock("address", proved.email.as_str()).await?;
        hold_keys(&mut transaction, id).await?;
        let gone: Option<(String, i64)> =
            sql("DELETE FROM account WHERE id = $1 AND password = $2 RETURNING email, version")
                .bind(id)
                .bind(&proved.hash)
                .fetch_optional(&mut transaction)
                .await?;
        // The password was changed meanwhile, by somebody who knew it too.
        let Some((email, version)) = gone else { return Err(IdentityError::WrongPassword) };
        sql("DELETE FROM pending WHERE email = $1").bind(&email).execute(&mut transaction).await?;
        // It outlives the account for as long as its tokens do.
        revocation::write(&mut transaction, Revoked::User(id, version + 1), self.token_end(now)).await?;
        audit::write(&mut transaction, now, "account_deleted", Some(id), origin, None).await?;
        transaction.commit().await?;
        // To the address that the account had at its end.
        if let Ok(email) = Email::parse(&email) {
            self.ports.mailer.send(self.config.letters.account_deleted(email, &self.config.public_url, now));
        }
        self.see_revocations().await
    }

    /// Asks for another address: it is to be confirmed there, and the present one is told. Whether the other address has an
    /// account is told to its owner and to nobody else. What was asked for before is void: a link that went to a mistaken
    /// address must not be left to whoever has that mailbox.
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
        let Proved { email: present, hash } = self.prove_owner(id, password, origin).await?;
        if present == other {
            let message = "Must not be the present one";
            return Err(IdentityError::Invalid(vec![Violation { field: "email", message }]));
        }
        let token = token::random()?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // Asked again where nothing can come between: a password that was just replaced because somebody else knew it must
        // not leave a link of theirs behind.
        let held: Option<(String,)> = sql(locking!(
            "SELECT id FROM account WHERE id = $1 AND password = $2 AND email = $3 AND disabled_at IS NULL",
            "FOR UPDATE"
        ))
        .bind(id)
        .bind(hash)
        .bind(present.as_str())
        .fetch_optional(&mut transaction)
        .await?;
        held.ok_or(IdentityError::WrongPassword)?;
        link::void_all_for(&mut transaction, id, Purpose::Email).await?;
        link::make(&mut transaction, &token, Purpose::Email, id, Some(&other), now).await?;
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
    /// confirmed has the mailbox. Links that were mailed to the former address are void; so are access tokens where they name
    /// the address, and a refresh makes one with the new.
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
        let Spent { account: id, email: former, confirms } =
            link::spend(&mut transaction, &hash, Purpose::Email, now).await?;
        let taken: Option<(String,)> =
            sql("SELECT id FROM account WHERE email = $1").bind(&address).fetch_optional(&mut transaction).await?;
        if taken.is_some() || confirms.as_deref() != Some(&*address) {
            return Err(IdentityError::InvalidLink);
        }
        sql("UPDATE account SET email = $1 WHERE id = $2").bind(&address).bind(&id).execute(&mut transaction).await?;
        sql("DELETE FROM pending WHERE email = $1").bind(&address).execute(&mut transaction).await?;
        link::void(&mut transaction, &id).await?;
        let names_address = self.tokens_name_addresses();
        if names_address {
            // Whoever reads the address in a token must not go on believing the former one. The session stays.
            let (version,): (i64,) = sql("UPDATE account SET version = version + 1 WHERE id = $1 RETURNING version")
                .bind(&id)
                .fetch_one(&mut transaction)
                .await?;
            revocation::write(&mut transaction, Revoked::User(&id, version), self.token_end(now)).await?;
        }
        audit::write(&mut transaction, now, "email_changed", Some(&id), origin, None).await?;
        transaction.commit().await?;
        if let Ok(former) = Email::parse(&former) {
            self.ports.mailer.send(self.config.letters.email_changed(former, &self.config.public_url, now));
        }
        if names_address { self.see_revocations().await } else { Ok(()) }
    }
}

/// Holds an account's API keys, before the account itself: whoever rotates one holds it first and asks for the account then,
/// and would otherwise wait for a deletion that waits for them.
pub(crate) async fn hold_keys(transaction: &mut Write, account: &str) -> Result<(), sqlx::Error> {
    let _held: Vec<(String,)> = sql(locking!("SELECT id FROM api_key WHERE account_id = $1 ORDER BY id", "FOR UPDATE"))
        .bind(account)
        .fetch_all(transaction)
        .await?;
    Ok(())
}

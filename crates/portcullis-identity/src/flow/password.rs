//! Another password: for who forgot it by a mailed link, for who knows it by knowing it (A7).

use portcullis_core::{EventKind, Principal, Scheme, Secret};

use super::link::{self, Purpose, Spent};
use super::login::{Delivery, Hands, Holder, NewSession, Tokens};
use super::logout::revoke_account;
use super::server_session::ServerSession;
use crate::device::BoundTo;
use crate::error::IdentityError;
use crate::password::{Candidates, Proven};
use crate::policy::{Email, Violation};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{locking, millis, sql};
use crate::token;

/// What takes the place of the session in which a password was changed.
#[derive(Debug)]
pub enum Renewed {
    /// A pair of tokens, to be handed over as the former one was.
    Tokens(Tokens),
    /// A server session.
    Session(ServerSession),
}

/// An owner who has said the present password once more.
pub(crate) struct Proved {
    pub(crate) email: Email,
    /// The hash that it was checked against.
    pub(crate) hash: String,
}

impl Identity {
    /// Mails a link to set another password. Whether the address has an account is told to its owner and to nobody else:
    /// work, time and answer are the same.
    ///
    /// # Errors
    /// [`IdentityError::NoMail`] where nothing can be mailed to anybody, or that of a part that failed.
    pub async fn forgot_password(&self, email: &str, origin: Origin) -> Result<(), IdentityError> {
        if !self.config.mail {
            return Err(IdentityError::NoMail);
        }
        let email = Email::parse(email).ok();
        let address = email.as_ref().map_or("", Email::as_str);
        let token = token::random()?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let account: Option<(String,)> =
            sql(locking!("SELECT id FROM account WHERE email = $1 AND disabled_at IS NULL", "FOR UPDATE"))
                .bind(address)
                .fetch_optional(&mut transaction)
                .await?;
        let account = account.map(|(id,)| id);
        let of = account.as_deref().unwrap_or_default();
        let made = link::make(&mut transaction, &token, Purpose::Reset, of, None, now).await?;
        audit::write(&mut transaction, now, "reset_requested", account.as_deref(), origin, None).await?;
        transaction.commit().await?;
        // Where there are as many links as there may be, the owner has the letters already.
        if let (Some(email), true) = (email, made) {
            self.ports.mailer.send(self.config.letters.reset(email, &self.config.public_url, token.expose(), now));
        }
        Ok(())
    }

    /// Sets another password by a mailed link, and ends every session of the account; its API keys go on, and the letter to
    /// the owner says so. A password that breaks a rule does not spend the link.
    ///
    /// Whoever has the owner's mailbox is no stranger: the device is known from now on, and wrong passwords that strangers
    /// tried are forgotten. Gives the device's token, with those of other accounts that were presented beside it.
    ///
    /// # Errors
    /// [`IdentityError::InvalidLink`] for a token that is unknown, used up or too old, [`IdentityError::Invalid`] with every
    /// rule that the password breaks.
    pub async fn reset_password(
        &self,
        presented: &str,
        password: &Secret<String>,
        device: Option<&str>,
        origin: Origin,
    ) -> Result<Option<Secret<String>>, IdentityError> {
        let hash = token::hash(presented).ok_or(IdentityError::InvalidLink)?;
        let found: Option<(String, Option<String>)> = sql("SELECT a.email, a.name FROM account_link l \
             JOIN account a ON a.id = l.account_id \
             WHERE l.hash = $1 AND l.purpose = $2 AND l.expires_at > $3 AND a.disabled_at IS NULL")
        .bind(hash.as_slice())
        .bind(Purpose::Reset.as_str())
        .bind(millis(self.now()))
        .fetch_optional(self.store.read())
        .await?;
        // Asked before anything is hashed: who has no link shall cost nothing.
        let (email, name) = found.ok_or(IdentityError::InvalidLink)?;
        let broken = self.password_violations(password, &email, name.as_deref());
        if !broken.is_empty() {
            return Err(IdentityError::Invalid(broken));
        }
        let new = self.hasher.hash(password).await?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // Asked again where nobody can come between: of two who use one link, one does.
        let Spent { account, email, .. } = link::spend(&mut transaction, &hash, Purpose::Reset, now).await?;
        sql("UPDATE account SET password = $1 WHERE id = $2")
            .bind(&new)
            .bind(&account)
            .execute(&mut transaction)
            .await?;
        link::void(&mut transaction, &account).await?;
        revoke_account(&mut transaction, &account, now, self.token_end(now)).await?;
        audit::write(&mut transaction, now, "password_reset", Some(&account), origin, None).await?;
        transaction.commit().await?;
        self.tell_of_new_password(&email);
        self.forgive(&email).await;
        self.see_revocations().await?;
        self.device_token(BoundTo { account: &account, password: &new }, device, now)
    }

    /// Changes the password of somebody who knows the present one. Every session ends, and the one that asked gets a
    /// successor of the same kind: whoever else was logged in is out, and whoever changed it is not.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] with every rule that the new password breaks, [`IdentityError::WrongPassword`],
    /// [`IdentityError::NoAccount`].
    pub async fn change_password(
        &self,
        principal: &Principal,
        present: &Secret<String>,
        new: &Secret<String>,
        agent: Option<&str>,
        device: Option<&str>,
        origin: Origin,
    ) -> Result<Renewed, IdentityError> {
        let id = principal.subject();
        let account = self.account(id).await?;
        let mut broken = self.password_violations(new, &account.email, account.name.as_deref());
        if new == present {
            broken.push(Violation { field: "password", message: "Must not be the present one" });
        }
        if !broken.is_empty() {
            return Err(IdentityError::Invalid(broken));
        }
        let proved = self.prove_owner(id, present, origin).await?;
        let hash = self.hasher.hash(new).await?;
        let secret = token::random()?;
        let session = principal.parts().session.as_deref().unwrap_or_default();
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let changed: Option<(String, String, String, Option<String>)> = sql("UPDATE account SET password = $1 \
             WHERE id = $2 AND password = $3 AND disabled_at IS NULL RETURNING role, plan, email, name")
        .bind(&hash)
        .bind(id)
        .bind(&proved.hash)
        .fetch_optional(&mut transaction)
        .await?;
        // It was changed meanwhile, by somebody who knew it too.
        let Some((role, plan, email, name)) = changed else { return Err(IdentityError::WrongPassword) };
        let delivery: Option<(String,)> = sql("SELECT delivery FROM session WHERE id = $1 AND account_id = $2")
            .bind(session)
            .bind(id)
            .fetch_optional(&mut transaction)
            .await?;
        // What came by a cookie is never in a body (T6), even where its session is forgotten already.
        let by_cookie = principal.parts().scheme == Scheme::Cookie
            || delivery.is_some_and(|(delivery,)| delivery == Delivery::Cookie.as_str());
        let delivery = if by_cookie { Delivery::Cookie } else { Delivery::Body };
        link::void(&mut transaction, id).await?;
        revoke_account(&mut transaction, id, now, self.token_end(now)).await?;
        let (version,): (i64,) =
            sql("SELECT version FROM account WHERE id = $1").bind(id).fetch_one(&mut transaction).await?;
        let in_session = principal.parts().scheme == Scheme::Session;
        let hands = if in_session { Hands::Session(&secret) } else { Hands::Tokens(&secret) };
        let opened = NewSession { account: id, hands, delivery, agent, origin };
        let session = self.begin_session(&mut transaction, &opened, now).await?;
        audit::write(&mut transaction, now, "password_changed", Some(id), origin, None).await?;
        transaction.commit().await?;
        self.tell_of_new_password(&email);
        self.see_revocations().await?;
        let device = self.device_token(BoundTo { account: id, password: &hash }, device, now)?;
        if in_session {
            return Ok(Renewed::Session(self.handed_over(session, secret, device)));
        }
        let holder = Holder { id: id.to_owned(), role, plan, version, email, name };
        let tokens = self.tokens(&holder, &session, secret, delivery, now)?;
        Ok(Renewed::Tokens(Tokens { device, ..tokens }))
    }

    /// Whether it is the account's present password, for what a stolen session alone must not be able to do elsewhere.
    ///
    /// # Errors
    /// [`IdentityError::WrongPassword`], [`IdentityError::NoAccount`].
    pub async fn confirm_password(
        &self,
        id: &str,
        present: &Secret<String>,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        self.prove_owner(id, present, origin).await.map(drop)
    }

    /// Checks the present password once more, for what a stolen session alone must not be able to do.
    pub(crate) async fn prove_owner(
        &self,
        id: &str,
        present: &Secret<String>,
        origin: Origin,
    ) -> Result<Proved, IdentityError> {
        let row: Option<(String, String)> =
            sql("SELECT email, password FROM account WHERE id = $1 AND disabled_at IS NULL")
                .bind(id)
                .fetch_optional(self.store.read())
                .await?;
        let (email, hash) = row.ok_or(IdentityError::NoAccount)?;
        let candidates = Candidates { account: Some(&hash), ..Candidates::default() };
        match self.hasher.verify(present, candidates).await? {
            Proven::Account { .. } => {
                let email = Email::parse(&email).map_err(|_| IdentityError::NoAccount)?;
                Ok(Proved { email, hash })
            }
            Proven::Pending | Proven::Nothing => {
                self.record(EventKind::LoginFailed, Some(id), origin, Some("wrong_password"));
                Err(IdentityError::WrongPassword)
            }
        }
    }

    fn tell_of_new_password(&self, email: &str) {
        // What the store holds was an address when it was written; one that is none any more has no mailbox.
        if let Ok(email) = Email::parse(email) {
            let mail = self.config.letters.password_changed(email, &self.config.public_url, self.now());
            self.ports.mailer.send(mail);
        }
    }
}

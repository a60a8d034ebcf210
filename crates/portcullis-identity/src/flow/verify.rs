//! Confirming an address (A5), and asking for another link.

use uuid::Uuid;

use crate::error::IdentityError;
use crate::mail::LetterKind;
use crate::policy::Email;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{millis, moment, sql};
use crate::token;

impl Identity {
    /// Confirms a registration: makes the account with the password that this very registration brought, and drops all
    /// others of the address.
    ///
    /// # Errors
    /// [`IdentityError::InvalidVerification`] for a token that is unknown, used up or too old.
    pub async fn verify(&self, presented: &str, origin: Origin) -> Result<(), IdentityError> {
        let hash = token::hash(presented).ok_or(IdentityError::InvalidVerification)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let of: Option<(String,)> = sql("SELECT email FROM pending WHERE token_hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&mut transaction)
            .await?;
        let Some((email,)) = of else { return Err(IdentityError::InvalidVerification) };
        // Two links of one address at once: the second one waits here and then finds that its own is gone.
        transaction.lock("address", &email).await?;
        let pending: Option<(Option<String>, String)> =
            sql("SELECT name, password FROM pending WHERE token_hash = $1 AND expires_at > $2")
                .bind(hash)
                .bind(millis(now))
                .fetch_optional(&mut transaction)
                .await?;
        let Some((name, password)) = pending else { return Err(IdentityError::InvalidVerification) };
        sql("DELETE FROM pending WHERE email = $1").bind(&email).execute(&mut transaction).await?;
        let id = Uuid::now_v7().to_string();
        let made = sql("INSERT INTO account (id, email, name, password, role, plan, version, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, $7) ON CONFLICT (email) DO NOTHING")
        .bind(&id)
        .bind(&email)
        .bind(name)
        .bind(password)
        .bind(&*self.config.default_role)
        .bind(&*self.config.default_plan)
        .bind(millis(now))
        .execute(&mut transaction)
        .await?;
        if made == 0 {
            // An operator made the account in the meantime; its password stands.
            transaction.commit().await?;
            return Err(IdentityError::InvalidVerification);
        }
        audit::write(&mut transaction, now, "verified", Some(&id), origin, None).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Mails the links of an address's pending registrations again, each with a token of its own and the time of its
    /// registration: a single link for "the newest" could confirm the password of a stranger who registered the address
    /// after its owner.
    ///
    /// Always succeeds in the eyes of the caller, and always costs one synced write.
    ///
    /// # Errors
    /// Only that of a part that failed.
    pub async fn resend_verification(&self, email: &str, origin: Origin) -> Result<(), IdentityError> {
        let email = Email::parse(email).ok();
        let now = self.now();
        let mut transaction = self.store.write().await?;
        transaction.lock("address", email.as_ref().map_or("", Email::as_str)).await?;
        let rows: Vec<(String, i64)> =
            sql("SELECT id, created_at FROM pending WHERE email = $1 AND expires_at > $2 ORDER BY created_at")
                .bind(email.as_ref().map_or("", Email::as_str))
                .bind(millis(now))
                .fetch_all(&mut transaction)
                .await?;
        let known: Option<(String,)> = sql("SELECT id FROM account WHERE email = $1")
            .bind(email.as_ref().map_or("", Email::as_str))
            .fetch_optional(&mut transaction)
            .await?;
        let mut fresh = Vec::new();
        for (id, created) in rows {
            // The new link makes the former one void. Where nobody would be told the new one, whoever asks again and again
            // would take the owner's last link away.
            let is_told = |to: &Email| known.is_some() || self.ports.mailer.admit(to, LetterKind::Verify, now);
            if !email.as_ref().is_some_and(is_told) {
                continue;
            }
            let token = token::random()?;
            sql("UPDATE pending SET token_hash = $1 WHERE id = $2")
                .bind(token::hash(token.expose()).ok_or(IdentityError::Crypto)?)
                .bind(id)
                .execute(&mut transaction)
                .await?;
            fresh.push((token, moment(created)));
        }
        audit::write(&mut transaction, now, "verification_resent", None, origin, None).await?;
        transaction.commit().await?;
        let (Some(email), false) = (email, fresh.is_empty()) else { return Ok(()) };
        let url = &self.config.public_url;
        // Whatever is pending beside an account can make none, so its owner is told instead of being sent a dead link.
        if known.is_some() {
            self.ports.mailer.send(self.config.letters.already_registered(email, url, now));
            return Ok(());
        }
        for (token, registered) in fresh {
            let mail = self.config.letters.verify(email.clone(), url, token.expose(), registered, now);
            self.ports.mailer.send_admitted(mail);
        }
        Ok(())
    }
}

//! Confirming an address (A5), and asking for another link.

use portcullis_core::Secret;
use uuid::Uuid;

use super::register::VERIFICATION_TTL;
use crate::error::IdentityError;
use crate::mail::{Mail, text};
use crate::policy::Email;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::millis;
use crate::token;

/// How many registrations of one address may be pending, and so how many passwords a resend has to look at.
const LOOKED_AT: usize = 3;

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
        let pending: Option<(String, Option<String>, String)> =
            sqlx::query_as("SELECT email, name, password FROM pending WHERE token_hash = $1 AND expires_at > $2")
                .bind(hash)
                .bind(millis(now))
                .fetch_optional(&mut *transaction)
                .await?;
        let Some((email, name, password)) = pending else { return Err(IdentityError::InvalidVerification) };
        sqlx::query("DELETE FROM pending WHERE email = $1").bind(&email).execute(&mut *transaction).await?;
        let id = Uuid::now_v7().to_string();
        let made = sqlx::query(
            "INSERT INTO account (id, email, name, password, role, plan, version, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, $7) ON CONFLICT (email) DO NOTHING",
        )
        .bind(&id)
        .bind(&email)
        .bind(name)
        .bind(password)
        .bind(&*self.config.default_role)
        .bind(&*self.config.default_plan)
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() == 0 {
            // An operator made the account in the meantime; its password stands.
            transaction.commit().await?;
            return Err(IdentityError::InvalidVerification);
        }
        audit::write(&mut transaction, now, "verified", Some(&id), origin, None).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Mails another link for a pending registration. It asks for the password, because the link confirms one: a link for
    /// "the newest registration" could confirm the password of a stranger who registered the address after its owner.
    ///
    /// Always succeeds in the eyes of the caller, and always costs the same hashes.
    ///
    /// # Errors
    /// Only that of a part that failed.
    pub async fn resend_verification(
        &self,
        email: &str,
        password: &Secret<String>,
        origin: Origin,
    ) -> Result<(), IdentityError> {
        let email = Email::parse(email).ok();
        let rows: Vec<(String, String)> = match &email {
            Some(email) => {
                sqlx::query_as("SELECT id, password FROM pending WHERE email = $1 ORDER BY created_at DESC LIMIT 3")
                    .bind(email.as_str())
                    .fetch_all(self.store.read())
                    .await?
            }
            None => Vec::new(),
        };
        let mut matching = None;
        for index in 0..LOOKED_AT {
            let row = rows.get(index);
            if self.hasher.verify(password, row.map(|(_, hash)| hash.as_str())).await? && matching.is_none() {
                matching = row.map(|(id, _)| id.clone());
            }
        }
        let (Some(id), Some(email)) = (matching, email) else { return Ok(()) };
        let token = token::random()?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let changed = sqlx::query("UPDATE pending SET token_hash = $1, expires_at = $2 WHERE id = $3")
            .bind(token::hash(token.expose()).ok_or(IdentityError::Crypto)?)
            .bind(millis(now.after(VERIFICATION_TTL)))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        audit::write(&mut transaction, now, "verification_resent", None, origin, None).await?;
        transaction.commit().await?;
        if changed.rows_affected() == 1 {
            let text = text::verify(&self.config.public_url, token.expose());
            self.ports.mailer.send(Mail { to: email, subject: "Confirm your e-mail address", text, at: now });
        }
        Ok(())
    }
}

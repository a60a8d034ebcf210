//! Registration (A1, A2, A4): the same answer for a new and a known address.

use std::time::Duration;

use portcullis_core::Secret;
use uuid::Uuid;

use crate::error::IdentityError;
use crate::policy::{self, Email, Violation};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{millis, sql};
use crate::token;

/// What a stranger sends to register.
#[derive(Debug)]
pub struct Registration {
    /// The address.
    pub email: String,
    /// The password.
    pub password: Secret<String>,
    /// A name to show.
    pub name: Option<String>,
}

/// How long a verification token lives (A5).
const VERIFICATION_TTL: Duration = Duration::from_secs(24 * 3600);
/// How many pending registrations of one address are kept: whoever fills them up cannot keep the owner's own out, because
/// the oldest goes first.
const MAX_PENDING: i64 = 3;

impl Identity {
    /// Registers an address. Whether it was known is told to its owner by mail and to nobody else: work, time and answer
    /// are the same.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] with every broken rule, [`IdentityError::RegistrationClosed`], or that of a part.
    pub async fn register(&self, registration: Registration, origin: Origin) -> Result<(), IdentityError> {
        if !self.config.registration {
            return Err(IdentityError::RegistrationClosed);
        }
        let (email, name) = self.check(&registration)?;
        let password = self.hasher.hash(&registration.password).await?;
        let token = token::random()?;
        let token_hash = token::hash(token.expose()).ok_or(IdentityError::Crypto)?;
        let now = self.now();

        let mut transaction = self.store.write().await?;
        transaction.lock("address", email.as_str()).await?;
        let known: Option<(String,)> = sql("SELECT id FROM account WHERE email = $1")
            .bind(email.as_str())
            .fetch_optional(&mut transaction)
            .await?;
        // Kept for a known address as well, though its token is mailed to nobody: without it a login with this password
        // would say that the address has an account.
        sql("INSERT INTO pending (id, email, name, password, token_hash, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(Uuid::now_v7().to_string())
        .bind(email.as_str())
        .bind(name)
        .bind(password)
        .bind(token_hash)
        .bind(millis(now))
        .bind(millis(now.after(VERIFICATION_TTL)))
        .execute(&mut transaction)
        .await?;
        sql("DELETE FROM pending WHERE email = $1 AND id NOT IN \
             (SELECT id FROM pending WHERE email = $1 ORDER BY created_at DESC, id DESC LIMIT $2)")
        .bind(email.as_str())
        .bind(MAX_PENDING)
        .execute(&mut transaction)
        .await?;
        let action = if known.is_some() { "registered_known" } else { "registered" };
        audit::write(&mut transaction, now, action, known.as_ref().map(|(id,)| id.as_str()), origin, None).await?;
        transaction.commit().await?;

        let url = &self.config.public_url;
        let mail = if known.is_some() {
            self.config.letters.already_registered(email, url, now)
        } else {
            self.config.letters.verify(email, url, token.expose(), now, now)
        };
        self.ports.mailer.send(mail);
        Ok(())
    }

    /// Every rule that a registration breaks, at once.
    fn check(&self, registration: &Registration) -> Result<(Email, Option<String>), IdentityError> {
        let mut broken: Vec<Violation> = Vec::new();
        let email = Email::parse(&registration.email).map_err(|violation| broken.push(violation)).ok();
        let name = match registration.name.as_deref().map(policy::parse_name) {
            Some(Ok(name)) => Some(name),
            Some(Err(violation)) => {
                broken.push(violation);
                None
            }
            None => None,
        };
        broken.extend(self.password_violations(
            &registration.password,
            &registration.email,
            registration.name.as_deref(),
        ));
        match email {
            Some(email) if broken.is_empty() => Ok((email, name)),
            _ => Err(IdentityError::Invalid(broken)),
        }
    }
}

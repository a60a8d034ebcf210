//! Login (A6): a password for a pair of tokens.

use std::time::Duration;

use portcullis_core::{EventKind, Secret, Timestamp};
use uuid::Uuid;

use crate::device::BoundTo;
use crate::error::IdentityError;
use crate::password::{Candidates, Proven};
use crate::policy::{self, Email};
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{Write, locking, millis, sql};
use crate::token;

/// What somebody sends to log in.
#[derive(Debug)]
pub struct Credentials {
    /// The address.
    pub email: String,
    /// The password.
    pub password: Secret<String>,
    /// How the tokens are to be handed over.
    pub delivery: Delivery,
    /// What the program calls itself (`User-Agent`), for the owner's list of sessions.
    pub agent: Option<String>,
    /// What a former login left on this device, if it did: by whom a wrong password is counted.
    pub device: Option<String>,
}

/// How tokens are handed over (T6). A session keeps to the way it began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// In the answer's body.
    #[default]
    Body,
    /// In cookies that scripts cannot read, and never in a body.
    Cookie,
}

impl Delivery {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Cookie => "cookie",
        }
    }
}

/// A pair of tokens.
#[derive(Debug)]
pub struct Tokens {
    /// The id of their session (`sid`).
    pub session: Box<str>,
    /// The access token, a JWT.
    pub access: Secret<String>,
    /// The refresh token, opaque.
    pub refresh: Secret<String>,
    /// The access token's life.
    pub expires_in: Duration,
    /// The refresh token's life.
    pub refresh_expires_in: Duration,
    /// How they are to be handed over.
    pub delivery: Delivery,
    /// What the device is known by from now on; only of a login, and where attempts are counted.
    pub device: Option<Secret<String>>,
}

/// An account whose password was presented.
struct Proof {
    id: String,
    /// The hash that it was checked against.
    proven: String,
    /// The hash to take its place.
    renewed: Option<String>,
}

/// What a session is held by: its first refresh token, or its cookie.
#[derive(Clone, Copy)]
pub(crate) enum Hands<'a> {
    Tokens(&'a Secret<String>),
    Session(&'a Secret<String>),
}

/// A session that is to be opened.
pub(crate) struct NewSession<'a> {
    pub(crate) account: &'a str,
    pub(crate) hands: Hands<'a>,
    /// How tokens are handed over; not asked of a server session.
    pub(crate) delivery: Delivery,
    pub(crate) agent: Option<&'a str>,
    pub(crate) origin: Origin,
}

/// Somebody who was let in.
pub(crate) struct Entered {
    pub(crate) holder: Holder,
    /// The id of the new session.
    pub(crate) session: String,
    /// What the device is known by from now on.
    pub(crate) device: Option<Secret<String>>,
    pub(crate) now: Timestamp,
}

/// What a token says of an account.
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) plan: String,
    pub(crate) version: i64,
    pub(crate) email: String,
    pub(crate) name: Option<String>,
}

/// A row of an account that somebody enters: its role, its plan, its version, since when it is disabled, its address and
/// the name.
type Entering = (String, String, i64, Option<i64>, String, Option<String>);

impl Identity {
    /// Logs in.
    ///
    /// The right password costs one hash; any other costs two, of the account and of the newest pending registration, or of
    /// dummies in their place. A hash that is not what would be made today is made again (A3), in the transaction that opens
    /// the session.
    ///
    /// # Errors
    /// [`IdentityError::InvalidCredentials`] for a wrong password and an unknown address alike; with the right password
    /// [`IdentityError::NotVerified`] or [`IdentityError::Disabled`]. Whatever the password,
    /// [`IdentityError::TooManyAttempts`].
    pub async fn login(&self, credentials: Credentials, origin: Origin) -> Result<Tokens, IdentityError> {
        let refresh = token::random()?;
        let entered = self.admit(&credentials, Hands::Tokens(&refresh), origin).await?;
        let Entered { holder, session, device, now } = entered;
        let tokens = self.tokens(&holder, &session, refresh, credentials.delivery, now)?;
        Ok(Tokens { device, ..tokens })
    }

    /// Lets somebody in whose password is right, with a new session of their own.
    pub(crate) async fn admit(
        &self,
        credentials: &Credentials,
        hands: Hands<'_>,
        origin: Origin,
    ) -> Result<Entered, IdentityError> {
        // Before anything is hashed: of many who guess at once, no more are heard than may guess.
        let attempt = self.begin_attempt(credentials, origin).await?;
        let outcome = self.try_admit(credentials, hands, origin).await;
        self.settle(attempt, &outcome, origin).await;
        match &outcome {
            Ok(entered) => self.record(EventKind::LoginSucceeded, Some(&entered.holder.id), origin, None),
            Err(IdentityError::InvalidCredentials) => {
                self.record(EventKind::LoginFailed, None, origin, Some("invalid_credentials"))
            }
            Err(IdentityError::NotVerified) => self.record(EventKind::LoginFailed, None, origin, Some("not_verified")),
            Err(IdentityError::Disabled) => self.record(EventKind::LoginFailed, None, origin, Some("disabled")),
            Err(_) => {}
        }
        outcome
    }

    async fn try_admit(
        &self,
        credentials: &Credentials,
        hands: Hands<'_>,
        origin: Origin,
    ) -> Result<Entered, IdentityError> {
        let proof = self.prove(credentials).await?;
        if let Some(entered) = self.enter(credentials, hands, proof, origin).await? {
            return Ok(entered);
        }
        // The hash was replaced while it was checked. Where another login of the same owner made it again, the same
        // password is right for the new one too, which nobody will make again; where the password was changed, it is wrong.
        let proof = self.prove(credentials).await?;
        self.enter(credentials, hands, proof, origin).await?.ok_or(IdentityError::InvalidCredentials)
    }

    /// Finds the account whose password it is, and makes its hash again where that is due.
    async fn prove(&self, credentials: &Credentials) -> Result<Proof, IdentityError> {
        self.hasher.has_room()?;
        let email = Email::parse(&credentials.email).ok();
        let address = email.as_ref().map_or("", Email::as_str);
        let account: Option<(String, String)> = sql("SELECT id, password FROM account WHERE email = $1")
            .bind(address)
            .fetch_optional(self.store.read())
            .await?;
        // Asked for a known account too, so that both take the same statements.
        let pending: Option<(String,)> = sql(
            "SELECT password FROM pending WHERE email = $1 AND expires_at > $2 ORDER BY created_at DESC, id DESC LIMIT 1",
        )
        .bind(address)
        .bind(millis(self.now()))
        .fetch_optional(self.store.read())
        .await?;
        let stand_in = self.decoys.stand_in(address);
        let candidates = Candidates {
            stand_in: stand_in.as_ref(),
            account: account.as_ref().map(|(_, hash)| hash.as_str()),
            pending: pending.as_ref().map(|(hash,)| hash.as_str()),
        };
        let outdated = match self.hasher.verify(&credentials.password, candidates).await? {
            Proven::Account { outdated } => outdated,
            // Also where the address has an account: whoever registers it with a password of their own and then logs in
            // must not learn that from the answer.
            Proven::Pending => return Err(IdentityError::NotVerified),
            Proven::Nothing => return Err(IdentityError::InvalidCredentials),
        };
        let (id, proven) = account.ok_or(IdentityError::InvalidCredentials)?;
        let renewed = match outdated {
            true => match self.hasher.hash(&credentials.password).await {
                Ok(hash) => Some(hash),
                // The next login will do; this one is not to fail for it.
                Err(IdentityError::Overloaded) => None,
                Err(error) => return Err(error),
            },
            false => None,
        };
        Ok(Proof { id, proven, renewed })
    }

    /// Opens the session; `None` where the hash is not the one that was proven any more.
    async fn enter(
        &self,
        credentials: &Credentials,
        hands: Hands<'_>,
        proof: Proof,
        origin: Origin,
    ) -> Result<Option<Entered>, IdentityError> {
        let Proof { id, proven, renewed } = proof;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        // Asked again where nothing can come between: the hash may have waited long, and a password that was replaced or
        // an account that was disabled meanwhile must not leave a session behind.
        let current: Option<Entering> = sql(locking!(
            "SELECT role, plan, version, disabled_at, email, name FROM account WHERE id = $1 AND password = $2",
            "FOR UPDATE"
        ))
        .bind(&id)
        .bind(&proven)
        .fetch_optional(&mut transaction)
        .await?;
        let Some((role, plan, version, disabled, email, name)) = current else {
            // What replaced it may be of this very group of writes: the next look must find it on the disk.
            transaction.commit().await?;
            return Ok(None);
        };
        if disabled.is_some() {
            return Err(IdentityError::Disabled);
        }
        if let Some(renewed) = &renewed {
            // The password stays what it was, so no session ends.
            sql("UPDATE account SET password = $1 WHERE id = $2")
                .bind(renewed)
                .bind(&id)
                .execute(&mut transaction)
                .await?;
            audit::write(&mut transaction, now, "password_rehashed", Some(&id), origin, None).await?;
        }
        let opened = NewSession {
            account: &id,
            hands,
            delivery: credentials.delivery,
            agent: credentials.agent.as_deref(),
            origin,
        };
        let session = self.begin_session(&mut transaction, &opened, now).await?;
        audit::write(&mut transaction, now, "logged_in", Some(&id), origin, None).await?;
        transaction.commit().await?;
        let password = renewed.as_deref().unwrap_or(&proven);
        let device = self.device_token(BoundTo { account: &id, password }, credentials.device.as_deref(), now)?;
        Ok(Some(Entered { holder: Holder { id, role, plan, version, email, name }, session, device, now }))
    }

    /// Stores a new session with what holds it; gives its id.
    pub(crate) async fn begin_session(
        &self,
        transaction: &mut Write,
        new: &NewSession<'_>,
        now: Timestamp,
    ) -> Result<String, IdentityError> {
        let id = Uuid::now_v7().to_string();
        sql("INSERT INTO session (id, account_id, delivery, created_at, last_used_at, client, agent) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(&id)
        .bind(new.account)
        .bind(match new.hands {
            Hands::Tokens(_) => new.delivery.as_str(),
            Hands::Session(_) => "session",
        })
        .bind(millis(now))
        .bind(millis(now))
        .bind(new.origin.client.map(|client| client.ip().to_string()))
        .bind(new.agent.map(policy::plain_text))
        .execute(&mut *transaction)
        .await?;
        match new.hands {
            Hands::Tokens(refresh) => self.store_refresh(transaction, refresh.expose(), &id, 0, now).await?,
            Hands::Session(secret) => self.store_cookie(transaction, secret.expose(), &id, now).await?,
        }
        Ok(id)
    }

    /// Stores a refresh token as its hash.
    pub(crate) async fn store_refresh(
        &self,
        transaction: &mut Write,
        refresh: &str,
        session: &str,
        generation: i64,
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        sql("INSERT INTO refresh_token (hash, session_id, generation, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(token::hash(refresh).ok_or(IdentityError::Crypto)?)
            .bind(session)
            .bind(generation)
            .bind(millis(now.after(self.config.refresh_ttl)))
            .execute(transaction)
            .await?;
        Ok(())
    }

    /// Signs an access token (T1) beside a refresh token.
    pub(crate) fn tokens(
        &self,
        holder: &Holder,
        session: &str,
        refresh: Secret<String>,
        delivery: Delivery,
        now: Timestamp,
    ) -> Result<Tokens, IdentityError> {
        // Where this machine's clock was set back, nobody knows whether it was right before or is now. What others read as
        // the moment of issue must not lie in their future in either case.
        let issued = now.min(self.ports.clock.wall());
        let id = Uuid::new_v4().to_string();
        let claims = self.claims(holder, session, &id, [issued, now.after(self.config.access_ttl)])?;
        let key = self.keyring.signing();
        let access = key.sign("at+jwt", claims.as_bytes()).map_err(|_| IdentityError::Crypto)?;
        Ok(Tokens {
            session: session.into(),
            access: Secret::new(access),
            refresh,
            expires_in: self.config.access_ttl,
            refresh_expires_in: self.config.refresh_ttl,
            delivery,
            device: None,
        })
    }
}

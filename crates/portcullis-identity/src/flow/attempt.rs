//! Attempts to log in, as they are counted (L13): charged before anything is hashed, settled by how they end.
//!
//! NIST SP 800-63B-4 §3.2.2 asks for a limit of failed attempts on one account, and for one that does not lock its owner
//! out. Strangers share the pool of the address, whether or not it has an account; a device on which the owner has logged
//! in before has its own, so that no stranger's guesses are counted there.

use std::time::Duration;

use portcullis_core::{Event, EventKind, Secret, Timestamp};
use tokio::time::Instant;

use super::link::{self, Purpose};
use super::login::Credentials;
use super::manage::AccountName;
use crate::device::{self, BoundTo};
use crate::error::IdentityError;
use crate::lockout::{Allowance, Charged, Exhausted, Lockout, OneUnderWay, Pool, spelling};
use crate::policy::Email;
use crate::service::Identity;
use crate::store::audit::{self, Origin};
use crate::store::{locking, sql};
use crate::token;

/// The name under which refusals are recorded.
const LIMIT: &str = "lockout";

/// How long an attempt waits for others that are under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// An attempt that was charged.
pub(crate) struct Attempt {
    /// The address as it is counted.
    address: String,
    charged: Charged,
    by: By,
    _under_way: OneUnderWay,
}

/// Whose pool an attempt was charged to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Strangers,
    Device,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Strangers => "unknown_devices",
            Self::Device => "known_device",
        }
    }
}

impl Identity {
    /// Charges an attempt; `None` where attempts are not counted.
    pub(crate) async fn begin_attempt(
        &self,
        credentials: &Credentials,
        origin: Origin,
    ) -> Result<Option<Attempt>, IdentityError> {
        let Some(lockout) = self.config.lockout else { return Ok(None) };
        // Who cannot be served now is not charged, and leaves nothing in the store.
        self.hasher.has_room()?;
        let address = spelling(&credentials.email);
        let known = match credentials.device.as_deref().filter(|presented| device::is_plausible(presented)) {
            Some(presented) => self.known_device(presented, &address, lockout).await?,
            None => None,
        };
        let (pool, by) = match &known {
            Some(device) => (self.pools.device(device), By::Device),
            None => (self.pools.strangers(&address), By::Strangers),
        };
        match self.charge_or_wait(&pool, &lockout.allowances()).await {
            Ok(charged) => Ok(Some(Attempt { address, charged, by, _under_way: self.under_way.begin(pool) })),
            Err(exhausted) => {
                self.ports.events.record(Event {
                    client: origin.client.map(portcullis_core::ClientAddress::ip),
                    request_id: origin.request,
                    limit: Some(LIMIT.into()),
                    reason: Some(by.as_str()),
                    ..Event::new(self.now(), EventKind::LimitHit)
                });
                Err(IdentityError::TooManyAttempts(exhausted))
            }
        }
    }

    /// Settles an attempt. Only a verdict against it keeps the charge: a success takes nothing from anybody, and what
    /// failed here was nobody's guess.
    pub(crate) async fn settle<T>(&self, attempt: Option<Attempt>, outcome: &Result<T, IdentityError>, origin: Origin) {
        use IdentityError::{Disabled, InvalidCredentials, NotVerified};
        // What waits for it is woken at the very end, when the charge is back.
        let Some(Attempt { address, charged, by, _under_way }) = attempt else { return };
        match outcome {
            Err(InvalidCredentials | NotVerified | Disabled) if charged.left > 0 => {}
            Err(InvalidCredentials | NotVerified | Disabled) => {
                // The answer is the same however this ends.
                if let Err(error) = self.tell_of_exhaustion(&address, by, origin).await {
                    tracing::warn!(%error, "the owner of an account could not be told of failed logins");
                }
            }
            Ok(_) | Err(_) => (charged.give_back)(self.now()).await,
        }
    }

    /// Forgets the wrong passwords that unknown devices have tried for an account, so that its owner can log in on a new
    /// one at once. A known device's own pool comes back by itself.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`].
    pub async fn clear_attempts(&self, whose: AccountName<'_>) -> Result<(), IdentityError> {
        let details = self.account_details(whose).await?;
        self.forgive(&details.account.email).await;
        Ok(())
    }

    /// Forgets what the unknown devices of an address have tried, and that letters were written of it.
    pub(crate) async fn forgive(&self, address: &str) {
        for pool in [self.pools.strangers(address), self.pools.notices(address)] {
            self.ports.attempts.clear(&pool).await;
        }
    }

    /// Makes the browser that holds a mailed link known to the account, so that its owner gets in past a pool that
    /// strangers have exhausted. Gives the device's token, with those of other accounts that were presented beside it.
    ///
    /// # Errors
    /// [`IdentityError::InvalidLink`] for a token that is unknown, used up or too old.
    pub async fn confirm_device(
        &self,
        presented: &str,
        device: Option<&str>,
        origin: Origin,
    ) -> Result<Option<Secret<String>>, IdentityError> {
        let hash = token::hash(presented).ok_or(IdentityError::InvalidLink)?;
        let now = self.now();
        let mut transaction = self.store.write().await?;
        let account = link::spend(&mut transaction, &hash, Purpose::Device, now).await?.account;
        let (password,): (String,) =
            sql("SELECT password FROM account WHERE id = $1").bind(&account).fetch_one(&mut transaction).await?;
        audit::write(&mut transaction, now, "device_confirmed", Some(&account), origin, None).await?;
        transaction.commit().await?;
        self.device_token(BoundTo { account: &account, password: &password }, device, now)
    }

    /// A token for a device that has just been made known; `None` where attempts are not counted.
    pub(crate) fn device_token(
        &self,
        to: BoundTo<'_>,
        presented: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Secret<String>>, IdentityError> {
        let life = self.config.lockout.map(|lockout| lockout.device_life);
        life.map(|life| self.devices.make(to, presented, life, now)).transpose()
    }

    /// Charges a pool. One that is exhausted only by attempts under way may have room at once, when some of them succeed: many
    /// programs that log in to one account at the same moment, all with its password, shall all get in.
    async fn charge_or_wait(&self, pool: &Pool, allowances: &[Allowance]) -> Result<Charged, Exhausted> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Listened to before it is looked at, so that no end is missed between the two.
            let ended = self.under_way.ended();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let refused = match self.ports.attempts.charge(pool, allowances, self.now()).await {
                Ok(charged) => return Ok(charged),
                Err(exhausted) => exhausted,
            };
            let Some(_turn) = self.under_way.turn().filter(|_| self.under_way.holds(pool)) else { return Err(refused) };
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return Err(refused);
            }
        }
    }

    /// The device that is known to the account of an address, if there is one.
    async fn known_device(
        &self,
        presented: &str,
        address: &str,
        lockout: Lockout,
    ) -> Result<Option<String>, IdentityError> {
        let account: Option<(String, String)> = sql("SELECT id, password FROM account WHERE email = $1")
            .bind(asked_for(Email::parse(address).as_ref().ok()))
            .fetch_optional(self.store.read())
            .await?;
        // Looked at in any case, so that the time does not tell whether there is an account.
        let (id, password) = account.as_ref().map_or(("", ""), |(id, password)| (id, password));
        let to = BoundTo { account: id, password };
        let known = self.devices.known(presented, to, lockout.device_life, self.now());
        Ok(known.filter(|_| account.is_some()))
    }

    /// Records that a pool was exhausted, and writes to the owner. For an address without an account the work is the same,
    /// and nobody gets a letter.
    async fn tell_of_exhaustion(&self, address: &str, by: By, origin: Origin) -> Result<(), IdentityError> {
        let Some(lockout) = self.config.lockout else { return Ok(()) };
        let now = self.now();
        let once = [Allowance { count: 1, window: lockout.window }];
        // One at a time: under fire a pool is exhausted again and again.
        if self.ports.attempts.charge(&self.pools.notices(address), &once, now).await.is_err() {
            return Ok(());
        }
        let (email, secret) = (Email::parse(address).ok(), token::random()?);
        let mut transaction = self.store.write().await?;
        let account: Option<(String,)> =
            sql(locking!("SELECT id FROM account WHERE email = $1 AND disabled_at IS NULL", "FOR UPDATE"))
                .bind(asked_for(email.as_ref()))
                .fetch_optional(&mut transaction)
                .await?;
        let account = account.map(|(id,)| id);
        let wanted = lockout.notice && self.config.mail;
        let of = account.as_deref().filter(|_| wanted).unwrap_or_default();
        let made = link::make(&mut transaction, &secret, Purpose::Device, of, None, now).await?;
        audit::write(&mut transaction, now, "logins_exhausted", account.as_deref(), origin, Some(by.as_str())).await?;
        transaction.commit().await?;
        self.record(EventKind::LoginsExhausted, account.as_deref(), origin, Some(by.as_str()));
        // Where there are as many links as there may be, the owner has the letters already.
        if let (Some(email), true) = (email, made) {
            let letters = &self.config.letters;
            self.ports.mailer.send(letters.logins_exhausted(email, &self.config.public_url, secret.expose(), now));
        }
        Ok(())
    }
}

/// What the database is asked for: nothing that is no address, however long it is and whatever it holds.
fn asked_for(email: Option<&Email>) -> &str {
    email.map_or("", Email::as_str)
}

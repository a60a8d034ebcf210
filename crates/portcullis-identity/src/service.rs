//! The accounts of one deployment: opened once, shared by every flow.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use portcullis_auth::access::Roles;
use portcullis_auth::{Algorithm, KeySource};
use portcullis_core::{Clock, Event, EventKind, EventSink, Secret, Timestamp};

use crate::database::Database;
use crate::device::Devices;
use crate::error::{IdentityError, OpenError};
use crate::flow::claims::ExtraClaim;
use crate::keyring::{KeyImportError, KeyInfo, Keyring};
use crate::last_use::LastUses;
use crate::lockout::{Attempts, Lockout, Pools, UnderWay};
use crate::mail::{Letters, Mailer};
use crate::mark::Mark;
use crate::password::{Decoys, Hasher, PasswordHash};
use crate::policy::{PasswordContext, PasswordPolicy, Violation};
use crate::revocation::RevocationView;
use crate::seal::MasterKey;
use crate::store::audit::Origin;
use crate::store::{Store, sql};

/// How accounts and their tokens are kept.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// The database.
    pub database: Database,
    /// The key that encrypts all others; `None`: in `master.key` beside the database's file, made with it. A server's
    /// database has no such place, and every instance on it needs the same key.
    pub master_key: Option<Secret<Vec<u8>>>,
    /// Links in mails, and `iss`, begin with it; no trailing slash.
    pub public_url: Arc<str>,
    /// What the mails say.
    pub letters: Letters,
    /// Whether mail goes anywhere; without it nobody can reset a password or change an address.
    pub mail: bool,
    /// Whether strangers may register.
    pub registration: bool,
    /// The role of a new account.
    pub default_role: Arc<str>,
    /// The plan of a new account.
    pub default_plan: Arc<str>,
    /// Which password rules apply.
    pub password_policy: PasswordPolicy,
    /// Which hash is made of passwords.
    pub password_hash: PasswordHash,
    /// `aud` of access tokens.
    pub audience: Arc<str>,
    /// What access tokens say besides what all of them do.
    pub claims: Vec<ExtraClaim>,
    /// What signs them.
    pub algorithm: Algorithm,
    /// Life of an access token.
    pub access_ttl: Duration,
    /// Life of a refresh token.
    pub refresh_ttl: Duration,
    /// How long a spent refresh token still yields its successor.
    pub grace: Duration,
    /// Life of a server session.
    pub session_ttl: Duration,
    /// After so long without a request a server session ends, give or take two minutes.
    pub session_idle: Duration,
    /// How many living API keys an account may have.
    pub api_keys_per_account: u32,
    /// By how much verifiers' clocks may differ: keys and revocations are kept so much longer.
    pub leeway: Duration,
    /// How old the record of revocations may be.
    pub max_staleness: Duration,
    /// How often the signing key is rotated by itself.
    pub rotate_every: Duration,
    /// How accounts are kept from being guessed at; `None`: not here.
    pub lockout: Option<Lockout>,
    /// Threads that hash passwords.
    pub hash_threads: usize,
}

/// What the accounts reach outside through.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where mail goes.
    pub mailer: Arc<dyn Mailer>,
    /// Where events go.
    pub events: Arc<dyn EventSink>,
    /// What counts attempts to log in.
    pub attempts: Arc<dyn Attempts>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// The accounts of one deployment. Its flows stand in `flow/`, one file each.
#[derive(Debug)]
pub struct Identity {
    pub(crate) config: IdentityConfig,
    pub(crate) ports: Ports,
    pub(crate) store: Store,
    pub(crate) hasher: Hasher,
    pub(crate) decoys: Decoys,
    pub(crate) devices: Devices,
    pub(crate) pools: Pools,
    pub(crate) under_way: UnderWay,
    pub(crate) keyring: Keyring,
    pub(crate) refresh_key: hmac::Key,
    pub(crate) revocations: Arc<RevocationView>,
    pub(crate) last_uses: LastUses,
    /// Which role stands for which permissions, for tokens that say so.
    pub(crate) roles: ArcSwap<Roles>,
    pub(crate) mark: Mark,
    /// How long a token may still be presented after it was issued, under this configuration or an earlier one.
    pub(crate) token_life: Duration,
}

/// The place that every database seals, so that a wrong master key is found at once.
const KEY_CHECK: &str = "key_check";
const REFRESH_KEY: &str = "refresh_key";

impl Identity {
    /// Opens the database, brings it up to date, and reads the keys.
    ///
    /// # Errors
    /// [`OpenError`] says what an operator has to do; nothing is left half-written.
    pub async fn open(config: IdentityConfig, ports: Ports) -> Result<Self, OpenError> {
        let master = match (&config.master_key, &config.database) {
            (Some(key), _) => MasterKey::new(key.expose())?,
            (None, Database::Sqlite(file)) => {
                let exists = std::fs::metadata(file).is_ok_and(|file| file.len() > 0);
                MasterKey::load_or_create(&file.with_file_name("master.key"), exists)?
            }
            (None, Database::Postgres(_)) => {
                return Err(OpenError::MasterKey("must be given for PostgreSQL, the same to every instance"));
            }
        };
        let store = Store::open(&config.database).await?;
        let opened = async {
            let mark = Mark::open(&store, &*ports.clock).await?;
            let now = ports.clock.now();
            sealed_value(&store, &master, KEY_CHECK, || b"portcullis".to_vec()).await?;
            let mut fresh = vec![0; 32];
            aws_lc_rs::rand::fill(&mut fresh).map_err(|_| OpenError::Crypto)?;
            let refresh_key = sealed_value(&store, &master, REFRESH_KEY, || fresh).await?;
            let refresh_key = hmac::Key::new(hmac::HMAC_SHA256, refresh_key.expose());
            let token_life = longest_access_ttl(&store, config.access_ttl).await? + config.leeway;
            let keyring = Keyring::open(&store, master, config.algorithm, token_life, now).await?;
            let revocations = Arc::new(RevocationView::new(config.max_staleness));
            revocations.catch_up(&store, now).await?;
            let decoys = Decoys::new(refresh_key.clone());
            decoys.catch_up(&store, config.password_hash).await?;
            Ok((mark, keyring, refresh_key, revocations, decoys, token_life))
        };
        let (mark, keyring, refresh_key, revocations, decoys, token_life) = match opened.await {
            Ok(parts) => parts,
            Err(error) => {
                store.close().await;
                return Err(error);
            }
        };
        let hasher = Hasher::start(config.hash_threads, config.password_hash)?;
        Ok(Self {
            config,
            ports,
            store,
            hasher,
            decoys,
            devices: Devices::new(&refresh_key),
            pools: Pools::new(&refresh_key),
            under_way: UnderWay::default(),
            keyring,
            refresh_key,
            revocations,
            last_uses: LastUses::default(),
            roles: ArcSwap::default(),
            mark,
            token_life,
        })
    }

    /// The record of revocations, for the gate.
    #[must_use]
    pub fn revocations(&self) -> Arc<RevocationView> {
        Arc::clone(&self.revocations)
    }

    /// Where verifiers read our keys.
    #[must_use]
    pub fn keys(&self) -> KeySource {
        self.keyring.source().clone()
    }

    /// The configuration it was opened with.
    #[must_use]
    pub const fn config(&self) -> &IdentityConfig {
        &self.config
    }

    /// The signing keys, for a list.
    ///
    /// # Errors
    /// [`IdentityError::Database`].
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>, IdentityError> {
        self.keyring.list(&self.store).await
    }

    /// Makes a new signing key and retires the present one; gives the new one's name.
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be made or stored.
    pub async fn rotate_keys(&self, origin: Origin) -> Result<String, OpenError> {
        self.keyring.rotate(&self.store, self.now(), origin).await
    }

    /// Takes a private key in PEM as the signing key and retires the present one; gives the new one's name.
    ///
    /// # Errors
    /// [`KeyImportError`] says what it is instead, and what to do about it.
    pub async fn import_key(&self, pem: &Secret<String>, origin: Origin) -> Result<String, KeyImportError> {
        self.keyring.import(&self.store, pem, self.now(), origin).await
    }

    /// Takes over what other processes changed. To be called at least twice a second: it is what makes a revocation seen
    /// everywhere within a second (T7).
    ///
    /// # Errors
    /// [`OpenError`] where the database cannot be read; the record of revocations then grows stale.
    pub async fn catch_up(&self) -> Result<(), OpenError> {
        let now = self.now();
        self.revocations.catch_up(&self.store, now).await?;
        self.keyring.catch_up(&self.store, now).await
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        sql("SELECT 1").execute(self.store.poll()).await.is_ok()
    }

    /// The time by the clock that flows decide by.
    #[must_use]
    pub fn clock_now(&self) -> Timestamp {
        self.now()
    }

    /// A key for the forms of pages: derived, and so the same at every instance on this database.
    #[must_use]
    pub fn form_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.refresh_key, b"portcullis forms").as_ref())
    }

    /// A key for tokens against forgery (H2): derived, and so the same at every instance on this database and after a restart.
    #[must_use]
    pub fn csrf_key(&self) -> Secret<Vec<u8>> {
        Secret::new(hmac::sign(&self.refresh_key, b"portcullis csrf").as_ref().to_vec())
    }

    /// Closes the database, once what is known of last uses is written.
    pub async fn close(&self) {
        if let Err(error) = self.write_last_uses().await {
            tracing::warn!(%error, "when API keys and sessions were last used could not be written");
        }
        self.store.close().await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// Every rule that a new password breaks (A2).
    pub(crate) fn password_violations(
        &self,
        password: &Secret<String>,
        email: &str,
        name: Option<&str>,
    ) -> Vec<Violation> {
        let context = PasswordContext::new(&self.config.public_url, Some(email), name);
        self.config.password_policy.violations(password.expose(), &context)
    }

    /// Until when something revoked now could still be presented, be believed by a verifier that has asked before, or go on:
    /// what was opened with a key has no end of its own, and an instance that was cut off has to find the revocation when it
    /// reads again. Later than `max_staleness` it has closed everything itself.
    pub(crate) fn token_end(&self, now: Timestamp) -> Timestamp {
        let unread = self.config.max_staleness + UNREAD_MARGIN;
        now.after(self.token_life.max(2 * portcullis_auth::BELIEVED).max(unread))
    }

    pub(crate) fn record(&self, kind: EventKind, user: Option<&str>, origin: Origin, reason: Option<&'static str>) {
        self.ports.events.record(Event {
            client: origin.client.map(portcullis_core::ClientAddress::ip),
            user: user.map(Into::into),
            request_id: origin.request,
            reason,
            ..Event::new(self.now(), kind)
        });
    }

    /// Makes this process see a revocation that it has just committed; others find it by polling.
    pub(crate) async fn see_revocations(&self) -> Result<(), IdentityError> {
        Ok(self.revocations.catch_up(&self.store, self.now()).await?)
    }
}

/// What clocks of two instances may differ by, and what a reading may take.
const UNREAD_MARGIN: Duration = Duration::from_secs(60);

const ACCESS_TTL: &str = "longest_access_ttl";

/// The longest life that access tokens of this database ever had. Revocations and retired keys are kept by it: a shorter
/// life in the configuration is one of new tokens, and must neither forget what revokes an older one nor the key that
/// verifies it.
async fn longest_access_ttl(store: &Store, configured: Duration) -> Result<Duration, OpenError> {
    let mut transaction = store.write().await?;
    transaction.lock("meta", ACCESS_TTL).await?;
    let held: Option<(Vec<u8>,)> =
        sql("SELECT value FROM meta WHERE name = $1").bind(ACCESS_TTL).fetch_optional(&mut transaction).await?;
    let held = match held {
        Some((secs,)) => <[u8; 8]>::try_from(secs).map(u64::from_be_bytes).map_err(|_| OpenError::Crypto)?,
        None => 0,
    };
    let configured_secs = configured.as_secs().saturating_add(u64::from(configured.subsec_nanos() > 0));
    if configured_secs <= held {
        transaction.commit().await?;
        return Ok(Duration::from_secs(held));
    }
    sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(ACCESS_TTL)
        .bind(configured_secs.to_be_bytes().to_vec())
        .execute(&mut transaction)
        .await?;
    transaction.commit().await?;
    Ok(configured)
}

/// A sealed value of the database, made if it is absent.
async fn sealed_value(
    store: &Store,
    master: &MasterKey,
    name: &str,
    fresh: impl FnOnce() -> Vec<u8>,
) -> Result<Secret<Vec<u8>>, OpenError> {
    const SELECT: &str = "SELECT value FROM meta WHERE name = $1";
    let held: Option<(Vec<u8>,)> = sql(SELECT).bind(name).fetch_optional(store.read()).await?;
    if let Some((sealed,)) = held {
        return master.open(name, &sealed);
    }
    // Another process may be first; whoever is, both read the same value afterwards.
    let mut transaction = store.write().await?;
    sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(master.seal(name, &fresh())?)
        .execute(&mut transaction)
        .await?;
    let (sealed,): (Vec<u8>,) = sql(SELECT).bind(name).fetch_one(&mut transaction).await?;
    transaction.commit().await?;
    master.open(name, &sealed)
}

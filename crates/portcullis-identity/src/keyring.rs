//! Our own signing keys (T3): made at first start, sealed at rest, rotated, and kept for verifying until the last token
//! they signed has expired.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_auth::{Algorithm, ImportError, KeySet, KeySource, SigningKey, VerificationKey};
use portcullis_core::{Secret, Timestamp};

use crate::error::{IdentityError, OpenError};
use crate::seal::MasterKey;
use crate::store::audit::{self, Origin};
use crate::store::{Store, millis, moment, sql};

/// The keys of this deployment.
#[derive(Debug)]
pub(crate) struct Keyring {
    master: MasterKey,
    algorithm: Algorithm,
    /// How long a token may live after its key was retired.
    token_life: Duration,
    signing: ArcSwap<SigningKey>,
    source: KeySource,
}

/// A key, for a list.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// Its name.
    pub kid: String,
    /// Its algorithm.
    pub algorithm: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it signs nothing any more; shortly after a rotation that lies ahead.
    pub retired_at: Option<Timestamp>,
}

/// How long a new key is known before it signs anything. Instances look for keys several times a second; a token that one of
/// them signed with a key of which another has not heard would be refused there.
const SETTLING: Duration = Duration::from_secs(2);

/// Why a key of a file does not sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyImportError {
    /// It is none, or not one for this deployment.
    #[error(transparent)]
    Key(#[from] ImportError),
    /// It is the one that signs.
    #[error("this key signs already")]
    Signs,
    /// It was retired, perhaps for a reason.
    #[error("this key was here before and is retired; a retired key does not sign again")]
    Retired,
    /// The database or the master key.
    #[error(transparent)]
    Store(#[from] OpenError),
}

/// A row of the table.
type Row = (String, String, Vec<u8>, i64, Option<i64>);

const SELECT: &str =
    "SELECT kid, algorithm, sealed, created_at, retired_at FROM signing_key ORDER BY created_at DESC, kid";

impl Keyring {
    /// Reads the keys; makes the first one where there is none.
    pub(crate) async fn open(
        store: &Store,
        master: MasterKey,
        algorithm: Algorithm,
        token_life: Duration,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let mut rows = load(store).await?;
        if !rows.iter().any(|row| row.4.is_none() && row.1 == algorithm.as_str()) {
            let mut transaction = store.write().await?;
            // Another process may have been first: the lock says who was.
            transaction.lock("keys", "").await?;
            rows = sql(SELECT).fetch_all(&mut transaction).await?;
            if !rows.iter().any(|row| row.4.is_none() && row.1 == algorithm.as_str()) {
                // No tokens of this kind are about, so that there is nothing to go on signing with meanwhile.
                rotate_in(&mut transaction, &master, algorithm, now, Duration::ZERO, Origin::default()).await?;
            }
            transaction.commit().await?;
            rows = load(store).await?;
        }
        let (signing, keys) = build(&master, &rows, token_life, now)?;
        let signing = ArcSwap::from_pointee(signing);
        Ok(Self { master, algorithm, token_life, signing, source: KeySource::new(keys) })
    }

    /// Where verifiers read the keys.
    pub(crate) const fn source(&self) -> &KeySource {
        &self.source
    }

    /// The key that signs at the moment.
    pub(crate) fn signing(&self) -> Arc<SigningKey> {
        self.signing.load_full()
    }

    /// Makes a new key and retires the present one, which goes on signing until every instance has heard of the new one, and
    /// verifying until its last token has expired.
    pub(crate) async fn rotate(&self, store: &Store, now: Timestamp, origin: Origin) -> Result<String, OpenError> {
        let mut transaction = store.write().await?;
        transaction.lock("keys", "").await?;
        let kid = rotate_in(&mut transaction, &self.master, self.algorithm, now, SETTLING, origin).await?;
        transaction.commit().await?;
        self.catch_up(store, now).await?;
        Ok(kid)
    }

    /// Takes a private key in PEM as the one that signs, and retires the present one, which goes on verifying.
    pub(crate) async fn import(
        &self,
        store: &Store,
        pem: &Secret<String>,
        now: Timestamp,
        origin: Origin,
    ) -> Result<String, KeyImportError> {
        let key = SigningKey::import(self.algorithm, pem.expose())?;
        let mut transaction = store.write().await.map_err(OpenError::from)?;
        transaction.lock("keys", "").await.map_err(OpenError::from)?;
        let held: Option<(Option<i64>,)> = sql("SELECT retired_at FROM signing_key WHERE kid = $1")
            .bind(key.kid())
            .fetch_optional(&mut transaction)
            .await
            .map_err(OpenError::from)?;
        if let Some((retired,)) = held {
            return Err(if retired.is_some() { KeyImportError::Retired } else { KeyImportError::Signs });
        }
        sign_with(&mut transaction, &self.master, &key, (now, SETTLING), ("key_imported", origin)).await?;
        transaction.commit().await.map_err(OpenError::from)?;
        self.catch_up(store, now).await?;
        Ok(key.kid().to_owned())
    }

    /// Takes over what another process changed, and lets go of keys whose last token has expired.
    pub(crate) async fn catch_up(&self, store: &Store, now: Timestamp) -> Result<(), OpenError> {
        let rows = load(store).await?;
        let living = |row: &&Row| row.4.is_none_or(|retired| moment(retired).after(self.token_life) > now);
        let wanted: Vec<&str> = rows.iter().filter(living).map(|row| row.0.as_str()).collect();
        let held = self.source.load();
        let held: Vec<&str> = held.1.keys().iter().filter_map(VerificationKey::kid).collect();
        let signer = signer(&rows, now).map(|row| row.0.as_str());
        if wanted != held || signer != Some(self.signing.load().kid()) {
            let (signing, keys) = build(&self.master, &rows, self.token_life, now)?;
            // Verifiers learn of a key before anything is signed with it.
            self.source.replace(keys);
            self.signing.store(Arc::new(signing));
        }
        Ok(())
    }

    /// Makes a new key where the present one has signed for as long as it should.
    pub(crate) async fn rotate_if_due(
        &self,
        store: &Store,
        every: Duration,
        now: Timestamp,
        origin: Origin,
    ) -> Result<(), OpenError> {
        let is_due = |rows: &[Row]| {
            let newest = rows.iter().filter(|row| row.4.is_none()).map(|row| row.3).max();
            newest.is_some_and(|created| now.since(moment(created)) >= every)
        };
        if !is_due(&load(store).await?) {
            return Ok(());
        }
        let mut transaction = store.write().await?;
        transaction.lock("keys", "").await?;
        // Another instance may have been first: each goes by the same schedule.
        if is_due(&sql(SELECT).fetch_all(&mut transaction).await?) {
            rotate_in(&mut transaction, &self.master, self.algorithm, now, SETTLING, origin).await?;
        }
        transaction.commit().await?;
        self.catch_up(store, now).await
    }

    /// The keys, for a list.
    pub(crate) async fn list(&self, store: &Store) -> Result<Vec<KeyInfo>, IdentityError> {
        let rows = load(store).await.map_err(|error| match error {
            OpenError::Database(error) => IdentityError::Database(error),
            _ => IdentityError::Crypto,
        })?;
        let info = |(kid, algorithm, _, created, retired): Row| KeyInfo {
            kid,
            algorithm,
            created_at: moment(created),
            retired_at: retired.map(moment),
        };
        Ok(rows.into_iter().map(info).collect())
    }
}

async fn load(store: &Store) -> Result<Vec<Row>, OpenError> {
    Ok(sql(SELECT).fetch_all(store.poll()).await?)
}

async fn rotate_in(
    transaction: &mut crate::store::Write,
    master: &MasterKey,
    algorithm: Algorithm,
    now: Timestamp,
    settling: Duration,
    origin: Origin,
) -> Result<String, OpenError> {
    let key = SigningKey::generate(algorithm)?;
    sign_with(transaction, master, &key, (now, settling), ("key_rotated", origin)).await?;
    Ok(key.kid().to_owned())
}

/// Makes this key the one that signs once it has settled, and retires the others by then.
async fn sign_with(
    transaction: &mut crate::store::Write,
    master: &MasterKey,
    key: &SigningKey,
    (now, settling): (Timestamp, Duration),
    (action, origin): (&'static str, Origin),
) -> Result<(), OpenError> {
    let sealed = master.seal(key.kid(), key.private().expose())?;
    sql("UPDATE signing_key SET retired_at = $1 WHERE retired_at IS NULL")
        .bind(millis(now.after(settling)))
        .execute(&mut *transaction)
        .await?;
    sql("INSERT INTO signing_key (kid, algorithm, sealed, created_at) VALUES ($1, $2, $3, $4)")
        .bind(key.kid())
        .bind(key.algorithm().as_str())
        .bind(sealed)
        .bind(millis(now))
        .execute(&mut *transaction)
        .await?;
    audit::write(transaction, now, action, None, origin, Some(key.kid())).await?;
    Ok(())
}

/// The key that signs now: of those that are not retired yet, the one that will be next.
fn signer(rows: &[Row], now: Timestamp) -> Option<&Row> {
    let signs = |row: &&Row| row.4.is_none_or(|retired| moment(retired) > now);
    rows.iter().filter(signs).min_by_key(|row| row.4.unwrap_or(i64::MAX))
}

/// The signing key and the set that verifies.
fn build(
    master: &MasterKey,
    rows: &[Row],
    token_life: Duration,
    now: Timestamp,
) -> Result<(SigningKey, KeySet), OpenError> {
    let mut signing = None;
    let signer = signer(rows, now).map(|row| row.0.as_str());
    let mut keys = Vec::new();
    for (kid, algorithm, sealed, _, retired) in rows {
        if retired.is_some_and(|retired| moment(retired).after(token_life) <= now) {
            continue;
        }
        let algorithm: Algorithm = algorithm.parse().map_err(|_| OpenError::Crypto)?;
        let key = SigningKey::from_private(algorithm, master.open(kid, sealed)?.expose())?;
        keys.push(key.verification_key().clone());
        if signer == Some(kid.as_str()) {
            signing = Some(key);
        }
    }
    // A change from a shared secret to key pairs, or back, begins with the new kind only.
    let signing = signing.ok_or(OpenError::Crypto)?;
    let secret = signing.verification_key().is_secret();
    keys.retain(|key| key.is_secret() == secret);
    let set = KeySet::new(keys).map_err(portcullis_auth::SigningError::from)?;
    Ok((signing, set))
}

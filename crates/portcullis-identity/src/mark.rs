//! The latest moment that this deployment has acted upon, kept in the database, so that a machine whose clock was set back
//! does not live through it twice: what had expired stays expired, after a restart and on every instance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_core::{Clock, Timestamp};

use crate::error::OpenError;
use crate::service::Identity;
use crate::store::{Store, Text, sql};

/// How far a mark may be ahead of the machine's clock to be believed. A clock in a wrong time zone is not wrong by more; a mark
/// from further away was left by an error that has been repaired, and must not decide about everybody's time for ever.
pub const MAX_LEAD: Duration = Duration::from_secs(86_400);

/// How old a mark may grow: what expired within so long before a power failure may be valid again when the clock is set back
/// during it.
const KEPT_EVERY: Duration = Duration::from_secs(30);

const MARK: &str = "time_mark";

/// A number that decreases is not a mark: whoever is later wins, whichever of two instances writes first.
const WRITE: Text = Text {
    sqlite: "INSERT INTO meta (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = max(meta.value, excluded.value)",
    postgres: "INSERT INTO meta (name, value) VALUES ($1, $2) \
               ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value, excluded.value)",
};

const OVERWRITE: &str =
    "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// The mark as it was last seen in the database.
#[derive(Debug)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    /// Goes on from the mark that an earlier run or another instance has left, and leaves one.
    pub(crate) async fn open(store: &Store, clock: &dyn Clock) -> Result<Self, OpenError> {
        let mark = Self(AtomicU64::new(0));
        let held = heed(store, clock).await?;
        if let Err(error) = mark.write(held, store, clock).await {
            // Whoever can only read, because the disk is full, may start: tokens are verified, and writes are refused.
            tracing::warn!(%error, "cannot keep the time mark");
        }
        Ok(mark)
    }

    async fn keep(&self, store: &Store, clock: &dyn Clock) -> Result<(), OpenError> {
        if clock.now().since(Timestamp::from_nanos(self.0.load(Ordering::Acquire))) < KEPT_EVERY {
            return Ok(());
        }
        let held = heed(store, clock).await?;
        self.write(held, store, clock).await
    }

    async fn write(&self, held: Option<Timestamp>, store: &Store, clock: &dyn Clock) -> Result<(), OpenError> {
        let now = clock.now();
        let latest = match held {
            Some(held) if now.since(held) < KEPT_EVERY => held,
            _ => {
                let mut transaction = store.write().await?;
                // As bytes, the greater number is the later moment.
                let value = now.as_nanos().to_be_bytes().to_vec();
                let write = if held.is_some() { sql(WRITE) } else { sql(OVERWRITE) };
                write.bind(MARK).bind(value).execute(&mut transaction).await?;
                transaction.commit().await?;
                now
            }
        };
        self.0.store(latest.as_nanos(), Ordering::Release);
        Ok(())
    }
}

/// Goes on from the mark in the database and gives it; `None` where it is not to be believed.
async fn heed(store: &Store, clock: &dyn Clock) -> Result<Option<Timestamp>, OpenError> {
    let held = read(store).await?;
    let lead = held.since(clock.wall());
    if lead > MAX_LEAD {
        tracing::error!(
            "the database's time mark is {} s ahead of this machine's clock: another machine's clock is, or was, wrong by more \
             than a day. The mark is passed over; check the time service of every machine on this database",
            lead.as_secs()
        );
        return Ok(None);
    }
    clock.raise(held);
    Ok(Some(held))
}

async fn read(store: &Store) -> Result<Timestamp, OpenError> {
    let held: Option<(Vec<u8>,)> =
        sql("SELECT value FROM meta WHERE name = $1").bind(MARK).fetch_optional(store.read()).await?;
    let nanos = held.map(|(value,)| <[u8; 8]>::try_from(value).map(u64::from_be_bytes));
    Ok(Timestamp::from_nanos(nanos.transpose().map_err(|_| OpenError::Crypto)?.unwrap_or_default()))
}

impl Identity {
    /// Writes the latest moment that was acted upon where the one in the database has grown old, and goes on from that where
    /// it is later. To be called about once a second; it asks the database twice a minute.
    ///
    /// # Errors
    /// [`OpenError`] where the database cannot be read or written.
    pub async fn keep_mark(&self) -> Result<(), OpenError> {
        self.mark.keep(&self.store, &*self.ports.clock).await
    }
}

//! Revocations (T7): durable in the database in the order of a sequence, mirrored in memory for every request.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use portcullis_core::ports::{Revocations, Standing};
use portcullis_core::{Principal, Timestamp};

use crate::store::{Store, StoreError, Text, Write, millis, moment, sql};

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoked<'a> {
    /// One token by its `jti`, or one API key by its id.
    Token(&'a str),
    /// One API key from a moment on.
    From(&'a str, Timestamp),
    /// One session with all its tokens.
    Session(&'a str),
    /// Every token of a user that is older than this version.
    User(&'a str, i64),
    /// Not a credential but what is held against a user: the failures that were counted. It takes the way of revocations
    /// because it has to reach every instance, too, in its memory.
    Failures(&'a str),
}

/// Writes a revocation. Nothing that it revokes outlives `expires`.
pub(crate) async fn write(
    transaction: &mut Write,
    revoked: Revoked<'_>,
    expires: Timestamp,
) -> Result<(), sqlx::Error> {
    let (kind, subject, version) = match revoked {
        Revoked::Token(id) => ("token", id, 0),
        Revoked::From(id, end) => ("end", id, millis(end)),
        Revoked::Session(id) => ("session", id, 0),
        Revoked::User(id, version) => ("user", id, version),
        Revoked::Failures(id) => ("unlock", id, 0),
    };
    // Its number must be seen before any greater one is, or a reader who has passed the greater never comes back for it. So
    // whoever draws a number keeps the next one waiting until it has committed.
    transaction.lock("revocations", "").await?;
    sql("INSERT INTO revocation (kind, subject, version, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(kind)
        .bind(subject)
        .bind(version)
        .bind(millis(expires))
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

/// Writes a revocation for every account of which a session ended at this very moment. An account without one has no living
/// token, so that as many are remembered as somebody is logged in to.
pub(crate) async fn write_for_sessions_ended_at(
    transaction: &mut Write,
    ended: Timestamp,
    expires: Timestamp,
) -> Result<(), sqlx::Error> {
    transaction.lock("revocations", "").await?;
    sql("INSERT INTO revocation (kind, subject, version, expires_at) SELECT 'user', id, version, $1 FROM account \
         WHERE id IN (SELECT account_id FROM session WHERE revoked_at = $2)")
    .bind(millis(expires))
    .bind(millis(ended))
    .execute(&mut *transaction)
    .await?;
    Ok(())
}

/// The greatest number that was ever given to a revocation; those of forgotten ones count.
const NEWEST: Text = Text {
    sqlite: "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'revocation'",
    postgres: "SELECT last_value FROM revocation_seq_seq",
};

/// The mirror in memory. It holds only what can still revoke something, so it is bounded by the revocations of one access
/// token's life, or of `max_staleness` where that is longer.
#[derive(Debug)]
pub struct RevocationView {
    entries: RwLock<Entries>,
    /// Nanoseconds: when the database was last read completely.
    fresh_at: AtomicU64,
    max_staleness: Duration,
    /// Who forgets what was counted against a user.
    forgets: OnceLock<Box<dyn Forgets>>,
}

/// What counts users' failures in memory.
pub trait Forgets: Send + Sync {
    /// Forgets the failures of the user with this id.
    fn forget(&self, user: &str);
}

impl std::fmt::Debug for dyn Forgets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forgets")
    }
}

#[derive(Debug, Default)]
struct Entries {
    seen: i64,
    tokens: HashMap<Box<str>, Timestamp>,
    /// From when on, and until when that has to be remembered.
    ends: HashMap<Box<str>, (Timestamp, Timestamp)>,
    sessions: HashMap<Box<str>, Timestamp>,
    users: HashMap<Box<str>, (u64, Timestamp)>,
}

impl RevocationView {
    pub(crate) fn new(max_staleness: Duration) -> Self {
        let forgets = OnceLock::new();
        Self { entries: RwLock::default(), fresh_at: AtomicU64::new(0), max_staleness, forgets }
    }

    /// Names who forgets failures; once, before anything is counted. What was unlocked before is of no matter to a process that
    /// has just begun to count.
    pub fn forget_by(&self, forgets: Box<dyn Forgets>) {
        drop(self.forgets.set(forgets));
    }

    /// Reads what is new in the database. Polling guarantees what a nudge only makes quicker: other processes' writes
    /// are seen too.
    pub(crate) async fn catch_up(&self, store: &Store, now: Timestamp) -> Result<(), sqlx::Error> {
        let held = self.entries.read().seen;
        let (newest,): (i64,) = sql(NEWEST).fetch_one(store.poll()).await?;
        // A server that was restored, or replaced by one that had not heard everything, gives numbers out again. What is
        // written under them must not be passed over, so that all is read anew.
        let anew = newest < held;
        let rows: Vec<(i64, String, String, i64, i64)> =
            sql("SELECT seq, kind, subject, version, expires_at FROM revocation WHERE seq > $1 ORDER BY seq")
                .bind(if anew { 0 } else { held })
                .fetch_all(store.poll())
                .await?;
        let mut unlocked: Vec<String> = Vec::new();
        if anew || !rows.is_empty() {
            let mut entries = self.entries.write();
            if anew {
                entries.seen = 0;
            }
            for (seq, kind, subject, version, expires) in rows {
                entries.seen = entries.seen.max(seq);
                let expires = moment(expires);
                match kind.as_str() {
                    "token" => drop(entries.tokens.insert(subject.into(), expires)),
                    "end" => drop(entries.ends.insert(subject.into(), (moment(version), expires))),
                    "unlock" => unlocked.push(subject),
                    "session" => drop(entries.sessions.insert(subject.into(), expires)),
                    _ => {
                        let version = u64::try_from(version).unwrap_or_default();
                        let held = entries.users.entry(subject.into()).or_insert((version, expires));
                        *held = (held.0.max(version), held.1.max(expires));
                    }
                }
            }
        }
        if let Some(forgets) = self.forgets.get() {
            unlocked.iter().for_each(|user| forgets.forget(user));
        }
        // Stored as it is, not the greatest seen: after a clock was set back a record from the future would never grow old.
        self.fresh_at.store(now.as_nanos(), Ordering::Release);
        Ok(())
    }

    /// Drops what cannot revoke anything living any more, here and in the database.
    pub(crate) async fn forget_expired(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        {
            let mut entries = self.entries.write();
            entries.tokens.retain(|_, expires| *expires > now);
            entries.ends.retain(|_, (_, expires)| *expires > now);
            entries.sessions.retain(|_, expires| *expires > now);
            entries.users.retain(|_, (_, expires)| *expires > now);
        }
        let mut transaction = store.write().await?;
        sql("DELETE FROM revocation WHERE expires_at <= $1").bind(millis(now)).execute(&mut transaction).await?;
        transaction.commit().await
    }
}

impl Revocations for RevocationView {
    fn standing(&self, principal: &Principal, now: Timestamp) -> Standing {
        let fresh_at = Timestamp::from_nanos(self.fresh_at.load(Ordering::Acquire));
        if now.since(fresh_at) > self.max_staleness {
            return Standing::Unknown;
        }
        let entries = self.entries.read();
        if entries.tokens.is_empty()
            && entries.ends.is_empty()
            && entries.sessions.is_empty()
            && entries.users.is_empty()
        {
            return Standing::Good;
        }
        let parts = principal.parts();
        let token = parts.token_id.as_deref().is_some_and(|id| {
            entries.tokens.contains_key(id) || entries.ends.get(id).is_some_and(|(end, _)| *end <= now)
        });
        let session = parts.session.as_deref().is_some_and(|id| entries.sessions.contains_key(id));
        let user = entries.users.get(&*parts.subject).is_some_and(|(version, _)| parts.version < *version);
        if token || session || user { Standing::Revoked } else { Standing::Good }
    }
}

//! When API keys and server sessions were last used: noted in memory and written together, so that no request costs a write.

use std::collections::HashMap;

use parking_lot::Mutex;
use portcullis_core::Timestamp;

use crate::service::Identity;
use crate::store::{StoreError, Text, millis, sql};

/// Uses that wait to be written; what is over it is not noted, which costs no more than a less exact list.
const WAITING: usize = 20_000;
/// How many go in one write.
const BATCH: usize = 500;

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Used {
    /// An API key.
    Key,
    /// A server session.
    Session,
}

/// The uses that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct LastUses(Mutex<HashMap<(Used, Box<str>), Timestamp>>);

impl LastUses {
    /// Notes that something was used.
    pub(crate) fn note(&self, used: Used, id: &str, now: Timestamp) {
        let mut waiting = self.0.lock();
        if let Some(at) = waiting.get_mut(&(used, Box::from(id))) {
            *at = now.max(*at);
        } else if waiting.len() < WAITING {
            waiting.insert((used, id.into()), now);
        }
    }

    /// When it was last used, if that waits to be written.
    pub(crate) fn of(&self, used: Used, id: &str) -> Option<Timestamp> {
        self.0.lock().get(&(used, Box::from(id))).copied()
    }

    fn all(&self) -> Vec<((Used, Box<str>), Timestamp)> {
        self.0.lock().iter().map(|(what, at)| (what.clone(), *at)).collect()
    }

    /// Forgets what was written, unless it was used again meanwhile.
    fn forget(&self, written: &[((Used, Box<str>), Timestamp)]) {
        let mut waiting = self.0.lock();
        for (what, at) in written {
            if waiting.get(what) == Some(at) {
                waiting.remove(what);
            }
        }
    }
}

impl Identity {
    /// Writes what was used since the last time.
    pub(crate) async fn write_last_uses(&self) -> Result<(), StoreError> {
        let mut waiting = self.last_uses.all();
        // Always in one order: two instances that write the same rows in another order would wait for each other.
        waiting.sort_by(|((_, one), _), ((_, other), _)| one.cmp(other));
        for batch in waiting.chunks(BATCH) {
            let mut transaction = self.store.write().await?;
            for ((used, id), at) in batch {
                let statement = match used {
                    Used::Key => Text::from(
                        "UPDATE api_key SET last_used_at = $1 \
                         WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $3)",
                    ),
                    Used::Session => {
                        Text::from("UPDATE server_session SET seen_at = $1 WHERE session_id = $2 AND seen_at < $3")
                    }
                };
                sql(statement).bind(millis(*at)).bind(&**id).bind(millis(*at)).execute(&mut transaction).await?;
            }
            transaction.commit().await?;
            self.last_uses.forget(batch);
        }
        Ok(())
    }
}

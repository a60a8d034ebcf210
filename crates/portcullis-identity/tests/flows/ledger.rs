//! Counts attempts as the limiter does, in the simplest way there is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use portcullis_core::Timestamp;
use portcullis_identity::{Allowance, Answer, Attempts, Charged, Exhausted, Pool};

type Moments = Arc<Mutex<HashMap<String, Vec<Timestamp>>>>;

#[derive(Default)]
pub(crate) struct Ledger(Moments);

impl Ledger {
    /// How many units are taken, over all pools of a kind.
    pub(crate) fn taken(&self, kind: char) -> usize {
        self.0.lock().unwrap().iter().filter(|(pool, _)| pool.starts_with(kind)).map(|(_, taken)| taken.len()).sum()
    }
}

impl Attempts for Ledger {
    fn charge<'a>(
        &'a self,
        pool: &'a Pool,
        allowance: Allowance,
        now: Timestamp,
    ) -> Answer<'a, Result<Charged, Exhausted>> {
        Box::pin(async move {
            let mut pools = self.0.lock().unwrap();
            let taken = pools.entry(pool.as_str().to_owned()).or_default();
            taken.retain(|at| at.after(allowance.window) > now);
            let count = allowance.count as usize;
            if taken.len() >= count {
                let reset_at = taken[0].after(allowance.window);
                return Err(Exhausted { count: count as u64, retry_after: reset_at.since(now), reset_at });
            }
            taken.push(now);
            let (left, name, ledger) = (count - taken.len(), pool.as_str().to_owned(), Arc::clone(&self.0));
            let give_back = move |_| -> Answer<'static, ()> {
                Box::pin(async move {
                    ledger.lock().unwrap().get_mut(&name).and_then(Vec::pop);
                })
            };
            Ok(Charged { left: left as u64, give_back: Box::new(give_back) })
        })
    }

    fn clear<'a>(&'a self, pool: &'a Pool) -> Answer<'a, ()> {
        Box::pin(async move {
            self.0.lock().unwrap().remove(pool.as_str());
        })
    }
}

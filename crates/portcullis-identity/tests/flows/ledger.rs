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
        allowances: &'a [Allowance],
        now: Timestamp,
    ) -> Answer<'a, Result<Charged, Exhausted>> {
        Box::pin(async move {
            let mut pools = self.0.lock().unwrap();
            let taken = pools.entry(pool.as_str().to_owned()).or_default();
            let mut left = u64::MAX;
            let mut denied: Option<Exhausted> = None;
            for Allowance { count, window } in allowances {
                let (count, within) = (*count as usize, taken.iter().filter(|at| at.after(*window) > now).count());
                left = left.min((count.saturating_sub(within + 1)) as u64);
                if within >= count {
                    let reset_at = taken[taken.len() - count].after(*window);
                    let this = Exhausted { count: count as u64, retry_after: reset_at.since(now), reset_at };
                    denied = denied.filter(|held| held.reset_at > reset_at).or(Some(this));
                }
            }
            if let Some(denied) = denied {
                return Err(denied);
            }
            taken.push(now);
            let (name, ledger) = (pool.as_str().to_owned(), Arc::clone(&self.0));
            let give_back = move |_| -> Answer<'static, ()> {
                Box::pin(async move {
                    ledger.lock().unwrap().get_mut(&name).and_then(Vec::pop);
                })
            };
            Ok(Charged { left, give_back: Box::new(give_back) })
        })
    }

    fn clear<'a>(&'a self, pool: &'a Pool) -> Answer<'a, ()> {
        Box::pin(async move {
            self.0.lock().unwrap().remove(pool.as_str());
        })
    }
}

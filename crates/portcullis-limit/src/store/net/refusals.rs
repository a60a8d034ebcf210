//! Refusals that need no question: as long as a key is known to be refused, it is refused here.
//!
//! What is known may be wrong by a reset on any instance: each store counts its resets, this is read every half second, and
//! when it changes, or cannot be read for a second, all is forgotten. It may be wrong by a charge that was given back:
//! where that is common, a refusal is remembered for a quarter of a second only.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::limiter::{Ask, Denied, Standing};
use crate::rate::Rate;

const SHARDS: usize = 64;
/// How many keys each shard remembers: 65,536 in all, about 30 MB at the very most.
const KEYS: usize = 1024;
/// From how many keys one is chosen to go where there is no room.
const SAMPLE: usize = 8;
/// How many costs of one key are remembered.
const COSTS: usize = 2;
/// How long a refusal is remembered whose charges are often given back.
pub(in crate::store) const REFUNDABLE: Duration = Duration::from_millis(250);
/// How long a refusal is remembered at most.
#[cfg(any(feature = "redis", test))]
pub(in crate::store) const LONGEST: Duration = Duration::from_secs(3600);
/// How long the resets that were read last are good for.
pub(in crate::store) const FRESH: Duration = Duration::from_secs(1);

type Shard = Mutex<HashMap<u128, SmallVec<[Known; 1]>>>;

/// What is known of refused keys.
#[derive(Debug)]
pub(in crate::store) struct Refusals {
    /// By a 128-bit digest of the key's name, seeded at random: nobody outside can find two names that share one.
    shards: Box<[Shard]>,
    seeds: [RandomState; 2],
    resets: RwLock<Resets>,
    /// How often all was forgotten.
    forgotten: AtomicU64,
    answered: AtomicU64,
}

#[derive(Debug, Default)]
struct Resets {
    /// What the store last said.
    mark: String,
    /// When it was asked for that.
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    cost: u64,
    rate: Rate,
    /// When the store said so, at the earliest and at the latest.
    asked: Instant,
    told: Instant,
    remembered_for: Duration,
    retry_after: Duration,
    standing: Standing,
}

impl Known {
    fn until(&self) -> Instant {
        self.asked + self.remembered_for
    }
}

impl Refusals {
    pub(in crate::store) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            seeds: [RandomState::new(), RandomState::new()],
            resets: RwLock::default(),
            forgotten: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// How many requests were refused without a question.
    pub(in crate::store) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The refusal that is known for one of these asks: that with the longest wait.
    pub(in crate::store) fn find(&self, asks: &[Ask<'_>], names: &[String]) -> Option<Denied> {
        let now = Instant::now();
        let mut found: Option<Denied> = None;
        for (index, ask) in asks.iter().enumerate().filter(|(_, ask)| ask.enforce) {
            let (digest, cost) = (self.digest(&names[index]), with_twins(asks, names, index));
            let shard = self.shard(digest).lock();
            let known = shard.get(&digest).into_iter().flatten();
            // A smaller cost may fit already, and a larger one must wait longer than is known.
            let mut known = known.filter(|known| known.cost == cost && known.rate == *ask.rate);
            if let Some(known) = known.find(|known| now < known.until()) {
                let passed = now.saturating_duration_since(known.told);
                let retry_after = known.retry_after.saturating_sub(passed);
                if found.as_ref().is_none_or(|found| found.retry_after < retry_after) {
                    let at = known.standing.at.after(passed);
                    let standing = Standing { limit: ask.key.limit(), at, ..known.standing.clone() };
                    found = Some(Denied { standing, retry_after });
                }
            }
        }
        let resets = found.as_ref().and_then(|_| self.resets.read().asked);
        if resets.is_none_or(|asked| now.saturating_duration_since(asked) > FRESH) {
            return None;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// How often all was forgotten until now: what is asked before that and told after it may not be remembered.
    pub(in crate::store) fn mark(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Remembers a refusal for so long at most, that the store told in answer to what was asked at a moment when there was
    /// this mark.
    pub(in crate::store) fn learn(
        &self,
        ask: &Ask<'_>,
        name: &str,
        cost: u64,
        denied: Denied,
        (asked, mark): (Instant, u64),
        longest: Duration,
    ) {
        let remembered_for = denied.retry_after.min(longest);
        let digest = self.digest(name);
        let Denied { standing, retry_after } = denied;
        let told = Instant::now();
        let known = Known { cost, rate: *ask.rate, asked, told, remembered_for, retry_after, standing };
        let mut shard = self.shard(digest).lock();
        // Under the lock: whoever forgets takes it after having moved the mark.
        if self.mark() != mark {
            return;
        }
        if shard.len() >= KEYS && !shard.contains_key(&digest) {
            // Of a few, the one that is good for nothing first; it costs a question if it is asked again.
            let until = |known: &SmallVec<[Known; 1]>| known.iter().map(Known::until).max();
            let first = shard.iter().take(SAMPLE).min_by_key(|(_, known)| until(known));
            if let Some(first) = first.map(|(digest, _)| *digest) {
                shard.remove(&first);
            }
        }
        let all = shard.entry(digest).or_default();
        all.retain(|held| held.cost != known.cost && told < held.until());
        if all.len() >= COSTS {
            all.remove(0);
        }
        all.push(known);
    }

    /// Forgets one key.
    pub(in crate::store) fn forget(&self, name: &str) {
        let digest = self.digest(name);
        self.shard(digest).lock().remove(&digest);
    }

    /// Forgets everything.
    pub(in crate::store) fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.shards.iter().for_each(|shard| shard.lock().clear());
    }

    /// What the store says of its resets, asked at that moment. What has run out goes, as this comes twice a second.
    pub(in crate::store) fn resets(&self, mark: &str, asked: Instant) {
        let mut resets = self.resets.write();
        let changed = resets.mark != mark;
        if changed {
            mark.clone_into(&mut resets.mark);
        }
        resets.asked = resets.asked.max(Some(asked));
        drop(resets);
        if changed {
            self.forget_all();
            return;
        }
        let now = Instant::now();
        for shard in &self.shards {
            shard.lock().retain(|_, known| known.iter().any(|known| now < known.until()));
        }
    }

    fn digest(&self, name: &str) -> u128 {
        let [high, low] = &self.seeds;
        u128::from(high.hash_one(name)) << 64 | u128::from(low.hash_one(name))
    }

    fn shard(&self, digest: u128) -> &Shard {
        &self.shards[(digest >> 32) as usize % SHARDS]
    }
}

/// What an ask costs together with those before it that ask the same key.
pub(in crate::store) fn with_twins(asks: &[Ask<'_>], names: &[String], index: usize) -> u64 {
    let twins = asks[..index].iter().zip(names).filter(|(_, name)| **name == names[index]);
    twins.fold(asks[index].cost, |sum, (earlier, _)| sum.saturating_add(earlier.cost))
}

#[cfg(test)]
mod tests {
    use portcullis_core::Timestamp;

    use super::*;
    use crate::key::Key;
    use crate::outage::Outage;
    use crate::rate::Algorithm;

    fn refuse(refusals: &Refusals, rate: &Rate, name: &str, wait: Duration, mark: u64) -> Option<Denied> {
        let key = Key::new(0);
        let outage = Outage::Local;
        let ask = Ask { outage, ..Ask::new("l", key, rate) };
        let standing = Standing {
            blocked: false,
            limit: 0,
            quota: 1,
            per_window: 1,
            window: wait,
            remaining: 0,
            reset_at: Timestamp::from_secs(100).after(wait),
            would_refuse: true,
            delay: Duration::ZERO,
            at: Timestamp::from_secs(100),
        };
        refusals.learn(&ask, name, 1, Denied { standing, retry_after: wait }, (Instant::now(), mark), LONGEST);
        refusals.find(&[ask], &[name.to_owned()])
    }

    #[test]
    fn a_flood_of_refused_keys_is_remembered_within_its_bound() {
        let (refusals, rate) =
            (Refusals::new(), Rate::new("1 per hour".parse().unwrap(), Algorithm::FixedWindow, None));
        let hour = Duration::from_secs(3600);
        for n in 0..SHARDS * KEYS + 10_000 {
            refuse(&refusals, &rate.unwrap(), &n.to_string(), hour, refusals.mark());
        }
        refusals.resets("", Instant::now());
        assert!(refuse(&refusals, &rate.unwrap(), "one more", hour, refusals.mark()).is_some());
        let held: usize = refusals.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!((SHARDS * KEYS / 2..=SHARDS * KEYS).contains(&held), "{held}");
    }

    #[test]
    fn what_was_asked_before_a_reset_was_heard_of_is_not_remembered_after_it() {
        let (refusals, rate) =
            (Refusals::new(), Rate::new("1 per hour".parse().unwrap(), Algorithm::FixedWindow, None));
        let (rate, wait) = (rate.unwrap(), Duration::from_secs(3600));
        assert_eq!(
            refuse(&refusals, &rate, "a", wait, refusals.mark()),
            None,
            "nobody can say whether there was a reset"
        );
        refusals.resets("one", Instant::now());
        let mark = refusals.mark();
        assert!(refuse(&refusals, &rate, "a", wait, mark).is_some());
        refusals.resets("two", Instant::now());
        assert_eq!(refuse(&refusals, &rate, "a", wait, mark), None);
        assert!(refuse(&refusals, &rate, "a", wait, refusals.mark()).is_some());
        refusals.forget("a");
        assert_eq!(refuse(&refusals, &rate, "a", Duration::ZERO, refusals.mark()), None);
    }
}

//! How many wrong passwords an account takes, and from whom (L13).
//!
//! An allowance that everybody shared would let any stranger lock an owner out (CWE-645). So there are pools: one that all
//! unknown clients of an address share, and one for each device on which its owner has logged in before. Strangers exhaust
//! the first and no other.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use portcullis_core::Timestamp;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::policy::Email;

/// How accounts are kept from being guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// Wrong passwords that each pool admits in a window.
    pub attempts: u32,
    /// The window, a sliding one.
    pub window: Duration,
    /// Wrong passwords that each pool admits in any 24 hours: whoever goes on and on has to wait longer.
    pub per_day: u32,
    /// How long a device is known after its last login.
    pub device_life: Duration,
    /// Whether the owner is told by mail.
    pub notice: bool,
}

impl Lockout {
    /// What each pool admits.
    pub(crate) const fn allowances(&self) -> [Allowance; 2] {
        let day = Allowance { count: self.per_day, window: Duration::from_secs(86_400) };
        [Allowance { count: self.attempts, window: self.window }, day]
    }
}

/// What is counted together. Its name tells neither the address nor the device: it may stand in a store that others read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool(String);

impl Pool {
    /// Up to 40 characters, letters and digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much a pool admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// So many units, at least one.
    pub count: u32,
    /// In any window of this length.
    pub window: Duration,
}

/// What a port's method gives: it may ask a store over the network.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Counts attempts. What is behind it is exact however many ask at once, and where it cannot count it refuses, or counts
/// for itself: an attempt that nobody counts is a guess for free.
pub trait Attempts: Send + Sync {
    /// Takes one unit of a pool by each of its allowances, at most [`MOST_ALLOWANCES`], or by none.
    ///
    /// # Errors
    /// [`Exhausted`] where one of them has none left, of the one with the longest wait.
    fn charge<'a>(
        &'a self,
        pool: &'a Pool,
        allowances: &'a [Allowance],
        now: Timestamp,
    ) -> Answer<'a, Result<Charged, Exhausted>>;

    /// Forgets what a pool has taken.
    fn clear<'a>(&'a self, pool: &'a Pool) -> Answer<'a, ()>;
}

/// How many allowances a pool has at most.
pub const MOST_ALLOWANCES: usize = 2;

/// One unit that was taken. Dropped, it stays taken.
pub struct Charged {
    /// Units that are left in the pool, by the allowance that has the least.
    pub left: u64,
    /// Gives the unit back at a moment.
    pub give_back: Box<dyn FnOnce(Timestamp) -> Answer<'static, ()> + Send>,
}

impl fmt::Debug for Charged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charged").field("left", &self.left).finish_non_exhaustive()
    }
}

/// A pool that has nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// What the pool admits in a window, or in a day.
    pub count: u64,
    /// How long until it admits one more, if nobody else takes it.
    pub retry_after: Duration,
    /// The moment when that is.
    pub reset_at: Timestamp,
}

impl Exhausted {
    /// The wait in whole seconds, rounded up: whoever comes then is not too early.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        (self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)).max(1)
    }
}

/// Names pools.
#[derive(Debug)]
pub(crate) struct Pools {
    key: hmac::Key,
}

impl Pools {
    pub(crate) fn new(root: &hmac::Key) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(root, b"portcullis lockout").as_ref()) }
    }

    /// The one that all unknown clients of an address share, whether or not it has an account.
    pub(crate) fn strangers(&self, address: &str) -> Pool {
        self.named('s', address)
    }

    /// A known device's own.
    pub(crate) fn device(&self, id: &str) -> Pool {
        self.named('d', id)
    }

    /// That of letters about an address.
    pub(crate) fn notices(&self, address: &str) -> Pool {
        self.named('n', address)
    }

    fn named(&self, kind: char, what: &str) -> Pool {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[kind as u8]);
        context.update(what.as_bytes());
        // 128 bits: nobody finds two addresses that share a pool, and nobody without the key finds any.
        Pool(format!("{kind}{}", hex::encode(&context.sign().as_ref()[..16])))
    }
}

/// How many attempts may wait for others: a flood of them must not take the room of those who only refresh a token.
const MOST_WAITING: usize = 32;

/// The attempts of this process whose end is not known yet, by pool.
#[derive(Debug)]
pub(crate) struct UnderWay {
    all: Arc<Ends>,
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct Ends {
    pools: Mutex<HashMap<Pool, usize>>,
    ended: Notify,
}

/// One of them, until it goes.
#[derive(Debug)]
pub(crate) struct OneUnderWay {
    all: Arc<Ends>,
    pool: Pool,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { all: Arc::default(), turns: Semaphore::new(MOST_WAITING) }
    }
}

impl UnderWay {
    pub(crate) fn begin(&self, pool: Pool) -> OneUnderWay {
        *self.all.pools.lock().entry(pool.clone()).or_default() += 1;
        OneUnderWay { all: Arc::clone(&self.all), pool }
    }

    /// Whether a pool has any.
    pub(crate) fn holds(&self, pool: &Pool) -> bool {
        self.all.pools.lock().contains_key(pool)
    }

    /// The end of the next one, of whatever pool.
    pub(crate) fn ended(&self) -> Notified<'_> {
        self.all.ended.notified()
    }

    /// The right to wait for one; `None` where too many wait already.
    pub(crate) fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.try_acquire().ok()
    }
}

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        let mut pools = self.all.pools.lock();
        if let Some(count) = pools.get_mut(&self.pool) {
            *count -= 1;
            if *count == 0 {
                pools.remove(&self.pool);
            }
        }
        drop(pools);
        self.all.ended.notify_waiters();
    }
}

/// The one spelling in which an address is counted. What is none is counted too: nobody is to tell by it which texts the
/// store is asked for.
pub(crate) fn spelling(address: &str) -> String {
    match Email::parse(address) {
        Ok(email) => email.as_str().to_owned(),
        Err(_) => address.trim().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(seed: u8) -> Pools {
        Pools::new(&hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32]))
    }

    #[test]
    fn l13_a_pool_tells_nothing_of_whose_it_is() {
        let ours = pools(1);
        let (strangers, device) = (ours.strangers("ann@example.com"), ours.device("ann@example.com"));
        assert_eq!(strangers, ours.strangers("ann@example.com"));
        assert_ne!(strangers, ours.strangers("bob@example.com"));
        assert_ne!(strangers, pools(2).strangers("ann@example.com"), "only who has the key can name it");
        for pool in [&strangers, &device, &ours.notices("ann@example.com")] {
            assert!(pool.as_str().len() <= 40 && pool.as_str().bytes().all(|b| b.is_ascii_alphanumeric()), "{pool:?}");
        }
        assert_ne!(strangers.as_str()[1..], device.as_str()[1..]);
    }

    #[test]
    fn l13_an_address_has_one_pool_however_it_is_typed() {
        for typed in ["Ann@Example.com", " ann@example.com ", "ANN@EXAMPLE.COM\n"] {
            assert_eq!(spelling(typed), "ann@example.com", "{typed:?}");
        }
        // What is no address is counted by itself.
        assert_ne!(spelling("ann@"), spelling("bob@"));
        assert_eq!(spelling(" ANN@ "), "ann@");
    }
}

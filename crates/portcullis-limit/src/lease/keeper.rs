//! Those who speak to the store for the leases: some that fetch portions, one that asks who the store is, and one that gives
//! back what is not needed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ground::Footing;
use super::pool::Bound;
use super::{Lease, Leases, closed};
use crate::limiter::Ask;
use crate::outage::{Outage, Shared, random};
use crate::store::Lender;

/// How many portions are fetched at once.
const FETCHERS: usize = 16;
/// How often it is looked for what is not needed.
const LOOKS: Duration = Duration::from_millis(250);
/// How often the store is asked who it is: at least once in so long.
const PULSE_WITHIN: Duration = Duration::from_millis(500);
/// A key that nobody has asked for so long is let go.
const IDLE: Duration = Duration::from_secs(10);
/// How often one round goes by a mark that has changed in the meantime.
const CHANGES: u32 = 3;

/// A key that is looked after. Whoever stops in the middle leaves it to another: as long as it counts as looked after, nobody
/// else would, and all who ask for it would wait in vain.
struct Care<'a> {
    lease: &'a Lease,
    ended: bool,
}

impl Drop for Care<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.lease.pool.lock().abandon();
        }
    }
}

impl Leases {
    /// Looks after the leases for as long as the future is polled.
    pub(crate) async fn keep(&self, shared: &Shared, lender: &dyn Lender) {
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> =
            vec![Box::pin(self.keep_asking(shared, lender)), Box::pin(self.keep_looking(shared))];
        all.extend((0..FETCHERS).map(|_| Box::pin(self.keep_fetching(shared, lender)) as _));
        // None of them ends.
        poll_fn(|cx| {
            for one in &mut all {
                let _ = one.as_mut().poll(cx);
            }
            Poll::<()>::Pending
        })
        .await;
    }

    async fn keep_asking(&self, shared: &Shared, lender: &dyn Lender) {
        loop {
            sleep(PULSE_WITHIN.mul_f64(0.5 + 0.5 * random())).await;
            if self.keys.load(Ordering::Relaxed) > 0 {
                self.ask(shared, lender).await;
            }
        }
    }

    /// Asks who the store is.
    async fn ask(&self, shared: &Shared, lender: &dyn Lender) -> Option<()> {
        let asked = Instant::now();
        let pulse = shared.guarded(asked + shared.patience(), || lender.pulse()).await?;
        if self.ground.learn(pulse, asked, Instant::now()) {
            shared.tell_of_loss();
        }
        Some(())
    }

    async fn keep_looking(&self, shared: &Shared) {
        loop {
            sleep(LOOKS).await;
            // While the store is away nothing can be given back, and what is held is worth more.
            let (ground, works) = (self.ground.generation(), shared.works());
            for shard in &self.shards {
                let (now, mut gone) = (Instant::now(), 0);
                shard.lock().retain(|_, leases| {
                    leases.retain(|lease| {
                        let mut pool = lease.pool.lock();
                        if let Some(receipt) = works.then(|| pool.unneeded(ground, now)).flatten() {
                            self.given_back.fetch_add(receipt.cost, Ordering::Relaxed);
                            shared.store.give_back(receipt);
                        }
                        let idle = pool.is_idle(now, IDLE);
                        gone += usize::from(idle);
                        !idle
                    });
                    !leases.is_empty()
                });
                self.keys.fetch_sub(gone, Ordering::Relaxed);
            }
        }
    }

    async fn keep_fetching(&self, shared: &Shared, lender: &dyn Lender) {
        loop {
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.pop_front();
                if !queue.is_empty() {
                    // Two that were queued at once may have woken one of us.
                    self.queued.notify_one();
                }
                next
            };
            match next {
                Some(lease) => self.fetch(&lease, shared, lender).await,
                None => self.queued.notified().await,
            }
        }
    }

    /// Looks after one key until nothing is wanted of it.
    async fn fetch(&self, lease: &Arc<Lease>, shared: &Shared, lender: &dyn Lender) {
        let mut care = Care { lease, ended: false };
        self.fetch_all(lease, shared, lender).await;
        care.ended = true;
    }

    /// Asks the store for what is wanted of one key until nothing is.
    async fn fetch_all(&self, lease: &Arc<Lease>, shared: &Shared, lender: &dyn Lender) {
        let (mut bound, mut changes) = (Bound::All, 0);
        loop {
            let now = Instant::now();
            let (mark, ground) = match self.ground.footing(&lease.rate, now) {
                Footing::Open { mark, generation } => (mark, generation),
                Footing::Closed { until, now: there, generation } => {
                    let denied = closed(lease.key.limit(), &lease.rate, until, there);
                    return lease.pool.lock().close(denied, generation, now);
                }
                Footing::Unknown => {
                    if self.ask(shared, lender).await.is_some() {
                        continue;
                    }
                    return lease.pool.lock().abandon();
                }
            };
            let question = lease.pool.lock().plan(&lease.rate, bound, ground, now);
            let Some(question) = question else { return };
            let (key, cost, rate) = (lease.key.clone(), question.cost, &lease.rate);
            // Whatever the limit does with a refusal, a portion is charged only if it fits.
            let ask = Ask { cost, refundable: true, outage: Outage::Closed, ..Ask::new(&lease.limit, key, rate) };
            let answer = shared.guarded(now + shared.patience(), || lender.take(&ask, &mark)).await;
            let (ground, now) = (self.ground.generation(), Instant::now());
            match answer {
                // A lender that charges nothing has lent nothing, and would be asked without end.
                Some(Some(Ok(charge))) if charge.receipts().is_empty() => return lease.pool.lock().abandon(),
                Some(Some(Ok(charge))) => {
                    self.taken.fetch_add(cost, Ordering::Relaxed);
                    lease.pool.lock().admitted(&lease.rate, question, &charge, ground, now);
                    bound = Bound::All;
                }
                Some(Some(Err(denied))) => bound = lease.pool.lock().denied(question, denied, now),
                Some(None) => {
                    changes += 1;
                    if changes > CHANGES || self.ask(shared, lender).await.is_none() {
                        return lease.pool.lock().abandon();
                    }
                }
                None => return lease.pool.lock().abandon(),
            }
        }
    }
}

//! A limiter over a store that can be made to hang, to fail and to come back. The time is tokio's, which stands still.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use portcullis_core::Timestamp;

use super::*;
use crate::limiter::{Limiter, Receipt, Refused, Standing};
use crate::store::{Answer, BoxFuture, Identity, MemoryStore};
use crate::{Algorithm, Key, Rate};

const NOW: Timestamp = Timestamp::from_secs(1_795_219_200);

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Slow(u64),
    Hanging,
    Refusing,
    /// Pings are answered and charges are not.
    Full,
    /// Something else is under the key.
    Foreign,
}

#[derive(Debug)]
struct Fake {
    cells: MemoryStore,
    mood: Mutex<Mood>,
    asked: AtomicUsize,
    given_back: AtomicUsize,
    /// What another instance spends of a key between the next look at it and what comes after that.
    spent_between: AtomicUsize,
}

impl Fake {
    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn spend_between(&self, units: usize) {
        self.spent_between.store(units, Ordering::Relaxed);
    }

    async fn behave(&self, ping: bool) -> Result<(), StoreError> {
        let mood = *self.mood.lock().unwrap();
        let store: Box<str> = "fake".into();
        match mood {
            Mood::Well => Ok(()),
            Mood::Slow(millis) => {
                sleep(Duration::from_millis(millis)).await;
                Ok(())
            }
            Mood::Hanging => std::future::pending().await,
            Mood::Refusing => Err(StoreError::Unavailable { store, cause: "refused".into() }),
            Mood::Full if ping => Ok(()),
            Mood::Full => Err(StoreError::Full { store }),
            Mood::Foreign => Err(StoreError::Foreign { store, answer: "WRONGTYPE".into() }),
        }
    }
}

impl SharedStore for Fake {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            self.behave(false).await?;
            Ok(self.cells.charge(asks, NOW).map(|mut charge| {
                for receipt in charge.receipts_mut() {
                    receipt.shared = Some("fake".into());
                }
                charge
            }))
        })
    }

    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(async {
            self.behave(false).await?;
            let told = self.cells.peek(ask, NOW);
            let cost = self.spent_between.swap(0, Ordering::Relaxed) as u64;
            // It may have no room for it; then it is not spent.
            let _ = self.cells.charge(&[Ask { cost, ..ask.clone() }], NOW);
            Ok(told)
        })
    }

    fn give_back(&self, receipt: Receipt) {
        self.given_back.fetch_add(1, Ordering::Relaxed);
        self.cells.give_back(&receipt, NOW);
    }

    fn reset<'a>(&'a self, _: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async {
            self.behave(false).await?;
            Ok(self.cells.reset(key))
        })
    }

    fn reward<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async {
            self.behave(false).await?;
            self.cells.reward(ask, NOW);
            Ok(())
        })
    }

    fn block<'a>(
        &'a self,
        _: &'a str,
        key: &'a Key,
        how_long: Duration,
    ) -> BoxFuture<'a, Result<Timestamp, StoreError>> {
        Box::pin(async move {
            self.behave(false).await?;
            self.cells.block(key, NOW.after(how_long), NOW);
            Ok(NOW.after(how_long))
        })
    }

    fn unblock<'a>(&'a self, _: &'a str, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async {
            self.behave(false).await?;
            Ok(self.cells.unblock(key, NOW))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(async {
            self.behave(true).await?;
            Ok(Identity::new("fake"))
        })
    }
}

struct House {
    store: Arc<Fake>,
    limiter: Arc<Limiter>,
    events: Arc<Mutex<Vec<StoreEvent>>>,
    rate: Rate,
}

impl House {
    fn new(quota: u64) -> Self {
        let cells = MemoryStore::default();
        let [asked, given_back, spent_between] = [const { AtomicUsize::new(0) }; 3];
        let mood = Mutex::new(Mood::Well);
        Self::over(Arc::new(Fake { cells, mood, asked, given_back, spent_between }), quota)
    }

    /// Another instance over the same store.
    fn beside(&self) -> Self {
        Self::over(Arc::clone(&self.store), self.rate.quota().count())
    }

    fn over(store: Arc<Fake>, quota: u64) -> Self {
        let quota = format!("{quota} per hour").parse().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let observer: StoreObserver = Arc::new(move |event| seen.lock().unwrap().push(event.clone()));
        let limiter = Limiter::default().sharing(Arc::clone(&store) as _, PATIENCE, observer);
        let rate = Rate::new(quota, Algorithm::SlidingWindowLog, None).unwrap();
        Self { store, limiter: Arc::new(limiter), events, rate }
    }

    fn keep(&self) {
        let limiter = Arc::clone(&self.limiter);
        tokio::spawn(async move { limiter.keep().await });
    }

    fn ask(&self, key: &str) -> Ask<'_> {
        let mut named = Key::new(7);
        named.push_text('u', key);
        Ask::new("tested", named, &self.rate)
    }

    async fn charge(&self, outage: Outage, key: &str) -> Result<Charge, Refused> {
        let ask = Ask { outage, ..self.ask(key) };
        self.limiter.charge(&[ask], NOW, &mut Patience::default()).await
    }

    async fn block(&self, key: &str) -> Result<Timestamp, StoreError> {
        self.limiter.block(&self.ask(key), Duration::from_secs(3600), NOW).await
    }

    async fn unblock(&self, key: &str) -> Result<bool, StoreError> {
        self.limiter.unblock("tested", &self.ask(key).key, NOW).await
    }

    async fn admitted(&self, outage: Outage, key: &str, times: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..times {
            admitted += usize::from(self.charge(outage, key).await.is_ok());
        }
        admitted
    }

    fn asked(&self) -> usize {
        self.store.asked.load(Ordering::Relaxed)
    }

    fn changes(&self) -> Vec<&'static str> {
        let told = self.events.lock().unwrap();
        let word = |event: &StoreEvent| match event {
            StoreEvent::Failed(_) | StoreEvent::Still(_) => None,
            StoreEvent::Lost(_) => Some("lost"),
            StoreEvent::Back => Some("back"),
            StoreEvent::Forgot => Some("forgot"),
        };
        told.iter().filter_map(word).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn l10_while_the_store_hangs_every_decision_takes_fifty_milliseconds_at_most() {
    let house = House::new(1_000);
    house.store.set(Mood::Hanging);
    let longest = Duration::from_millis(50);
    for _ in 0..100 {
        let begun = Instant::now();
        assert!(house.charge(Outage::Local, "a").await.is_ok());
        assert!(begun.elapsed() <= longest, "{:?}", begun.elapsed());
    }
    assert_eq!(house.asked(), 1, "whoever comes after the first does not wait at all");
    assert_eq!(house.limiter.decided_alone(), 100);
    assert_eq!(house.changes(), ["lost"]);
}

#[tokio::test(start_paused = true)]
async fn l10_the_charges_of_one_request_share_one_patience() {
    let house = House::new(1_000);
    house.store.set(Mood::Slow(30));
    let (begun, mut patience) = (Instant::now(), Patience::default());
    for _ in 0..3 {
        let key = Key::new(7);
        let (limit, rate, outage) = ("tested", &house.rate, Outage::Local);
        let ask = Ask { outage, ..Ask::new(limit, key, rate) };
        house.limiter.charge(&[ask], NOW, &mut patience).await.unwrap();
    }
    assert!(begun.elapsed() <= Duration::from_millis(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn l10_each_limit_does_what_it_was_told_to_do_without_the_store() {
    let house = House::new(3);
    house.store.set(Mood::Refusing);
    assert_eq!(house.admitted(Outage::Local, "a", 10).await, 3, "by what this process counts");
    assert_eq!(house.admitted(Outage::Open, "b", 10).await, 10);
    assert!(matches!(house.charge(Outage::Closed, "c").await, Err(Refused::Unavailable(7))));
}

#[tokio::test(start_paused = true)]
async fn l10_who_was_refused_by_the_store_gets_no_fresh_allowance_when_it_goes_away() {
    let house = House::new(3);
    assert_eq!(house.admitted(Outage::Local, "a", 10).await, 3);
    house.store.set(Mood::Refusing);
    assert_eq!(house.admitted(Outage::Local, "a", 10).await, 0, "the memory has counted along");
    assert_eq!(house.admitted(Outage::Local, "b", 10).await, 3);
}

#[tokio::test(start_paused = true)]
async fn l6_what_is_given_back_is_given_back_in_the_store_and_in_memory() {
    let house = House::new(3);
    for _ in 0..10 {
        let charge = house.charge(Outage::Local, "a").await.unwrap();
        for receipt in charge.receipts() {
            house.limiter.give_back(receipt, NOW);
        }
    }
    assert_eq!(house.store.given_back.load(Ordering::Relaxed), 10);
    house.store.set(Mood::Refusing);
    assert_eq!(house.admitted(Outage::Local, "a", 10).await, 3, "nothing of it stayed in memory");
}

#[tokio::test(start_paused = true)]
async fn l10_the_store_is_asked_again_within_two_seconds_of_its_return_and_first_by_one() {
    let house = House::new(1_000_000.min(crate::MAX_LOG_QUOTA));
    house.keep();
    house.store.set(Mood::Hanging);
    house.charge(Outage::Local, "a").await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(house.asked(), 1, "nobody asks while it is away");
    house.store.set(Mood::Slow(20));
    let returned = Instant::now();
    while house.asked() == 1 {
        sleep(Duration::from_millis(10)).await;
        // Fifty who come at once: one of them tries, the others do not wait for it.
        let crowd: Vec<_> = (0..50).map(|_| house.charge(Outage::Local, "a")).collect();
        let before = house.asked();
        for one in crowd {
            one.await.unwrap();
        }
        assert!(house.asked() - before <= 50);
    }
    assert!(returned.elapsed() <= Duration::from_secs(2), "{:?}", returned.elapsed());
    assert_eq!(house.changes(), ["lost", "back"]);
    assert_eq!(house.limiter.shared_works(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn l10_of_many_who_come_while_one_tries_only_that_one_asks() {
    let house = Arc::new(House::new(1_000));
    house.store.set(Mood::Hanging);
    house.charge(Outage::Local, "a").await.unwrap();
    house.store.set(Mood::Slow(20));
    house.keep();
    sleep(Duration::from_millis(600)).await;
    let begun = Instant::now();
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.charge(Outage::Local, "a").await.map(|_| begun.elapsed()) })
        })
        .collect();
    let mut waited = 0;
    for one in crowd {
        waited += usize::from(one.await.unwrap().unwrap() >= Duration::from_millis(20));
    }
    assert_eq!((waited, house.asked()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn l10_a_store_that_answers_pings_but_takes_no_charge_stays_away() {
    let house = House::new(100);
    house.keep();
    house.store.set(Mood::Full);
    for _ in 0..200 {
        house.charge(Outage::Open, "a").await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(house.changes(), ["lost"], "it is not told back and lost again every second");
    assert!(house.asked() < 3 + 20 * 4, "one tries after each ping: {}", house.asked());
}

#[tokio::test(start_paused = true)]
async fn l10_what_somebody_else_wrote_under_one_key_does_not_take_the_store_away_from_all() {
    let house = House::new(3);
    house.store.set(Mood::Foreign);
    assert_eq!(house.admitted(Outage::Local, "a", 10).await, 3);
    assert_eq!(house.asked(), 10);
    assert!(house.changes().is_empty() && house.events.lock().unwrap().len() == 10);
}

#[tokio::test(start_paused = true)]
async fn l10_who_hangs_up_while_it_tries_lets_another_try() {
    let house = House::new(100);
    house.store.set(Mood::Hanging);
    house.charge(Outage::Local, "a").await.unwrap();
    house.keep();
    house.store.set(Mood::Slow(20));
    sleep(Duration::from_millis(600)).await;
    drop(timeout(Duration::from_millis(5), house.charge(Outage::Local, "a")).await);
    assert_eq!(house.asked(), 2);
    house.charge(Outage::Local, "a").await.unwrap();
    assert_eq!((house.asked(), house.limiter.shared_works()), (3, Some(true)));
}

#[tokio::test(start_paused = true)]
async fn a_reset_reaches_the_store_and_memory_or_says_that_it_did_not() {
    let house = House::new(2);
    house.admitted(Outage::Local, "a", 3).await;
    let mut key = Key::new(7);
    key.push_text('u', "a");
    assert_eq!(house.limiter.reset("tested", &key).await, Ok(true));
    assert_eq!(house.admitted(Outage::Local, "a", 3).await, 2);
    house.store.set(Mood::Refusing);
    assert!(house.limiter.reset("tested", &key).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn l10_a_block_outlives_the_store_here_and_wherever_it_was_met() {
    let here = House::new(3);
    let (met, never) = (here.beside(), here.beside());
    here.block("a").await.unwrap();
    assert_eq!(met.admitted(Outage::Local, "a", 1).await, 0);
    here.store.set(Mood::Refusing);
    for house in [&here, &met] {
        let Err(Refused::Denied(denied)) = house.charge(Outage::Local, "a").await else { panic!("it is blocked") };
        assert!(denied.standing.blocked && denied.retry_after == Duration::from_secs(3600), "{denied:?}");
    }
    assert_eq!(never.admitted(Outage::Local, "a", 5).await, 3, "nobody has told it");
}

#[tokio::test(start_paused = true)]
async fn l10_a_block_that_was_lifted_elsewhere_does_not_come_back_when_the_store_goes() {
    let here = House::new(3);
    let other = here.beside();
    here.block("a").await.unwrap();
    assert_eq!(other.unblock("a").await, Ok(true));
    assert_eq!(here.admitted(Outage::Local, "a", 1).await, 1, "the store says so");
    here.store.set(Mood::Refusing);
    assert!(here.admitted(Outage::Local, "a", 5).await > 0);
}

#[tokio::test(start_paused = true)]
async fn l10_what_an_operator_does_while_the_store_is_away_is_told_to_be_uncertain_and_holds_here() {
    let house = House::new(3);
    house.store.set(Mood::Refusing);
    assert!(house.block("a").await.is_err());
    assert_eq!(house.admitted(Outage::Local, "a", 1).await, 0);
    assert!(house.unblock("a").await.is_err());
    assert_eq!(house.admitted(Outage::Local, "a", 1).await, 1);
    let ask = Ask { cost: 2, ..house.ask("a") };
    assert!(house.limiter.reward(&ask, NOW).await.is_err());
    assert!(house.limiter.take(&ask, NOW).await.is_err());
    assert_eq!(house.admitted(Outage::Local, "a", 5).await, 3, "the reward holds here");
}

#[tokio::test(start_paused = true)]
async fn l6_a_penalty_is_counted_along_in_memory() {
    let house = House::new(3);
    assert_eq!(house.limiter.take(&Ask { cost: 2, ..house.ask("a") }, NOW).await, Ok(2));
    house.store.set(Mood::Refusing);
    assert_eq!(house.admitted(Outage::Local, "a", 5).await, 1);
}

#[tokio::test(start_paused = true)]
async fn l6_a_penalty_that_another_spent_first_is_not_counted_in_memory_either() {
    let house = House::new(5);
    let other = house.beside();
    assert_eq!(other.limiter.take(&Ask { cost: 4, ..other.ask("a") }, NOW).await, Ok(4));
    // Here nobody has counted along, so that memory alone would have room for all of it.
    house.store.spend_between(1);
    assert_eq!(house.limiter.take(&Ask { cost: 3, ..house.ask("a") }, NOW).await, Ok(0));
    house.store.set(Mood::Refusing);
    assert_eq!(house.admitted(Outage::Local, "a", 9).await, 5);
}

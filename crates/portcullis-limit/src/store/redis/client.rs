//! What is asked of the servers for a charge, a look, a give-back, a reset and a pulse.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use portcullis_core::Timestamp;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::options::RedisOptions;
use super::request::Request;
use super::script::{self, CHARGE, GIVE_BACK, How, PULSE, TAKE, Verdict};
use super::servers::Servers;
use super::stream::error_of;
use super::wire::Value;
use crate::limiter::{Ask, Charge, Denied, Receipt, Receipts, Standing, Standings};
use crate::store::net::{LONGEST, REFUNDABLE, Refusals, join, with_twins};
use crate::store::{Answer, Identity, Pulse, StoreError, Taken};

/// The key that is set anew with every reset, so that all instances forget what they know of refusals. A limit without a
/// name could have keys that begin like it, but there is none.
pub(super) const RESETS: &str = "rl::resets";
/// The key of the mark that tells a store from what it is after it lost its data.
pub(super) const EPOCH_KEY: &str = "rl::epoch";

/// A store as its tasks and callers share it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) servers: Servers,
    name: Box<str>,
    pub(super) timeout: Duration,
    pub(super) refusals: Refusals,
    clock: ServerClock,
    /// The mark that was told last.
    mark: Mutex<String>,
    /// What a test makes of the server's time.
    pub(super) moved: RwLock<String>,
}

impl Client {
    pub(super) fn new(options: &RedisOptions, runtime: &Handle) -> Result<Self, StoreError> {
        let (servers, name) = Servers::new(options, runtime)?;
        Ok(Self {
            servers,
            name,
            timeout: options.timeout,
            refusals: Refusals::new(),
            clock: ServerClock::default(),
            mark: Mutex::default(),
            moved: RwLock::new("+0".to_owned()),
        })
    }

    pub(super) async fn charge(&self, asks: &[Ask<'_>]) -> Answer {
        let names: Vec<String> = asks.iter().map(|ask| ask.key.name(ask.limit)).collect();
        if asks.is_empty() {
            return Ok(Ok(Charge::new(Receipts::new(), Standings::new())));
        }
        if let Some(denied) = self.refusals.find(asks, &names) {
            return Ok(Err(denied));
        }
        let (asked, mark) = (std::time::Instant::now(), self.refusals.mark());
        let deadline = Instant::now() + self.timeout;
        // One group on one server; in a cluster one for each slot.
        let mut groups: Vec<Group<'_>> = Vec::with_capacity(1);
        for (index, (ask, name)) in asks.iter().zip(&names).enumerate() {
            let slot = self.servers.slot(name);
            match groups.iter_mut().find(|group| group.slot == slot) {
                Some(group) => group.push(index, ask, name),
                None => groups.push(Group { slot, places: vec![index], asks: vec![ask], names: vec![name] }),
            }
        }
        let verdicts = match groups.as_slice() {
            [group] => vec![self.ask(group, How::Charge, deadline).await],
            groups => join(groups.iter().map(|group| self.ask(group, How::Charge, deadline))).await,
        };
        if verdicts.iter().all(|verdict| verdict.as_ref().is_ok_and(|verdict| verdict.admitted)) {
            return Ok(Ok(admitted(&groups, verdicts)));
        }
        let mut denied: Option<(usize, Denied)> = None;
        let mut failed = None;
        for (group, verdict) in groups.iter().zip(verdicts) {
            match verdict {
                Ok(verdict) if verdict.admitted => {
                    // Reserved in vain: another group refuses or is out of reach.
                    group.receipts(&verdict).for_each(|(_, receipt)| self.give_back(&receipt));
                }
                Ok(verdict) => {
                    for (at, said) in verdict.said.iter().enumerate() {
                        let ask = group.asks[at];
                        let Some(retry_at) = said.assessment.retry_at.filter(|_| ask.enforce) else { continue };
                        let standing = Standing::new(ask, &said.assessment, verdict.now);
                        let refused = Denied { standing, retry_after: retry_at.since(verdict.now) };
                        let cost = with_twins(asks, &names, group.places[at]);
                        let longest = if ask.refundable { REFUNDABLE } else { LONGEST };
                        self.refusals.learn(ask, group.names[at], cost, refused.clone(), (asked, mark), longest);
                        // The longest wait is told, of several the first ask's: whoever waits that long is admitted by all.
                        let place = group.places[at];
                        if denied.as_ref().is_none_or(|(before, held)| {
                            held.retry_after < refused.retry_after
                                || (held.retry_after == refused.retry_after && place < *before)
                        }) {
                            denied = Some((place, refused));
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match (denied, failed) {
            (Some((_, denied)), _) => Ok(Err(denied)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(StoreError::Protocol {
                store: self.name.clone(),
                answer: "a refusal without a limit that refuses".into(),
            }),
        }
    }

    pub(super) async fn peek(&self, ask: &Ask<'_>) -> Result<Standing, StoreError> {
        let name = ask.key.name(ask.limit);
        let group = Group { slot: self.servers.slot(&name), places: vec![0], asks: vec![ask], names: vec![&name] };
        let verdict = self.ask(&group, How::Look, Instant::now() + self.timeout).await?;
        let said = verdict.said.first().ok_or_else(|| self.protocol(&Value::Nil))?;
        Ok(Standing::new(ask, &said.assessment, verdict.now))
    }

    /// Charges one ask if the store still bears this mark.
    pub(super) async fn take(&self, ask: &Ask<'_>, mark: &str) -> Result<Taken, StoreError> {
        let name = ask.key.name(ask.limit);
        let group = Group { slot: self.servers.slot(&name), places: vec![0], asks: vec![ask], names: vec![&name] };
        let how = How::Take { key: EPOCH_KEY, mark };
        let Some(verdict) = self.run(&group, how, Instant::now() + self.timeout).await? else {
            return Ok(None);
        };
        if verdict.admitted {
            return Ok(Some(Ok(admitted(&[group], vec![Ok(verdict)]))));
        }
        let said = verdict.said.first().ok_or_else(|| self.protocol(&Value::Nil))?;
        let standing = Standing::new(ask, &said.assessment, verdict.now);
        let retry_after = standing.reset_at.since(verdict.now);
        Ok(Some(Err(Denied { standing, retry_after })))
    }

    /// Runs the script for the asks of one slot.
    async fn ask(&self, group: &Group<'_>, how: How<'_>, deadline: Instant) -> Result<Verdict, StoreError> {
        self.run(group, how, deadline).await?.ok_or_else(|| self.protocol(&Value::Nil))
    }

    /// The same; `None` where the store bears another mark.
    async fn run(&self, group: &Group<'_>, how: How<'_>, deadline: Instant) -> Result<Option<Verdict>, StoreError> {
        let moved = self.moved();
        let mut around = self.clock.now();
        let script = if matches!(how, How::Take { .. }) { &TAKE } else { &CHARGE };
        loop {
            let words = script::charge_words(&group.asks, &group.names, how, around, &moved);
            match self.servers.call(group.slot, Request::script(script, words), deadline).await? {
                Value::Error(error) if error.starts_with("CHANGED ") => return Ok(None),
                Value::Error(error) => match script::clock_of(&error) {
                    // The periods of a calendar that it was told are not around its time; it charged nothing.
                    Some(now) if now != around => {
                        self.clock.set(now);
                        around = now;
                    }
                    _ => return Err(error_of(&self.name, &error)),
                },
                value => {
                    let verdict = script::read(&group.asks, &group.names, &value);
                    let verdict = verdict.ok_or_else(|| self.protocol(&value))?;
                    // Only calendars ask for it, and so only they keep it.
                    if group.asks.iter().any(|ask| ask.rate.calendar().is_some()) {
                        self.clock.set(verdict.now);
                    }
                    return Ok(Some(verdict));
                }
            }
        }
    }

    pub(super) fn give_back(&self, receipt: &Receipt) {
        // To take no elements from a list means to Redis to take all of them.
        let Some(name) = receipt.shared.as_deref().filter(|_| receipt.cost > 0) else { return };
        self.refusals.forget(name);
        let words = script::give_back_words(receipt, name, &self.moved());
        self.servers.tell(self.servers.slot(name), Request::script(&GIVE_BACK, words));
    }

    pub(super) async fn ping(&self) -> Result<Identity, StoreError> {
        let deadline = Instant::now() + self.timeout;
        // At once, as the time for all of them is that of one.
        let (pulse, infos) = tokio::join!(self.pulse(), self.servers.info("server", deadline));
        let (pulse, mut runs) = (pulse?, Vec::new());
        for info in infos? {
            let info = self.answer(Ok(info))?;
            let run = info.text().and_then(|text| text.lines().find_map(|line| line.strip_prefix("run_id:")));
            runs.push(run.ok_or_else(|| self.protocol(&info))?.trim().to_owned());
        }
        runs.sort_unstable();
        Ok(Identity::new(format!("{} {}", pulse.mark.as_str(), runs.join(" "))))
    }

    /// The policy by which a full server would forget keys; `None` where none forgets any.
    pub(super) async fn eviction(&self) -> Result<Option<String>, StoreError> {
        for info in self.servers.info("memory", Instant::now() + self.timeout).await? {
            let info = self.answer(Ok(info))?;
            let said = |name: &str| info.text()?.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let policy = said("maxmemory_policy:").filter(|policy| *policy != "noeviction");
            // Without a bound it is never full.
            if let Some(policy) = policy.filter(|_| said("maxmemory:") != Some("0")) {
                return Ok(Some(policy.to_owned()));
            }
        }
        Ok(None)
    }

    /// Asks for the mark, and for that of the resets.
    pub(super) async fn pulse(&self) -> Result<Pulse, StoreError> {
        let (asked, deadline) = (std::time::Instant::now(), Instant::now() + self.timeout);
        let name = format!("{:016x}", RandomState::new().hash_one(EPOCH_KEY));
        let known = self.mark.lock().clone();
        let words = script::pulse_words(EPOCH_KEY, &name, &known, self.servers.is_one(), &self.moved());
        let (told, resets) = tokio::join!(
            self.servers.call(self.servers.slot(EPOCH_KEY), Request::script(&PULSE, words), deadline),
            self.command(self.servers.slot(RESETS), "GET", &[RESETS], deadline),
        );
        let (told, resets) = (self.answer(told)?, resets?);
        let (mark, pulse) = script::read_pulse(&told).ok_or_else(|| self.protocol(&told))?;
        let resets = resets.text().unwrap_or_default();
        mark.clone_into(&mut self.mark.lock());
        // A store that lost its data refuses nobody any more, as after a reset of everything.
        self.refusals.resets(&format!("{mark} {resets}"), asked);
        Ok(Pulse { resets: resets.into(), ..pulse })
    }

    pub(super) async fn command(
        &self,
        slot: u16,
        command: &'static str,
        words: &[&str],
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        self.answer(self.servers.call(slot, Request::command(command, words), deadline).await)
    }

    /// An error that the server tells is one.
    pub(super) fn answer(&self, answer: Result<Value, StoreError>) -> Result<Value, StoreError> {
        match answer? {
            Value::Error(error) => Err(error_of(&self.name, &error)),
            value => Ok(value),
        }
    }

    pub(super) fn moved(&self) -> String {
        if cfg!(feature = "test-clock") { self.moved.read().clone() } else { String::new() }
    }

    pub(super) fn protocol(&self, answer: &Value) -> StoreError {
        let answer = format!("{answer:?}").chars().take(120).collect::<String>().into();
        StoreError::Protocol { store: self.name.clone(), answer }
    }
}

/// The asks of a charge whose keys lie in one slot, and their places in the charge.
struct Group<'a> {
    slot: u16,
    places: Vec<usize>,
    asks: Vec<&'a Ask<'a>>,
    names: Vec<&'a str>,
}

impl<'a> Group<'a> {
    fn push(&mut self, place: usize, ask: &'a Ask<'a>, name: &'a str) {
        self.places.push(place);
        self.asks.push(ask);
        self.names.push(name);
    }

    /// What was charged, each with the place of its ask.
    fn receipts(&self, verdict: &Verdict) -> impl Iterator<Item = (usize, Receipt)> {
        let charged = self.asks.iter().zip(&self.names).zip(&verdict.said).zip(&self.places);
        let charged = charged.filter(|(((ask, _), said), _)| said.fits && ask.cost > 0);
        charged.map(|(((ask, name), said), place)| (*place, Receipt::shared(ask, said.at, name)))
    }
}

/// The charge that the groups make together, in the order of the asks.
fn admitted(groups: &[Group<'_>], verdicts: Vec<Result<Verdict, StoreError>>) -> Charge {
    let mut receipts: SmallVec<[(usize, Receipt); 4]> = SmallVec::new();
    let mut standings: SmallVec<[(usize, Standing); 4]> = SmallVec::new();
    for (group, verdict) in groups.iter().zip(verdicts.into_iter().flatten()) {
        receipts.extend(group.receipts(&verdict));
        let told = group.asks.iter().zip(&verdict.said);
        let told = told.map(|(ask, said)| Standing::new(ask, &said.assessment, verdict.now));
        standings.extend(group.places.iter().copied().zip(told));
    }
    if groups.len() > 1 {
        receipts.sort_unstable_by_key(|(place, _)| *place);
        standings.sort_unstable_by_key(|(place, _)| *place);
    }
    let receipts = receipts.into_iter().map(|(_, receipt)| receipt).collect();
    Charge::new(receipts, standings.into_iter().map(|(_, standing)| standing).collect())
}

/// About what time it is at the server, without a clock of our own being asked: it told, and so much has passed since.
#[derive(Debug)]
struct ServerClock(Mutex<(Timestamp, Instant)>);

impl Default for ServerClock {
    fn default() -> Self {
        Self(Mutex::new((Timestamp::EPOCH, Instant::now())))
    }
}

impl ServerClock {
    fn now(&self) -> Timestamp {
        let (told, at) = *self.0.lock();
        told.after(at.elapsed())
    }

    fn set(&self, now: Timestamp) {
        *self.0.lock() = (now, Instant::now());
    }
}

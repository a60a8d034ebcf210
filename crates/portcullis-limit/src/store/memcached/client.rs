//! What is asked of the servers for a charge, a look, a give-back, a reset and a pulse.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::RwLock;
use portcullis_core::Timestamp;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::clock::GRAIN;
use super::frame::{self, Frame, NotCarried};
use super::host::{Host, place};
use super::options::MemcachedOptions;
use super::wire::{Command, Said};
use crate::algorithm::{Assessment, Cell};
use crate::calendar::Stretch;
use crate::limiter::{Ask, Charge, Denied, Receipt, Receipts, Standing, Standings};
use crate::rate::Rate;
use crate::store::net::{REFUNDABLE, Refusals, join, with_twins};
use crate::store::{Answer, Identity, StoreError};

/// The item that is set anew with every reset, so that all instances forget what they know of refusals. A limit without a
/// name could have keys that begin like it, but there is none.
pub(super) const RESETS: &str = "rl::resets";
/// The item by whose mark a server is told from what it is after it lost its data.
const EPOCH: &str = "rl::epoch";
/// How long both live: renewed with every pulse, they outlast any pause.
pub(super) const DAY: i32 = 86_400;
/// How many kinds of windows are remembered of one limit: as many as its plans have, and what they were before reloads.
const FRAMES: usize = 256;

/// A store as its tasks and callers share it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) hosts: Vec<Host>,
    pub(super) timeout: Duration,
    pub(super) refusals: Refusals,
    /// In which windows each limit counts, by its name: a reset has to know.
    pub(super) frames: RwLock<HashMap<Box<str>, Vec<Frame>>>,
    /// What a test makes of the servers' time.
    pub(super) moved: RwLock<Option<Timestamp>>,
}

/// One ask on its way.
struct Asked<'a> {
    ask: &'a Ask<'a>,
    host: &'a Host,
    /// The item by which the key may be blocked.
    block: Box<str>,
    /// The item that is counted, and its window.
    item: Box<str>,
    window: Stretch,
    now: Timestamp,
    /// What it and those before it cost that ask the same key.
    cost: u64,
    /// Whether it adds to the count; what costs nothing, or can never be admitted, only looks.
    reserves: bool,
}

/// What a server answers to one ask.
struct Heard {
    count: Said,
    /// Until when the key is blocked, if it is, or was.
    block: Result<Option<Timestamp>, StoreError>,
}

/// What is said of one ask.
struct Told {
    assessment: Assessment,
    standing: Standing,
}

impl Client {
    pub(super) fn new(options: &MemcachedOptions, runtime: &Handle) -> Result<Self, StoreError> {
        Ok(Self {
            hosts: Host::all(options, runtime)?,
            timeout: options.timeout,
            refusals: Refusals::new(),
            frames: RwLock::default(),
            moved: RwLock::default(),
        })
    }

    pub(super) async fn charge(&self, asks: &[Ask<'_>]) -> Answer {
        let names: Vec<String> = asks.iter().map(|ask| frame::name(&ask.key, ask.limit)).collect();
        let frames = asks.iter().map(|ask| self.frame(ask)).collect::<Result<SmallVec<[Frame; 4]>, _>>()?;
        if let Some(denied) = self.refusals.find(asks, &names) {
            return Ok(Err(denied));
        }
        let (asked_at, mark) = (std::time::Instant::now(), self.refusals.mark());
        let deadline = Instant::now() + self.timeout;
        let mut all: SmallVec<[Asked<'_>; 4]> = SmallVec::new();
        for (index, ask) in asks.iter().enumerate() {
            all.push(self.asked(ask, frames[index], &names[index], with_twins(asks, &names, index), deadline).await?);
        }
        // All at once: what goes to one server goes with one write, and in this order.
        let said = match all.as_slice() {
            [one] => vec![self.ask(one, deadline).await],
            all => join(all.iter().map(|one| self.ask(one, deadline))).await,
        };
        let mut denied: Option<Denied> = None;
        let mut failed = None;
        let mut told: SmallVec<[Option<Told>; 4]> = SmallVec::new();
        for (index, (one, said)) in all.iter().zip(said).enumerate() {
            let one_told = match said.and_then(|said| self.told(&all[..index], one, said)) {
                Ok(told) => told,
                Err(error) => {
                    failed = Some(error);
                    told.push(None);
                    continue;
                }
            };
            if let Some(retry_at) = one_told.assessment.retry_at
                && one.ask.enforce
            {
                let refused = Denied { standing: one_told.standing.clone(), retry_after: retry_at.since(one.now) };
                // Others may have reserved what they then give back, so that it is not believed for long. Until the window
                // ends by this instance's own clock at most.
                let longest = REFUNDABLE.min(one.window.end.since(one.now));
                self.refusals.learn(one.ask, &names[index], one.cost, refused.clone(), (asked_at, mark), longest);
                // The longest wait is told, of several the first ask's: whoever waits that long is admitted by all.
                if denied.as_ref().is_none_or(|held| held.retry_after < refused.retry_after) {
                    denied = Some(refused);
                }
            }
            told.push(Some(one_told));
        }
        let admitted = denied.is_none() && failed.is_none();
        let (mut receipts, mut standings) = (Receipts::new(), Standings::new());
        for (one, told) in all.iter().zip(told) {
            // Whoever did not answer may have counted it; then it stays, as nobody can know.
            let Some(told) = told else { continue };
            if one.reserves && admitted && told.assessment.retry_at.is_none() {
                receipts.push(Receipt::shared(one.ask, one.now, &one.item));
            } else if one.reserves {
                // Reserved in vain.
                one.host.lane.tell(Command::Release { key: one.item.clone(), cost: one.ask.cost });
            }
            standings.push(told.standing);
        }
        match (denied, failed) {
            (Some(denied), _) => Ok(Err(denied)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Ok(Charge::new(receipts, standings))),
        }
    }

    pub(super) async fn peek(&self, ask: &Ask<'_>) -> Result<Standing, StoreError> {
        let (name, frame) = (frame::name(&ask.key, ask.limit), self.frame(ask)?);
        let deadline = Instant::now() + self.timeout;
        let one = Asked { reserves: false, ..self.asked(ask, frame, &name, ask.cost, deadline).await? };
        let said = self.ask(&one, deadline).await?;
        Ok(self.told(&[], &one, said)?.standing)
    }

    async fn asked<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        frame: Frame,
        name: &str,
        cost: u64,
        deadline: Instant,
    ) -> Result<Asked<'a>, StoreError> {
        let host = &self.hosts[place(&self.hosts, name)];
        let now = self.now(host, deadline).await?;
        let window = frame.around(now);
        let reserves = ask.cost > 0 && cost <= ask.rate.capacity();
        let (block, item) = (frame::block(name), frame.item(name, window));
        Ok(Asked { ask, host, block, item, window, now, cost, reserves })
    }

    /// Asks for a count, and whether the key is blocked: both go out with one write.
    async fn ask(&self, one: &Asked<'_>, deadline: Instant) -> Result<Heard, StoreError> {
        let key = one.item.clone();
        let command = if one.reserves {
            let expiry = self.expiry(one.now, one.window.end).ok_or_else(|| one.host.no_word_for_the_end())?;
            Command::Reserve { key, cost: one.ask.cost, expiry }
        } else {
            Command::Look { key }
        };
        let lane = &one.host.lane;
        let block = Command::Look { key: one.block.clone() };
        let (block, count) = tokio::join!(biased; lane.call(block, deadline), lane.call(command, deadline));
        // What was reserved is given back, whatever is wrong with the block.
        let count = count?.or_error(&one.host.name)?;
        let block = block.and_then(|said| said.or_error(&one.host.name)).and_then(|said| one.host.moment(&said));
        Ok(Heard { count, block })
    }

    pub(super) fn expiry(&self, now: Timestamp, end: Timestamp) -> Option<i32> {
        // A time that a test has set does not flow, and is not the server's.
        if self.moved().is_some() { Some(3600) } else { frame::expiry(now, end) }
    }

    /// What an answer says of an ask; those before it count where they have the same item.
    fn told(&self, before: &[Asked<'_>], one: &Asked<'_>, heard: Heard) -> Result<Told, StoreError> {
        let counted = match heard.count {
            Said::Absent => 0,
            // A count that became shorter keeps its length by blanks.
            Said::Value(text) => text.trim_end().parse::<u64>().map_err(|_| StoreError::Foreign {
                store: one.host.name.clone(),
                answer: format!("{:?} is no number", text.chars().take(20).collect::<String>()).into(),
            })?,
            said => return Err(one.host.protocol(&format!("{said:?}"))),
        };
        if one.reserves && counted < one.ask.cost {
            // A number of ours does not come near the largest there is.
            return Err(StoreError::Foreign { store: one.host.name.clone(), answer: "a count that overflows".into() });
        }
        let ours = before.iter().chain([one]).filter(|other| other.reserves && other.item == one.item);
        let used = counted.saturating_sub(ours.map(|other| other.ask.cost).sum());
        let (start, end) = (one.window.start.as_nanos(), one.window.end.as_nanos());
        let rate = one.ask.rate;
        let cell =
            Cell::of(rate.algorithm(), if rate.calendar().is_some() { [start, end, used] } else { [start, used, 0] });
        let cell = cell.ok_or_else(|| one.host.protocol("an algorithm that it does not carry"))?;
        let mut assessment = match heard.block? {
            Some(until) if until > one.now => Assessment::blocked(until),
            _ => cell.assess(rate, one.cost, one.now),
        };
        // Another instance may take the server's time for a moment earlier. A time that a test has set is the same for all.
        let grain = if self.moved().is_some() { Duration::ZERO } else { GRAIN };
        assessment.retry_at = assessment.retry_at.map(|at| if at == Timestamp::MAX { at } else { at.after(grain) });
        let standing = Standing::new(one.ask, &assessment, one.now);
        Ok(Told { assessment, standing })
    }

    pub(super) fn give_back(&self, receipt: &Receipt) {
        let Some(item) = receipt.shared.as_deref().filter(|_| receipt.cost > 0) else { return };
        let Some(name) = frame::counted(item) else { return };
        self.refusals.forget(name);
        let host = &self.hosts[place(&self.hosts, name)];
        host.lane.tell(Command::Release { key: item.into(), cost: receipt.cost });
    }

    pub(super) async fn ping(&self) -> Result<Identity, StoreError> {
        let (asked, deadline) = (std::time::Instant::now(), Instant::now() + self.timeout);
        let resets = &self.hosts[place(&self.hosts, RESETS)];
        // At once, as the time for all of them is that of one.
        let (marks, resets) = tokio::join!(join(self.hosts.iter().map(|host| epoch(host, deadline))), async {
            resets.lane.call(Command::Look { key: RESETS.into() }, deadline).await?.or_error(&resets.name)
        });
        let marks = marks.into_iter().collect::<Result<Vec<String>, _>>()?;
        let resets = match resets? {
            Said::Value(mark) => mark,
            _ => String::new(),
        };
        let identity = marks.join(", ");
        // A store that lost its data refuses nobody any more, as after a reset of everything.
        self.refusals.resets(&format!("{identity} {resets}"), asked);
        Ok(Identity::new(identity))
    }

    /// The windows of an ask's rate, which are remembered by the limit's name.
    pub(super) fn frame(&self, ask: &Ask<'_>) -> Result<Frame, StoreError> {
        self.introduce(ask.limit, ask.rate)
            .map_err(|why| StoreError::NotCarried { store: self.hosts[0].name.clone(), cause: why.to_string().into() })
    }

    pub(super) fn introduce(&self, limit: &str, rate: &Rate) -> Result<Frame, NotCarried> {
        let frame = Frame::of(rate)?;
        if self.frames.read().get(limit).is_some_and(|held| held.contains(&frame)) {
            return Ok(frame);
        }
        let mut frames = self.frames.write();
        let held = frames.entry(limit.into()).or_default();
        if !held.contains(&frame) {
            if held.len() == FRAMES {
                held.remove(0);
            }
            held.push(frame);
        }
        Ok(frame)
    }

    /// What time it is at a server.
    pub(super) async fn now(&self, host: &Host, deadline: Instant) -> Result<Timestamp, StoreError> {
        match self.moved() {
            Some(moved) => Ok(moved),
            None => host.now(deadline).await,
        }
    }

    pub(super) fn moved(&self) -> Option<Timestamp> {
        if cfg!(feature = "test-clock") { *self.moved.read() } else { None }
    }
}

/// Who a server is: its run, and the mark that it bears from when it is first used until it loses its data. Where there is none
/// it is made; of several who make one, the first does.
async fn epoch(host: &Host, deadline: Instant) -> Result<String, StoreError> {
    let value = format!("{:016x}", RandomState::new().hash_one(EPOCH));
    let (added, held, run) = tokio::join!(
        host.lane.call(Command::Add { key: EPOCH, value, expiry: DAY }, deadline),
        host.lane.call(Command::Renew { key: EPOCH, expiry: DAY }, deadline),
        host.pulse(deadline),
    );
    added?.or_error(&host.name)?;
    let run = run?;
    match held?.or_error(&host.name)? {
        Said::Value(mark) => Ok(format!("{mark} {} {}", run.pid, run.since)),
        said => Err(host.protocol(&format!("{said:?}"))),
    }
}

//! The scripts that run in Redis, the words they are given and the answers they give. What they decide is what
//! `crate::algorithm` decides; what is told of it, remaining units and moments, is computed here by the algorithms
//! themselves from the cell that the script saw.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use parking_lot::Mutex;
use portcullis_core::Timestamp;

use super::wire::{Value, Words};
use crate::algorithm::{Assessment, Cell, LogSummary};
use crate::calendar::{Calendar, Stretch};
use crate::limiter::{Ask, Receipt};
use crate::quota::Quota;
use crate::rate::{Algorithm, Rate};
use crate::store::{Identity, Pulse};

/// A script and the name by which Redis keeps it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: String,
    pub(super) sha: String,
}

/// What begins every script: the moment, from the server's clock, in microseconds.
#[cfg(not(feature = "test-clock"))]
const NOW: &str = "local t = redis.call('TIME')\nlocal now, grace = t[1] * 1000000 + t[2], 0\n";
/// A test moves the time (`+5000`) or sets it (`=5000`); keys outlive a time that is set, which does not flow.
#[cfg(feature = "test-clock")]
const NOW: &str = "local t = redis.call('TIME')\nlocal now, grace = t[1] * 1000000 + t[2], 0\n\
                   local moved = table.remove(ARGV, 1)\n\
                   if string.sub(moved, 1, 1) == '=' then now, grace = tonumber(string.sub(moved, 2)), 60000\n\
                   else now = now + tonumber(moved) end\n";

/// How a sliding window counter is weighed.
const WEIGHS: &str = include_str!("weighs.lua");

pub(super) static CHARGE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[WEIGHS, include_str!("charge.lua")].concat()));
pub(super) static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_back.lua")));
/// Tells the mark by which a store knows itself: see the script.
pub(super) static PULSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("pulse.lua")));
/// Charges, if the store still bears the mark that the caller goes by.
pub(super) static TAKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[include_str!("take.lua"), WEIGHS, include_str!("charge.lua")].concat()));
pub(super) static REWARD: LazyLock<Script> =
    LazyLock::new(|| Script::new(&[WEIGHS, include_str!("reward.lua")].concat()));
pub(super) static BLOCK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("block.lua")));

impl Script {
    fn new(body: &str) -> Self {
        Self::of(format!("{NOW}{body}"))
    }

    fn of(text: String) -> Self {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }
}

/// What an answer says of a key that an operator has blocked, in the place of whether the ask fits.
const BLOCKED: u64 = 2;

/// What an answer says of one ask.
pub(super) struct Said {
    pub(super) fits: bool,
    pub(super) assessment: Assessment,
    /// The moment by which the cell judged.
    pub(super) at: Timestamp,
}

/// An answer to a charge: whether it was made, the server's moment, and what is said of each ask.
pub(super) struct Verdict {
    pub(super) admitted: bool,
    pub(super) now: Timestamp,
    pub(super) said: Vec<Said>,
}

/// What is done with asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum How<'a> {
    /// Nothing is charged.
    Look,
    Charge,
    /// Charged if the key of the mark still holds this.
    Take {
        key: &'a str,
        mark: &'a str,
    },
}

/// The words of a charge, or of a look that charges nothing: how many keys, the keys, and what is asked of each. `around`
/// is about the server's time, for calendars.
pub(super) fn charge_words(asks: &[&Ask<'_>], names: &[&str], how: How<'_>, around: Timestamp, moved: &str) -> Words {
    let mut words = Words::with_capacity(names.iter().map(|name| name.len() + 160).sum());
    words.push_number(asks.len() as u64 + u64::from(matches!(how, How::Take { .. })));
    names.iter().for_each(|name| words.push(name));
    if let How::Take { key, .. } = how {
        words.push(key);
    }
    push_moved(&mut words, moved);
    if let How::Take { mark, .. } = how {
        words.push(mark);
    }
    words.push(if matches!(how, How::Look) { "p" } else { "c" });
    for ask in asks {
        let rate = ask.rate;
        words.push(letter(rate.algorithm()));
        words.push(if ask.enforce { "1" } else { "0" });
        // A cost over the capacity is as impossible as one that is just over it, and small enough to reckon with.
        let cost = ask.cost.min(rate.capacity() + 1);
        let window = window_micros(rate);
        if rate.algorithm().has_burst() {
            let (cost, depth) = (cost * rate.interval_nanos(), rate.depth_nanos());
            for number in [cost / 1000, depth / 1000, window, cost % 1000, depth % 1000] {
                words.push_number(number);
            }
        } else {
            for number in [cost, rate.quota().count(), window] {
                words.push_number(number);
            }
        }
        if let Some(calendar) = rate.calendar() {
            periods(calendar, around).into_iter().for_each(|moment| words.push_number(moment));
        }
    }
    words
}

/// The words that give a receipt back.
pub(super) fn give_back_words(receipt: &Receipt, name: &str, moved: &str) -> Words {
    let mut words = Words::with_capacity(name.len() + 160);
    words.push("1");
    words.push(name);
    push_moved(&mut words, moved);
    let rate = &receipt.rate;
    words.push(letter(rate.algorithm()));
    let at = receipt.at.as_nanos() / 1000;
    if rate.algorithm().has_burst() {
        let (cost, depth) = (receipt.cost * rate.interval_nanos(), rate.depth_nanos());
        for number in [cost / 1000, at, window_micros(rate), cost % 1000, depth / 1000, depth % 1000] {
            words.push_number(number);
        }
    } else {
        for number in [receipt.cost, at, window_micros(rate)] {
            words.push_number(number);
        }
    }
    words
}

/// The words that ask for the mark under `key`, or make one of this name.
pub(super) fn pulse_words(key: &str, name: &str, known: &str, alone: bool, moved: &str) -> Words {
    let mut words = Words::of(&["1", key]);
    push_moved(&mut words, moved);
    [name, known, if alone { "1" } else { "0" }].into_iter().for_each(|word| words.push(word));
    words
}

/// A mark, and what it and the server say: `None` if it is none.
pub(super) fn read_pulse(answer: &Value) -> Option<(&str, Pulse)> {
    let [mark, now] = answer.array()? else { return None };
    let (mark, now) = (mark.text()?, micros(now.text()?.parse().ok()?));
    let mut words = mark.split(' ').skip(1);
    let since = micros(words.next()?.parse().ok()?);
    let lost = match words.next()? {
        "0" | "-" => None,
        moment => Some(micros(moment.parse().ok()?)),
    };
    Some((mark, Pulse { mark: Identity::new(mark), at: now, since, lost, resets: Box::default() }))
}

/// The words that give units back, as many as the ask costs.
pub(super) fn reward_words(ask: &Ask<'_>, name: &str, moved: &str) -> Words {
    let mut words = Words::with_capacity(name.len() + 160);
    words.push("1");
    words.push(name);
    push_moved(&mut words, moved);
    let rate = ask.rate;
    words.push(letter(rate.algorithm()));
    // Beyond the capacity there is nothing that could lack.
    let units = ask.cost.min(rate.capacity());
    if rate.algorithm().has_burst() {
        let (cost, depth) = (units * rate.interval_nanos(), rate.depth_nanos());
        for number in [cost / 1000, depth / 1000, window_micros(rate), cost % 1000, depth % 1000] {
            words.push_number(number);
        }
    } else {
        for number in [units, rate.quota().count(), window_micros(rate)] {
            words.push_number(number);
        }
    }
    words
}

/// The words that block a key for so long; no time lifts a block.
pub(super) fn block_words(micros: u64, name: &str, moved: &str) -> Words {
    let mut words = Words::with_capacity(name.len() + 80);
    words.push("1");
    words.push(name);
    push_moved(&mut words, moved);
    words.push_number(micros);
    words
}

fn push_moved(words: &mut Words, moved: &str) {
    if cfg!(feature = "test-clock") {
        words.push(moved);
    }
}

/// Reads the answer to a charge; `None` if it is not one.
pub(super) fn read(asks: &[&Ask<'_>], names: &[&str], answer: &Value) -> Option<Verdict> {
    let mut numbers = answer.array()?.iter();
    let mut next = || numbers.by_ref().next()?.int().and_then(|number| u64::try_from(number).ok());
    let admitted = next()? == 1;
    let now = micros(next()?);
    let mut said = Vec::with_capacity(asks.len());
    for (index, ask) in asks.iter().enumerate() {
        // What the same key was asked before in this stack counts as taken, as the script has it.
        let twins = asks[..index].iter().zip(names).filter(|(_, name)| **name == names[index]);
        let cost = twins.fold(ask.cost, |sum, (earlier, _)| sum.saturating_add(earlier.cost));
        let rate = in_micros(ask.rate);
        let told = next()?;
        let fits = told == 1;
        let (assessment, at) = match rate.algorithm() {
            algorithm if told == BLOCKED => {
                let until = micros(next()?);
                for _ in 0..if algorithm == Algorithm::SlidingWindowLog { 3 } else { 2 } {
                    next()?;
                }
                (Assessment::blocked(until), now)
            }
            Algorithm::SlidingWindowLog => {
                let at = micros(next()?);
                let used = next()?;
                let moment = |number| Some(micros(number).as_nanos()).filter(|nanos| *nanos > 0);
                let (newest, last_to_leave) = (moment(next()?), moment(next()?));
                let mut assessment = LogSummary { used, newest, last_to_leave }.assess(&rate, cost, at);
                if cost > rate.capacity() {
                    assessment.retry_at = Some(Timestamp::MAX);
                }
                (assessment, at)
            }
            algorithm => {
                let [a, b, c] = [next()?, next()?, next()?];
                let nanos = |number| micros(number).as_nanos();
                let numbers = match algorithm {
                    Algorithm::TokenBucket | Algorithm::LeakyBucket => [nanos(a).saturating_add(b), nanos(c), 0],
                    Algorithm::Calendar => [nanos(a), nanos(b), c],
                    _ => [nanos(a), b, c],
                };
                let mut cell = Cell::of(algorithm, numbers)?;
                let at = cell.advance(&rate, now);
                (cell.assess(&rate, cost, at), at)
            }
        };
        let retry_at = match (fits, assessment.retry_at) {
            (true, _) => None,
            // The server tells whole microseconds, rounded down: a fraction more must have passed.
            (false, Some(at)) => {
                Some(Timestamp::from_nanos(at.as_nanos().checked_next_multiple_of(1000).unwrap_or(u64::MAX)))
            }
            // The script has decided. That the cell says otherwise here can only be a calendar whose rules were changed in
            // between; the next question is by the same rules.
            (false, None) => Some(now.after(Duration::from_secs(1))),
        };
        said.push(Said { fits, assessment: Assessment { retry_at, ..assessment }, at });
    }
    // An answer to other asks would have another length.
    numbers.next().is_none().then_some(Verdict { admitted, now, said })
}

/// Where the period around a moment begins and ends, and the ones beside it: four boundaries in microseconds. They are kept,
/// one set for each calendar, as dates are dear.
fn periods(calendar: Calendar, around: Timestamp) -> [u64; 4] {
    static KEPT: Mutex<Vec<(Calendar, Stretch, [u64; 4])>> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock();
    let held = kept.iter().position(|(held, ..)| *held == calendar);
    if let Some((_, present, boundaries)) = held.map(|index| kept[index])
        && present.contains(around)
    {
        return boundaries;
    }
    let present = calendar.around(around);
    let before = calendar.around(present.start.before(Duration::from_nanos(1)));
    let boundaries = [before.start, present.start, present.end, calendar.around(present.end).end];
    // Below 2^52 a number is exact in the script; that is the year 2112.
    let boundaries = boundaries.map(|moment| moment.as_nanos().div_ceil(1000).min(1 << 52));
    match held {
        Some(index) => kept[index] = (calendar, present, boundaries),
        None => kept.push((calendar, present, boundaries)),
    }
    boundaries
}

const fn letter(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::TokenBucket => "t",
        Algorithm::LeakyBucket => "k",
        Algorithm::FixedWindow => "f",
        Algorithm::SlidingWindowCounter => "c",
        Algorithm::SlidingWindowLog => "l",
        Algorithm::Calendar => "m",
    }
}

/// The window as the script has it: in microseconds, rounded up, and of a calendar the longest that a period may be.
fn window_micros(rate: &Rate) -> u64 {
    let day = if rate.calendar().is_some() { 86_400_000_000 } else { 0 };
    rate.quota().window_nanos().div_ceil(1000) + day
}

/// The rate with its window rounded up to microseconds, as the script has it. Windows that people write are rounded
/// already; buckets reckon with the window for nothing that is told.
fn in_micros(rate: &Rate) -> Rate {
    let nanos = rate.quota().window_nanos();
    if nanos.is_multiple_of(1000) || rate.algorithm().has_burst() {
        return *rate;
    }
    let window = Duration::from_micros(nanos.div_ceil(1000));
    let rounded = Quota::new(rate.quota().count(), window).map(|quota| Rate::new(quota, rate.algorithm(), None));
    rounded.ok().and_then(Result::ok).unwrap_or(*rate)
}

fn micros(micros: u64) -> Timestamp {
    Timestamp::from_nanos(micros.saturating_mul(1000))
}

/// A moment that a script answered.
pub(super) fn moment(micros_told: i64) -> Option<Timestamp> {
    u64::try_from(micros_told).ok().map(micros)
}

/// The server's moment out of the error by which a script says that a calendar's periods are not around it.
pub(super) fn clock_of(error: &str) -> Option<Timestamp> {
    error.strip_prefix("CLOCK ")?.split(' ').next()?.parse().ok().map(micros)
}

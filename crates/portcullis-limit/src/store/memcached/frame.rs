//! What a count counts in: which window, and under what name it lies in memcached.

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::Timestamp;

use crate::calendar::{Calendar, Stretch};
use crate::key::Key;
use crate::rate::{Algorithm, Rate};

/// Keys of memcached have 250 bytes at most; what names the window takes some of them.
const LONGEST_NAME: usize = 190;
const SECOND: u64 = 1_000_000_000;
/// Up to here a number is seconds from now, beyond it a moment; so says memcached.
const LONGEST_RELATIVE: u64 = 30 * 86_400;
/// How much longer than its window an item lives, in seconds. Memcached moves its time once a second, and at times a second late;
/// what it calls the present may be almost two seconds ago.
const MARGIN: u64 = 3;

/// Why memcached does not carry a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCarried {
    /// An algorithm that is more than one count.
    #[error(
        "memcached cannot carry {0} exactly, as all that it does at once is to count one number up or down; it carries \
         fixed-window and calendar"
    )]
    Algorithm(Algorithm),
    /// A window shorter than what it tells of its time.
    #[error("memcached tells its time in whole seconds, so that a window has at least one")]
    Window,
}

/// The windows of a rate: one after the other, each with a count of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Multiples of so many nanoseconds since the epoch.
    Fixed(u64),
    Calendar(Calendar),
}

impl Frame {
    /// Those of a rate.
    ///
    /// A fixed window and a period of the calendar are one number each, which only grows by what is asked and shrinks by
    /// what is given back; what the window is stands in the item's name, so that no clock can mix two of them. Every other
    /// algorithm decides by more than one number, or by one and the present, and memcached can do that only by reading,
    /// deciding and writing if nobody else did: under load nobody can say after how many attempts.
    pub(super) fn of(rate: &Rate) -> Result<Self, NotCarried> {
        match (rate.algorithm(), rate.calendar()) {
            (Algorithm::Calendar, Some(calendar)) => Ok(Self::Calendar(calendar)),
            (Algorithm::FixedWindow, _) if rate.quota().window_nanos() < SECOND => Err(NotCarried::Window),
            (Algorithm::FixedWindow, _) => Ok(Self::Fixed(rate.quota().window_nanos())),
            (algorithm, _) => Err(NotCarried::Algorithm(algorithm)),
        }
    }

    /// The window around a moment.
    pub(super) fn around(self, at: Timestamp) -> Stretch {
        match self {
            Self::Calendar(calendar) => calendar.around(at),
            Self::Fixed(window) => {
                let start = at.as_nanos() - at.as_nanos() % window;
                let moment = Timestamp::from_nanos;
                Stretch { start: moment(start), end: moment(start.saturating_add(window)) }
            }
        }
    }

    /// The name of a count: what it counts, and in which window, as `rl:api:203.0.113.7;fixed-window;60;1795219200`.
    pub(super) fn item(self, name: &str, window: Stretch) -> Box<str> {
        let start = seconds(window.start.as_nanos());
        match self {
            Self::Fixed(nanos) => format!("{name};fixed-window;{};{start}", seconds(nanos)).into(),
            Self::Calendar(calendar) => format!("{name};{};{start}", calendar.period()).into(),
        }
    }
}

/// Seconds, with a fraction where there is one.
fn seconds(nanos: u64) -> String {
    match nanos % SECOND {
        0 => (nanos / SECOND).to_string(),
        rest => format!("{}.{rest:09}", nanos / SECOND),
    }
}

/// What a key is known by here; a name that is too long for memcached by its digest. No name of ours has a `;` or a `#`.
pub(super) fn name(key: &Key, limit: &str) -> String {
    let name = key.name(limit);
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let digest = digest(&SHA256, name.as_bytes());
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("rl:#".to_owned()).chain(digits).collect()
}

/// The item by which a key is blocked: it holds until when.
pub(super) fn block(name: &str) -> Box<str> {
    format!("{name};blocked").into()
}

/// What is counted under the name of an item, without its window; `None` where that is no item of ours.
pub(super) fn counted(item: &str) -> Option<&str> {
    item.split_once(';').map(|(name, _)| name)
}

/// When an item of a window that ends at `end` runs out, as memcached is told it: never before the window ends. `None` where
/// memcached has no word for that moment: its moments end in January 2038.
pub(super) fn expiry(now: Timestamp, end: Timestamp) -> Option<i32> {
    let left = end.since(now).as_nanos().div_ceil(u128::from(SECOND));
    let left = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(MARGIN);
    let told = if left <= LONGEST_RELATIVE { left } else { (now.as_nanos() / SECOND).saturating_add(left) };
    i32::try_from(told).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::calendar::Period;

    fn rate(quota: &str, algorithm: Algorithm) -> Rate {
        Rate::new(quota.parse().unwrap(), algorithm, None).unwrap()
    }

    #[test]
    fn l2_only_what_one_count_can_say_is_carried() {
        for algorithm in Algorithm::ALL {
            let carried = matches!(algorithm, Algorithm::FixedWindow | Algorithm::Calendar);
            let frame = Frame::of(&rate("5 per day", algorithm));
            assert_eq!(frame.is_ok(), carried, "{algorithm}");
            let error = frame.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(carried || error.contains("it carries fixed-window and calendar"), "{error}");
        }
        assert_eq!(Frame::of(&rate("5 per 999ms", Algorithm::FixedWindow)), Err(NotCarried::Window));
        assert!(Frame::of(&rate("5 per second", Algorithm::FixedWindow)).is_ok());
    }

    #[test]
    fn l3_an_item_is_named_by_its_window_and_fits_into_memcached() {
        let at = Timestamp::from_secs(1_795_219_261);
        let item = |quota: &str, algorithm| {
            let frame = Frame::of(&rate(quota, algorithm)).unwrap();
            frame.item("rl:a:1.2.3.4", frame.around(at))
        };
        assert_eq!(&*item("5 per minute", Algorithm::FixedWindow), "rl:a:1.2.3.4;fixed-window;60;1795219260");
        assert_eq!(&*item("5 per 1500ms", Algorithm::FixedWindow), "rl:a:1.2.3.4;fixed-window;1.500000000;1795219260");
        assert_eq!(&*item("5 per month", Algorithm::Calendar), "rl:a:1.2.3.4;month;1793491200");
        assert_eq!(counted(&item("5 per month", Algorithm::Calendar)), Some("rl:a:1.2.3.4"));
        let mut key = Key::new(0);
        (0..9).for_each(|n| key.push_text('h', &format!("\u{7f}\r\n {}", n.to_string().repeat(40))));
        let long = name(&key, &"é".repeat(32));
        let frame = Frame::of(&rate("5 per 1500ms", Algorithm::FixedWindow)).unwrap();
        let item = frame.item(&long, frame.around(Timestamp::MAX));
        assert!(long.starts_with("rl:#") && item.len() <= 250, "{item}");
        assert!(item.bytes().all(|byte| byte.is_ascii_graphic()), "{item}");
        assert_ne!(long, name(&key, &"e".repeat(32)));
    }

    #[test]
    fn l3_an_item_lives_as_long_as_its_window_however_long_that_is() {
        let now = Timestamp::from_secs(1_795_219_200).after(Duration::from_millis(700));
        let day = Duration::from_secs(86_400);
        assert_eq!(expiry(now, now), Some(3));
        assert_eq!(expiry(now, now.after(Duration::from_millis(1))), Some(4));
        assert_eq!(expiry(now, now.after(day * 30 - Duration::from_secs(3))), Some(2_592_000));
        // A second more would be taken for a moment in 1970.
        assert_eq!(expiry(now, now.after(day * 30)), Some(1_795_219_200 + 2_592_003));
        let year = Frame::Calendar(Calendar::utc(Period::Year)).around(now);
        let told = expiry(now, year.end).unwrap();
        assert!(i64::from(told) >= (year.end.as_nanos() / SECOND) as i64, "{told}");
        // A moment beyond what memcached can say would be taken for one that has passed, and the limit would open.
        let late = Timestamp::from_secs(2_147_483_600);
        assert_eq!(expiry(late, late.after(day * 31)), None);
        assert_eq!(expiry(late, late.after(day)), Some(86_403));
    }
}

//! Periods as a wall calendar has them: real days, weeks, months and years of a time zone.

use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use parking_lot::{Mutex, RwLock};
use portcullis_core::Timestamp;

/// A period of the calendar. There is no hour: every zone's hours are as long as an hour, which a fixed window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight: 23 or 25 hours where clocks are changed.
    Day,
    /// From Monday to Sunday (ISO 8601).
    Week,
    /// From the first of a month to the next.
    Month,
    /// From the first of January to the next.
    Year,
}

/// A period in a time zone. Copied like a number: the same period of the same zone is kept once for the whole process, with
/// the zone's rules as they were when it was first named.
#[derive(Clone, Copy)]
pub struct Calendar(&'static Kept);

struct Kept {
    period: Period,
    zone: TimeZone,
    /// The zone's name as the database spells it.
    name: Box<str>,
    /// The stretch that was asked for last. Cells remember their own; this one is for the cells that are new.
    latest: RwLock<Stretch>,
}

/// One particular period: that month, that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment of the next one.
    pub end: Timestamp,
}

/// A name that the time-zone database does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such time zone; use a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"")]
pub struct UnknownTimeZone;

/// Every calendar that was ever named. They are never dropped, so that a rate can be copied; there are at most as many as
/// zones in the database, four times.
static KEPT: Mutex<Vec<&'static Kept>> = Mutex::new(Vec::new());

impl Calendar {
    /// The calendar of a time zone by its IANA name. The system's database is asked first, then the one that the crate
    /// brings along.
    ///
    /// # Errors
    /// [`UnknownTimeZone`]
    pub fn new(period: Period, zone: &str) -> Result<Self, UnknownTimeZone> {
        let zone = TimeZone::get(zone).map_err(|_| UnknownTimeZone)?;
        if zone.is_unknown() {
            return Err(UnknownTimeZone);
        }
        let name = zone.iana_name().ok_or(UnknownTimeZone)?.into();
        Ok(Self::keep(period, zone, name))
    }

    /// The calendar of UTC.
    #[must_use]
    pub fn utc(period: Period) -> Self {
        Self::keep(period, TimeZone::UTC, "UTC".into())
    }

    fn keep(period: Period, zone: TimeZone, name: Box<str>) -> Self {
        let mut kept = KEPT.lock();
        if let Some(held) = kept.iter().find(|held| held.period == period && held.name == name) {
            return Self(held);
        }
        let latest = RwLock::new(Stretch { start: Timestamp::EPOCH, end: Timestamp::EPOCH });
        let held: &'static Kept = Box::leak(Box::new(Kept { period, zone, name, latest }));
        kept.push(held);
        Self(held)
    }

    /// Which period it is.
    #[must_use]
    pub const fn period(self) -> Period {
        self.0.period
    }

    /// The zone's IANA name.
    #[must_use]
    pub const fn time_zone(self) -> &'static str {
        &self.0.name
    }

    /// The stretch that holds a moment. It is remembered: asking about the present again and again costs no more than a
    /// look.
    ///
    /// The answer depends on nothing but the calendar and the moment. A store whose clock is another's takes the stretch of
    /// its caller's clock, and those beside it (of `end`, and of the last moment before `start`).
    #[must_use]
    pub fn around(self, at: Timestamp) -> Stretch {
        let latest = *self.0.latest.read();
        if latest.contains(at) {
            return latest;
        }
        let stretch = self.compute(at);
        *self.0.latest.write() = stretch;
        stretch
    }

    /// Boundaries are the first moments of civil dates, in their order, so that stretches neither overlap nor leave gaps,
    /// whatever a zone does at midnight: skip it, live it twice, or leave out a whole day.
    fn compute(self, at: Timestamp) -> Stretch {
        let Kept { period, zone, .. } = self.0;
        let nanos = i128::from(at.as_nanos());
        // Every moment of ours, up to the year 2554, is one of jiff's.
        let Ok(moment) = jiff::Timestamp::from_nanosecond(nanos) else {
            return Stretch { start: Timestamp::EPOCH, end: Timestamp::MAX };
        };
        let mut first = period.first(zone.to_datetime(moment).date());
        let mut next = period.after(first);
        while self.begins(next) <= nanos {
            (first, next) = (next, period.after(next));
        }
        while self.begins(first) > nanos {
            (first, next) = (period.before(first), first);
        }
        let timestamp = |date| Timestamp::from_nanos(u64::try_from(self.begins(date).max(0)).unwrap_or(u64::MAX));
        Stretch { start: timestamp(first), end: timestamp(next) }
    }

    /// The first moment of a date, in nanoseconds since the epoch. A midnight that is skipped is the moment after the gap,
    /// one that comes twice is the first.
    fn begins(self, date: Date) -> i128 {
        self.0.zone.to_timestamp(date.at(0, 0, 0, 0)).map_or(i128::MAX, jiff::Timestamp::as_nanosecond)
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.0.period, self.0.name)
    }
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Calendar {}

impl Stretch {
    /// Whether a moment lies in it.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Period {
    /// The first date of the period that holds a date.
    fn first(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            Self::Week => date.saturating_sub(i64::from(date.weekday().since(Weekday::Monday)).days()),
            Self::Month => date.first_of_month(),
            Self::Year => date.first_of_year(),
        }
    }

    fn after(self, first: Date) -> Date {
        first.saturating_add(self.span())
    }

    fn before(self, first: Date) -> Date {
        first.saturating_sub(self.span())
    }

    fn span(self) -> Span {
        match self {
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
            Self::Year => 1.year(),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A moment by its RFC 3339 text.
    fn moment(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_nanos(u64::try_from(moment.as_nanosecond()).unwrap())
    }

    fn around(period: Period, zone: &str, at: &str) -> (String, String) {
        let stretch = Calendar::new(period, zone).unwrap().around(moment(at));
        (stretch.start.to_rfc3339(), stretch.end.to_rfc3339())
    }

    #[test]
    fn l1_periods_are_those_of_the_wall_calendar() {
        for (period, zone, at, start, end) in [
            // A leap February and a common one.
            (Period::Month, "UTC", "2028-02-29T23:59:59Z", "2028-02-01T00", "2028-03-01T00"),
            (Period::Month, "UTC", "2026-02-28T23:59:59Z", "2026-02-01T00", "2026-03-01T00"),
            (Period::Year, "UTC", "2028-12-31T00:00:00Z", "2028-01-01T00", "2029-01-01T00"),
            // Clocks go forward on the last Sunday of March and back on that of October.
            (Period::Month, "Europe/Berlin", "2026-03-31T21:59:59Z", "2026-02-28T23", "2026-03-31T22"),
            (Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23", "2026-03-29T22"),
            (Period::Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22", "2026-10-25T23"),
            (Period::Week, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-18T22", "2026-10-25T23"),
            // Far from Greenwich, the month is another one.
            (Period::Month, "Pacific/Kiritimati", "2026-10-31T10:00:00Z", "2026-10-31T10", "2026-11-30T10"),
            (Period::Month, "America/Los_Angeles", "2026-11-01T06:59:59Z", "2026-10-01T07", "2026-11-01T07"),
        ] {
            let (from, to) = around(period, zone, at);
            assert!(from.starts_with(start) && to.starts_with(end), "{period} of {at} in {zone}: {from} to {to}");
        }
    }

    #[test]
    fn l1_a_midnight_that_is_skipped_lived_twice_or_left_out_with_its_day_still_begins_one_day() {
        // Clocks in Cairo go from 00:00 to 01:00: the day begins at one.
        assert_eq!(around(Period::Day, "Africa/Cairo", "2026-04-24T12:00:00Z").0, "2026-04-23T22:00:00.000Z");
        // In Havana they go from 01:00 back to 00:00: the first midnight counts.
        let (start, end) = around(Period::Day, "America/Havana", "2026-11-01T05:30:00Z");
        assert_eq!((&*start, &*end), ("2026-11-01T04:00:00.000Z", "2026-11-02T05:00:00.000Z"));
        // In St. John's they went at 00:01 back to 23:01 of the day before: that day has ended all the same.
        let (start, end) = around(Period::Day, "America/St_Johns", "2006-10-29T03:00:00Z");
        assert_eq!((&*start, &*end), ("2006-10-29T02:30:00.000Z", "2006-10-30T03:30:00.000Z"));
        // Samoa left out the 30th of December 2011.
        let (start, end) = around(Period::Day, "Pacific/Apia", "2011-12-30T09:59:59Z");
        assert_eq!((&*start, &*end), ("2011-12-29T10:00:00.000Z", "2011-12-30T10:00:00.000Z"));
        let (start, end) = around(Period::Day, "Pacific/Apia", "2011-12-30T10:00:00Z");
        assert_eq!((&*start, &*end), ("2011-12-30T10:00:00.000Z", "2011-12-31T10:00:00.000Z"));
    }

    #[test]
    fn l1_a_calendar_is_kept_once_and_a_time_zone_that_is_none_is_told() {
        let calendar = Calendar::new(Period::Month, "europe/BERLIN").unwrap();
        assert_eq!(calendar, Calendar::new(Period::Month, "Europe/Berlin").unwrap());
        assert_ne!(calendar, Calendar::new(Period::Week, "Europe/Berlin").unwrap());
        assert_eq!(calendar.time_zone(), "Europe/Berlin");
        assert_eq!(Calendar::utc(Period::Day), Calendar::new(Period::Day, "UTC").unwrap());
        for wrong in ["Europe/Atlantis", "", "+02:00", "CET-1CEST", "../../etc/passwd", "Etc/Unknown"] {
            assert_eq!(Calendar::new(Period::Month, wrong), Err(UnknownTimeZone), "{wrong}");
        }
    }

    #[test]
    fn l1_the_ends_of_time_have_a_period_too() {
        for period in [Period::Day, Period::Week, Period::Month, Period::Year] {
            for zone in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
                let calendar = Calendar::new(period, zone).unwrap();
                let first = calendar.around(Timestamp::EPOCH);
                assert!(first.contains(Timestamp::EPOCH), "{first:?}");
                let last = calendar.around(Timestamp::MAX);
                assert!(last.start < Timestamp::MAX && last.end == Timestamp::MAX, "{last:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn l1_periods_neither_overlap_nor_leave_gaps(
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "Africa/Cairo", "America/Havana", "America/St_Johns", "Pacific/Apia",
                "Australia/Lord_Howe", "Asia/Beirut", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Kathmandu",
            ]),
            period in prop::sample::select(vec![Period::Day, Period::Week, Period::Month, Period::Year]),
            secs in 100_000_000_u64..4_000_000_000,
        ) {
            let calendar = Calendar::new(period, zone).unwrap();
            let at = Timestamp::from_secs(secs);
            let stretch = calendar.around(at);
            prop_assert!(stretch.contains(at));
            prop_assert_eq!(stretch.start.as_nanos() % 1_000_000_000, 0);
            let last = Timestamp::from_nanos(stretch.end.as_nanos() - 1);
            for inside in [stretch.start, last] {
                prop_assert_eq!(calendar.around(inside), stretch);
            }
            prop_assert_eq!(calendar.around(stretch.end).start, stretch.end);
            let before = calendar.around(Timestamp::from_nanos(stretch.start.as_nanos() - 1));
            prop_assert_eq!(before.end, stretch.start);
            let longest = match period { Period::Day => 26, Period::Week => 8 * 24, Period::Month => 32 * 24, Period::Year => 367 * 24 };
            prop_assert!(stretch.end.since(stretch.start).as_secs() <= longest * 3600, "{:?}", stretch);
        }
    }
}

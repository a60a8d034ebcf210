//! Which requests a limit goes on counting once their outcome is known.

use http::StatusCode;

use crate::gate::Outcome;

/// Which requests stay counted. All are charged first, so that parallel requests cannot slip through, and settled once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// Every admitted one.
    #[default]
    All,
    /// Those answered with a status of 400 or above.
    Failures,
    /// Those whose password, link or other credential was wrong: answered with 401 or 403, or told by the door to be so
    /// ([`Outcome::Denied`]). What breaks another rule guesses nothing.
    Denials,
    /// Those answered with a status below 400.
    Successes,
    /// Those answered with one of these status codes.
    Statuses(Statuses),
}

/// A set of status codes from 100 to 599.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Statuses([u64; 8]);

const FIRST: u16 = 100;
const LAST: u16 = 599;

impl Count {
    /// Whether a request that ended so stays counted.
    pub(crate) fn keeps(&self, outcome: Outcome) -> bool {
        let (status, denied) = match outcome {
            Outcome::NotForwarded => return false,
            Outcome::Answered(status) => (status, matches!(status.as_u16(), 401 | 403)),
            Outcome::Denied(status) => (status, true),
        };
        match self {
            Self::All => true,
            Self::Failures => status.as_u16() >= 400,
            Self::Denials => denied,
            Self::Successes => status.as_u16() < 400,
            Self::Statuses(listed) => listed.contains(status),
        }
    }

    /// Whether it counts what failed and nothing else.
    pub(crate) fn is_of_failures(&self) -> bool {
        match self {
            Self::All | Self::Successes => false,
            Self::Failures | Self::Denials => true,
            Self::Statuses(listed) => !listed.overlaps(FIRST, 399),
        }
    }
}

impl Statuses {
    /// Every code.
    #[must_use]
    pub fn all() -> Self {
        let mut all = Self::default();
        all.insert(FIRST, LAST);
        all
    }

    /// Adds the codes from one to another, both included; those that are none are left out.
    pub fn insert(&mut self, first: u16, last: u16) {
        for code in first.max(FIRST)..=last.min(LAST) {
            let (word, bit) = place(code);
            self.0[word] |= bit;
        }
    }

    /// Whether the code is in it. One beyond those that HTTP defines counts as 599, so that no upstream answers its way out
    /// of a limit.
    #[must_use]
    pub fn contains(&self, status: StatusCode) -> bool {
        let code = status.as_u16().min(LAST);
        self.overlaps(code, code)
    }

    /// Whether any code from one to another is in it.
    #[must_use]
    pub fn overlaps(&self, first: u16, last: u16) -> bool {
        (first.max(FIRST)..=last.min(LAST)).any(|code| {
            let (word, bit) = place(code);
            self.0[word] & bit != 0
        })
    }

    /// All codes that are not in it.
    #[must_use]
    pub fn complement(self) -> Self {
        let Self(all) = Self::all();
        let mut rest = self.0;
        rest.iter_mut().zip(all).for_each(|(word, all)| *word = all & !*word);
        Self(rest)
    }

    /// Runs of codes, each with its first and last.
    pub fn runs(&self) -> impl Iterator<Item = (u16, u16)> {
        let mut next = FIRST;
        std::iter::from_fn(move || {
            let first = (next..=LAST).find(|code| self.overlaps(*code, *code))?;
            let last = (first..=LAST).take_while(|code| self.overlaps(*code, *code)).last()?;
            next = last + 1;
            Some((first, last))
        })
    }
}

impl std::fmt::Display for Statuses {
    /// `401, 403, 500-599`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (first, last)) in self.runs().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Statuses({self})")
    }
}

/// Where a code's bit is.
const fn place(code: u16) -> (usize, u64) {
    let index = code - FIRST;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn l6_a_set_of_statuses_holds_what_was_put_in_and_nothing_else() {
        let mut set = Statuses::default();
        assert!((100..=999).all(|code| !set.contains(status(code))));
        set.insert(401, 401);
        set.insert(403, 403);
        set.insert(500, 599);
        for code in 100..=599 {
            let inside = code == 401 || code == 403 || code >= 500;
            assert_eq!(set.contains(status(code)), inside, "{code}");
            assert_eq!(set.complement().contains(status(code)), !inside, "{code}");
        }
        assert_eq!(set.to_string(), "401, 403, 500-599");
        assert_eq!(set.complement().to_string(), "100-400, 402, 404-499");
        assert_eq!(set.complement().complement(), set);
        assert_eq!(Statuses::all().complement(), Statuses::default());
        assert!(set.contains(status(999)), "a code that HTTP does not define is an error of the server's");
    }

    #[test]
    fn l6_only_failures_are_forgotten_with_a_new_password() {
        let of = |first, last| {
            let mut set = Statuses::default();
            set.insert(first, last);
            Count::Statuses(set).is_of_failures()
        };
        assert!(of(401, 401) && of(400, 599));
        assert!(!of(304, 404) && !of(200, 200));
    }
}

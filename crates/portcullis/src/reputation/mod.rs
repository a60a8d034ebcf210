//! What is known of an address by what has come from it: a score that offences raise and time lowers (L12).
//!
//! A bad name lowers what is allowed to requests that prove no identity, and does nothing else: many people share an
//! address, and whoever proves who they are is not answerable for their neighbours. For the same reason only what proves
//! no identity raises the score, and nothing that is well done lowers it: whoever has an account of their own could wash
//! their name with it.
//!
//! After [`Rules::half_life`] half of a score is left. It stops at twice [`Rules::bad`], so that from the last offence an
//! address is `bad` for one half-life at most, and anything but `good` for `log2(2 · bad / suspect)` of them.

mod at_gate;
mod table;

use std::net::IpAddr;
use std::time::Duration;

pub(crate) use at_gate::is_of_another_site;
use ipnet::IpNet;
use portcullis_core::{Timestamp, unmapped};
use portcullis_limit::Rate;
pub(crate) use table::Reputation;
pub use table::{KnownAddress, ReputationFigures};

/// How an address is thought of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing, or little, speaks against it.
    #[default]
    Good,
    /// Its score is at [`Rules::suspect`] or above.
    Suspect,
    /// Its score is at [`Rules::bad`] or above.
    Bad,
}

impl Class {
    /// Its name in configurations and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspect => "suspect",
            Self::Bad => "bad",
        }
    }
}

/// What raises a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// A wrong credential: a token that never was one, a wrong password. A token that was good once is no offence, and a
    /// cookie that is not good counts as none at all: a browser sends it by itself.
    Denied,
    /// A request that can be read in two ways: a path that leaves its folder, a head that breaks HTTP's rules. Where a browser
    /// says that another site's page made it ask, it weighs as [`Offence::Unproven`].
    Hostile,
    /// Asking for what is not there. Where a browser says that another site's page made it ask, it weighs as
    /// [`Offence::Unproven`].
    Missing,
    /// Being refused by a limit, or while the address is blocked.
    Refused,
    /// Asking without any credential for what needs one.
    Unproven,
}

/// How much each offence weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Of [`Offence::Denied`] (20).
    pub denied: u16,
    /// Of [`Offence::Hostile`] (50).
    pub hostile: u16,
    /// Of [`Offence::Missing`] (5).
    pub missing: u16,
    /// Of [`Offence::Refused`] (2).
    pub refused: u16,
    /// Of [`Offence::Unproven`] (1).
    pub unproven: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self { denied: 20, hostile: 50, missing: 5, refused: 2, unproven: 1 }
    }
}

impl Weights {
    const fn of(self, offence: Offence) -> u16 {
        match offence {
            Offence::Denied => self.denied,
            Offence::Hostile => self.hostile,
            Offence::Missing => self.missing,
            Offence::Refused => self.refused,
            Offence::Unproven => self.unproven,
        }
    }
}

/// How addresses are judged.
#[derive(Clone, Debug)]
pub struct Rules {
    /// After how long half of a score is left (10 min).
    pub half_life: Duration,
    /// From which score on an address is suspect (100).
    pub suspect: u16,
    /// From which score on it is bad (300); not below `suspect`.
    pub bad: u16,
    /// How long an address counts as challenged (5 min).
    pub challenged_for: Duration,
    /// How much each offence weighs.
    pub weights: Weights,
    /// Networks of which nothing is remembered.
    pub trusted: Vec<IpNet>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            half_life: Duration::from_secs(600),
            suspect: 100,
            bad: 300,
            challenged_for: Duration::from_secs(300),
            weights: Weights::default(),
            trusted: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether nothing is remembered of the address.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = unmapped(address);
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// No score is higher.
    #[must_use]
    pub fn highest(&self) -> f32 {
        2.0 * f32::from(self.bad)
    }

    /// What is left of a score after a time.
    #[must_use]
    pub fn decayed(&self, score: f32, after: Duration) -> f32 {
        score * (-after.as_secs_f32() / self.half_life.as_secs_f32()).exp2()
    }

    /// The class of a score.
    #[must_use]
    pub fn class(&self, score: f32) -> Class {
        if score >= f32::from(self.bad) {
            Class::Bad
        } else if score >= f32::from(self.suspect) {
            Class::Suspect
        } else {
            Class::Good
        }
    }
}

/// What is thought of an address at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Repute {
    /// Its score.
    pub score: f32,
    /// What follows from the score.
    pub class: Class,
    /// Until when it counts as challenged; `None` where it does not.
    pub challenged_until: Option<Timestamp>,
}

/// A rate for each class. All have one window: a key is counted in one cell whatever the class of the moment, and a cell
/// that is read by windows of several lengths would begin anew with each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByRepute {
    /// For addresses of which nothing bad is known, and for whoever proves an identity.
    pub good: Rate,
    /// For suspect ones.
    pub suspect: Rate,
    /// For bad ones.
    pub bad: Rate,
    /// For those that were challenged, unless their class allows less.
    pub challenged: Rate,
}

impl ByRepute {
    /// The rate that an address of this repute is held to.
    #[must_use]
    pub fn rate(&self, repute: &Repute) -> &Rate {
        let by_class = match repute.class {
            Class::Good => &self.good,
            Class::Suspect => &self.suspect,
            Class::Bad => &self.bad,
        };
        let lower = self.challenged.quota().count() < by_class.quota().count();
        if lower && repute.challenged_until.is_some() { &self.challenged } else { by_class }
    }

    /// All of them, with their names in a configuration.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, &Rate); 4] {
        [("good", &self.good), ("suspect", &self.suspect), ("bad", &self.bad), ("challenged", &self.challenged)]
    }
}

//! One limit of a layer.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, HeaderMap, StatusCode};

use super::by::By;
use crate::outage::Outage;
use crate::rate::{Rate, RateError};

/// A limit: its name, how much it allows, by what it counts, and what it does about those who want more.
///
/// As it is made it counts every request by its client's address, takes one unit for each, refuses what is over, and goes on
/// by this process's memory while a shared store is away.
///
/// ```
/// use portcullis_limit::tower::{By, Limit};
/// use portcullis_limit::{Algorithm, Outage, Rate};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rate = Rate::new("5 per 15m".parse()?, Algorithm::SlidingWindowLog, None)?;
/// let login = Limit::new("login", rate)
///     .by(By::address())
///     .count_failures()
///     .outage(Outage::Local)
///     .message("Too many login attempts. Try again in {minutes} minutes.");
/// # assert_eq!(login.name(), "login");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a limit counts nothing until it is added to a layer"]
pub struct Limit {
    pub(super) name: Arc<str>,
    pub(super) rate: Rate,
    pub(super) parts: Vec<By>,
    pub(super) enforce: bool,
    pub(super) outage: Outage,
    pub(super) lease: bool,
    pub(super) message: Option<Arc<str>>,
    pub(super) cost: u64,
    cost_of: Option<Read<u64>>,
    cost_of_answer: Option<Weigh>,
    rate_of: Option<Read<Option<Rate>>>,
    applies: Option<Read<bool>>,
    counts: Option<Judge>,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AnswerHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The extensions.
    pub extensions: &'a Extensions,
}

/// Reads something off a request's head.
type Read<T> = Arc<dyn Fn(&Parts) -> T + Send + Sync>;
/// What a request cost by its answer.
type Weigh = Arc<dyn Fn(&AnswerHead<'_>) -> Option<u64> + Send + Sync>;
/// Whether an answer of this status stays counted.
type Judge = Arc<dyn Fn(StatusCode) -> bool + Send + Sync>;

impl Limit {
    /// A limit of this rate for each client address.
    ///
    /// The name is what the counts are kept under, in a store over a network too (`rl:<name>:…`), and what clients read in
    /// the `RateLimit` header.
    pub fn new(name: impl Into<Arc<str>>, rate: Rate) -> Self {
        Self {
            name: name.into(),
            rate,
            parts: Vec::new(),
            enforce: true,
            outage: Outage::Local,
            lease: false,
            message: None,
            cost: 1,
            cost_of: None,
            cost_of_answer: None,
            rate_of: None,
            applies: None,
            counts: None,
        }
    }

    /// Counts by this. Said several times, it counts by the combination: `by(By::address()).by(By::extension::<UserId>())`
    /// allows the rate to each user at each address.
    pub fn by(mut self, part: By) -> Self {
        self.parts.push(part);
        self
    }

    /// Applies only to requests of which this is true, such as those of one method. Browsers ask with `OPTIONS` before they
    /// send what comes from another site; a limit that is not to count that says so here.
    pub fn when(mut self, applies: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.applies = Some(Arc::new(applies));
        self
    }

    /// Takes so many units for each request. What costs more than the rate's [`Rate::capacity`] is never admitted.
    pub const fn cost(mut self, units: u64) -> Self {
        self.cost = units;
        self
    }

    /// Takes as many units as the function says; 0 looks whether there is room for more, and takes nothing.
    pub fn cost_of(mut self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.cost_of = Some(Arc::new(cost));
        self
    }

    /// Takes what the answer says it cost, such as the rows that it returns, in a header or in an extension that the handler has
    /// put there. [`Limit::cost`] is charged first, so make it the most that a request may cost; what the answer says beyond
    /// that is not charged. Where it says nothing (`None`), or there is none, all of it stays charged.
    ///
    /// ```
    /// # use portcullis_limit::tower::Limit;
    /// # use portcullis_limit::{Algorithm, Rate};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let rate = Rate::new("10,000 per 1h".parse()?, Algorithm::SlidingWindowCounter, None)?;
    /// let rows = Limit::new("rows", rate)
    ///     .cost(500)
    ///     .cost_of_answer(|answer| answer.headers.get("x-rows")?.to_str().ok()?.parse().ok());
    /// # drop(rows);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cost_of_answer(mut self, cost: impl Fn(&AnswerHead<'_>) -> Option<u64> + Send + Sync + 'static) -> Self {
        self.cost_of_answer = Some(Arc::new(cost));
        self
    }

    /// Allows another rate to some requests, such as those of a user with a larger plan; `None` is the limit's own rate.
    /// What was counted by a rate with another window (or algorithm, or time zone, or depth of a bucket) means nothing to
    /// this one, so such rates count apart ([`Rate::counts_like`], [`Key::push_rate`](crate::Key::push_rate)): a user who
    /// goes over to one begins there with its whole quota. Give all of them one window, and what was used counts on.
    pub fn rate_of(mut self, rate: impl Fn(&Parts) -> Option<Rate> + Send + Sync + 'static) -> Self {
        self.rate_of = Some(Arc::new(rate));
        self
    }

    /// Counts only what fails: answers with a status of 400 or above, and requests whose service fails without an answer.
    /// As all the `count_…` it charges first and gives back once the answer's head is there, so that requests in parallel do
    /// not slip through. A request whose client goes away before, or whose handler panics, stays counted.
    pub fn count_failures(self) -> Self {
        self.count_statuses(|status| status.as_u16() >= 400)
    }

    /// Counts only answers with a status below 400. Otherwise as [`Limit::count_failures`].
    pub fn count_successes(self) -> Self {
        self.count_statuses(|status| status.as_u16() < 400)
    }

    /// Counts only answers with a status of which this is true; a service that fails without an answer counts as a 500.
    /// Otherwise as [`Limit::count_failures`].
    pub fn count_statuses(mut self, counts: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.counts = Some(Arc::new(counts));
        self
    }

    /// Refuses nobody, and tells the layer's observer whom it would have refused ([`super::LimitEvent::WouldRefuse`]).
    pub const fn report_only(mut self) -> Self {
        self.enforce = false;
        self
    }

    /// What it does while the shared store is away. Of no consequence where there is none.
    pub const fn outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// Decides by portions of the quota that are taken from the shared store, without asking it for each request. All instances
    /// together still admit at most the quota in each aligned window, but each of them tells clients of its own portion, and what
    /// one holds is not there for the others. A store that is new lends nothing for some seconds, and one that has lost what it
    /// knew nothing before the next window: until then everybody is refused. An instance that stops gives back what it holds by
    /// [`Limiter::release`](crate::Limiter::release). Of no consequence where there is no shared store, or one that does not lend.
    ///
    /// # Errors
    /// [`RateError`] where the rate does not keep its promise by portions: see [`Rate::check_lease`]. What
    /// [`Limit::rate_of`] chooses and does not either, is charged by each request.
    pub fn lease(mut self) -> Result<Self, RateError> {
        self.rate.check_lease()?;
        self.lease = true;
        Ok(self)
    }

    /// What those are told whom it refuses, in place of "Rate limit exceeded"; `{minutes}` and `{seconds}` stand for the
    /// wait, rounded up.
    pub fn message(mut self, message: impl Into<Arc<str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the limit applies to a request.
    pub(super) fn applies_to(&self, request: &Parts) -> bool {
        self.applies.as_ref().is_none_or(|applies| applies(request))
    }

    /// What the request costs.
    pub(super) fn cost_for(&self, request: &Parts) -> u64 {
        self.cost_of.as_ref().map_or(self.cost, |cost| cost(request))
    }

    /// The rate for the request, where it is not the limit's own.
    pub(super) fn rate_for(&self, request: &Parts) -> Option<Rate> {
        self.rate_of.as_ref().and_then(|rate| rate(request))
    }

    /// Whether an answer of this status stays counted.
    pub(super) fn counts(&self, status: StatusCode) -> bool {
        self.counts.as_ref().is_none_or(|counts| counts(status))
    }

    /// How many of the units that were charged are given back for this answer.
    pub(super) fn refund(&self, charged: u64, answer: &AnswerHead<'_>) -> u64 {
        if !self.counts(answer.status) {
            return charged;
        }
        let cost = self.cost_of_answer.as_ref().and_then(|cost| cost(answer));
        cost.map_or(0, |cost| charged.saturating_sub(cost))
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Limit");
        shown.field("name", &self.name).field("rate", &self.rate).field("by", &self.parts);
        shown.field("enforce", &self.enforce).field("outage", &self.outage).finish_non_exhaustive()
    }
}

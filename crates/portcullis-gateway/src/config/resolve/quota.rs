//! How a limit keeps its quota: the algorithm, what belongs to it, and the quota for everyone, by plan or by reputation.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use portcullis::{LimitRule, QuotaChoice};
use portcullis_limit::{Algorithm, MAX_DELAY, Quota, Rate, RateError};

use super::context::Context;
use super::reputation;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, ByChoice, LimitTable, ShortOrLong, Text};
use crate::config::words::{alternatives, closest};

/// The largest burst that a rate takes.
const MAX_BURST: u64 = 1_000_000_000;

/// An algorithm, and what was written for it alone.
#[derive(Clone, Copy)]
pub(super) struct Keeping<'r> {
    algorithm: Algorithm,
    burst: Option<&'r At<u64>>,
    max_delay: Option<Duration>,
    time_zone: Option<&'r At<Text>>,
    /// The quota of which the burst is written; that of another is as much smaller as it is.
    burst_of: Option<Quota>,
}

impl<'r> Keeping<'r> {
    /// What a limit says, or the preset that it starts from.
    pub(super) fn of(cx: &mut Context<'_>, raw: &'r LimitTable, base: Option<&LimitRule>) -> Self {
        let written = raw.algorithm.as_ref().and_then(|at| algorithm(cx, at));
        let algorithm =
            written.or_else(|| base.map(|base| base_rate(base).algorithm())).unwrap_or(Algorithm::SlidingWindowCounter);
        let max_delay = only_for(cx, "max_delay", raw.max_delay.as_ref(), algorithm, &[Algorithm::LeakyBucket]);
        Self {
            algorithm,
            burst: only_for(
                cx,
                "burst",
                raw.burst.as_ref(),
                algorithm,
                &[Algorithm::TokenBucket, Algorithm::LeakyBucket],
            ),
            max_delay: max_delay.map(|at| cx.duration(Some(at), Duration::ZERO, Duration::ZERO..=MAX_DELAY)),
            time_zone: only_for(cx, "time_zone", raw.time_zone.as_ref(), algorithm, &[Algorithm::Calendar]),
            burst_of: None,
        }
    }

    /// How the ceiling of exempt roles is kept: the same way, but a token bucket's burst is its own quota's number.
    pub(super) fn of_ceiling(self) -> Self {
        let burst = self.burst.filter(|_| self.algorithm == Algorithm::LeakyBucket);
        Self { burst, ..self }
    }

    /// How rates are kept that take turns in one bucket: the burst is that of the first, and a smaller quota has a burst that
    /// is as much smaller. Then all are equally deep in time, and what one has taken is never more than another can tell.
    pub(super) fn shared_from(self, first: Quota) -> Self {
        Self { burst_of: Some(first), ..self }
    }

    /// The ceiling of a preset beside another algorithm than the preset's: in fixed windows where the limit counts in those of
    /// a clock or a calendar, as a store may carry nothing else; otherwise as the preset has it.
    pub(super) fn preset_ceiling(self, ceiling: Rate) -> Rate {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::Calendar => {
                Rate::new(ceiling.quota(), Algorithm::FixedWindow, None).unwrap_or(ceiling)
            }
            _ => ceiling,
        }
    }

    /// The quota that is written, or that of the preset.
    pub(super) fn quota(
        self,
        cx: &mut Context<'_>,
        raw: &LimitTable,
        base: Option<&LimitRule>,
        span: &Range<usize>,
    ) -> Option<QuotaChoice> {
        match raw.quota.as_ref().map(|at| (at, at.get())) {
            Some((at, ShortOrLong::Short(text))) => self.rate(cx, text.as_str(), &at.span()).map(QuotaChoice::Fixed),
            Some((at, ShortOrLong::Long(choices))) => self.by_choice(cx, choices, at.span()),
            None => {
                let span = raw.algorithm.as_ref().map_or_else(|| span.clone(), At::span);
                base.and_then(|base| self.with(cx, base_rate(base).quota(), &span)).map(QuotaChoice::Fixed)
            }
        }
    }

    fn by_choice(self, cx: &mut Context<'_>, raw: &ByChoice, span: Range<usize>) -> Option<QuotaChoice> {
        match raw.by.as_ref().map(|at| (at, at.get().as_str())) {
            Some((_, "plan")) => {}
            Some((_, "reputation")) => return reputation::quota(cx, self, raw, &span),
            Some((at, other)) => {
                let found = Diagnostic::error(at.span(), format!("{other:?} is not a choice here"));
                cx.push(found.expected(alternatives(["plan", "reputation"])));
            }
            None => cx.push(Diagnostic::error(span.clone(), "\"by\" is missing").hint("add by = \"plan\"")),
        }
        self.by_plan(cx, raw, span)
    }

    fn by_plan(self, cx: &mut Context<'_>, raw: &ByChoice, span: Range<usize>) -> Option<QuotaChoice> {
        let mut plans = HashMap::new();
        for (plan, at) in &raw.choices {
            if let Some(rate) = self.rate(cx, at.get().as_str(), &at.span()) {
                plans.insert(Box::from(plan.as_str()), rate);
            }
        }
        let names = || raw.choices.keys().map(String::as_str);
        let Some(at) = &raw.otherwise else {
            let found = Diagnostic::error(span, "\"otherwise\" is missing: it names the plan for whoever has none");
            cx.push(found.hint(format!("add otherwise = \"{}\"", names().next().unwrap_or("free"))));
            return None;
        };
        let name = at.get().as_str();
        if !raw.choices.contains_key(name) {
            let found = Diagnostic::error(at.span(), format!("there is no plan {name:?} beside it"));
            cx.push(match closest(name, names()) {
                Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
                None => found.expected(alternatives(names())),
            });
            return None;
        }
        let otherwise = *plans.get(name)?;
        Some(QuotaChoice::ByPlan { plans, otherwise })
    }

    /// A quota as it is written, kept this way.
    pub(super) fn rate(self, cx: &mut Context<'_>, text: &str, span: &Range<usize>) -> Option<Rate> {
        let quota: Quota = cx.parse(text, span.clone())?;
        self.with(cx, quota, span)
    }

    fn with(self, cx: &mut Context<'_>, quota: Quota, span: &Range<usize>) -> Option<Rate> {
        let share = |burst: u64| match self.burst_of {
            Some(first) => (burst.saturating_mul(quota.count()) / first.count()).max(1),
            None => burst,
        };
        // What is out of bounds stays so, to be told.
        let burst = self.burst.map(|at| if (1..=MAX_BURST).contains(at.get()) { share(*at.get()) } else { *at.get() });
        let rate = Rate::new(quota, self.algorithm, burst)
            .and_then(|rate| self.max_delay.map_or(Ok(rate), |delay| rate.with_max_delay(delay)))
            .and_then(|rate| self.time_zone.map_or(Ok(rate), |at| rate.in_time_zone(at.get().as_str())));
        match rate {
            Ok(rate) => Some(rate),
            Err(error) => {
                // Where the mistake was made, if not in the quota.
                let written = match error {
                    RateError::TimeZone(_) => self.time_zone.map(At::span),
                    _ => self.burst.map(At::span),
                };
                cx.push(Diagnostic::error(written.unwrap_or_else(|| span.clone()), error.to_string()));
                None
            }
        }
    }
}

fn base_rate(base: &LimitRule) -> Rate {
    match &base.quota {
        QuotaChoice::Fixed(rate) | QuotaChoice::ByPlan { otherwise: rate, .. } => *rate,
        QuotaChoice::ByReputation(rates) => rates.good,
    }
}

fn algorithm(cx: &mut Context<'_>, at: &At<Text>) -> Option<Algorithm> {
    let name = at.get().as_str();
    let algorithm = name.parse().ok();
    if algorithm.is_none() {
        let names = || Algorithm::ALL.into_iter().map(Algorithm::as_str);
        let found = Diagnostic::error(at.span(), format!("there is no algorithm {name:?}"));
        cx.push(match closest(name, names()) {
            Some(meant) => found.hint(format!("did you mean \"{meant}\"?")),
            None => found.expected(alternatives(names())),
        });
    }
    algorithm
}

/// What was written, if it belongs to the algorithm; otherwise that it does not is told.
fn only_for<'r, T>(
    cx: &mut Context<'_>,
    name: &str,
    written: Option<&'r At<T>>,
    algorithm: Algorithm,
    fitting: &[Algorithm],
) -> Option<&'r At<T>> {
    let at = written?;
    if fitting.contains(&algorithm) {
        return Some(at);
    }
    let found = Diagnostic::error(at.span(), format!("\"{name}\" means nothing for {algorithm}"));
    let meant = fitting.first().map_or("", |algorithm| algorithm.as_str());
    cx.push(found.hint(format!("add algorithm = \"{meant}\", or remove it")));
    None
}

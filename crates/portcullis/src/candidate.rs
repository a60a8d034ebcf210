//! A limit that only reports, in the place of one that refuses: what would happen if it took over (L9).
//!
//! Beside the live limit a candidate sees only the requests that the live one admits, so what it reports is not what it
//! would do alone. In its place it is judged as if the live one were not there: where the live one alone refuses, the
//! candidate is still charged, or says that it would refuse; where any other limit of the phase refuses, it is not, as it
//! would not be. So its count is that of the same limit, enforced alone, on those requests which every other limit of its
//! phase admits. What limits of a later phase would have said of a request that the live one refused, nobody asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::{Event, EventKind, Facts, Timestamp};
use portcullis_limit::{Ask, Charge, Denied, Standing};
use smallvec::SmallVec;

use crate::case::Case;
use crate::gate::Gate;
use crate::limits::{LimitRule, Mode};
use crate::policy::Policy;

/// A candidate and the limit that it would replace, by the numbers in their keys.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    pub(crate) live: u32,
    pub(crate) counts: Arc<Counts>,
}

/// What the two said of the same requests.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// By whether the live one refused, and whether the candidate would have.
    said: [[AtomicU64; 2]; 2],
    /// When the first of them came, in nanoseconds; 0 before.
    since: AtomicU64,
}

/// What a live limit and the one that may replace it said of the same requests, since the first of them. A limit that does
/// not count a request admits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The limit that refuses.
    pub limit: Arc<str>,
    /// The one that only reports.
    pub candidate: Arc<str>,
    /// Requests that both admit.
    pub both_admit: u64,
    /// Requests that both refuse.
    pub both_refuse: u64,
    /// Requests that the live one refused and the candidate would have admitted.
    pub only_limit_refuses: u64,
    /// Requests that the live one admitted and the candidate would have refused.
    pub only_candidate_refuses: u64,
    /// When the first of them came; `None` while there is none.
    pub since: Option<Timestamp>,
}

impl Counts {
    /// Counts one request that both were asked about.
    pub(crate) fn note(&self, live_refused: bool, would_refuse: bool, now: Timestamp) {
        self.said[usize::from(live_refused)][usize::from(would_refuse)].fetch_add(1, Ordering::Relaxed);
        if self.since.load(Ordering::Relaxed) == 0 {
            // Whoever else came first at the same moment is as good.
            let _ = self.since.compare_exchange(0, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    pub(crate) fn told(&self, limit: &Arc<str>, candidate: &Arc<str>) -> Comparison {
        let count = |live: usize, candidate: usize| self.said[live][candidate].load(Ordering::Relaxed);
        let since = Some(self.since.load(Ordering::Relaxed)).filter(|since| *since > 0);
        Comparison {
            limit: Arc::clone(limit),
            candidate: Arc::clone(candidate),
            both_admit: count(0, 0),
            both_refuse: count(1, 1),
            only_limit_refuses: count(1, 0),
            only_candidate_refuses: count(0, 1),
            since: since.map(Timestamp::from_nanos),
        }
    }
}

impl Candidate {
    /// Whether either of the two is among these asks.
    pub(crate) fn is_asked(&self, asks: &[Ask<'_>]) -> bool {
        asks.iter().any(|ask| [self.id, self.live].contains(&ask.key.limit()))
    }

    /// What the candidate said of a charge that was made; one that was not asked admits.
    pub(crate) fn would_refuse(&self, charge: &Charge) -> bool {
        charge.standings().iter().any(|standing: &Standing| standing.limit == self.id && standing.would_refuse)
    }
}

impl Gate {
    /// What the candidates of the policy of the moment and the limits that they would replace said of the same requests, on
    /// this gate.
    #[must_use]
    pub fn comparisons(&self) -> Vec<Comparison> {
        let policy = self.policy();
        let name = |id| &policy.limits.rule(id).name;
        let told = |pair: &Candidate| pair.counts.told(name(pair.live), name(pair.id));
        policy.limits.candidates().iter().map(told).collect()
    }

    /// Counts what the candidates said of a charge that was made, and so admitted by all that refuse.
    pub(crate) fn compare_admitted(
        &self,
        policy: &Policy,
        asks: &[Ask<'_>],
        charge: &Charge,
        facts: &Facts<'_>,
        case: &Case,
    ) {
        for candidate in policy.limits.candidates().iter().filter(|candidate| candidate.is_asked(asks)) {
            let would_refuse = candidate.would_refuse(charge);
            candidate.counts.note(false, would_refuse, facts.now);
            if would_refuse {
                self.note_disagreement(policy, candidate, "candidate_refuses", facts, case);
            }
        }
    }

    /// Judges the candidates for the limit that refused a request, as if that one were not there. Its client waits for the
    /// store a second time, within the patience that the request has left.
    pub(crate) async fn compare_refused(
        &self,
        policy: &Policy,
        asks: &[Ask<'_>],
        denied: &Denied,
        facts: &Facts<'_>,
        case: &mut Case,
    ) {
        let live = denied.standing.limit;
        let mut others_admit = None;
        for candidate in policy.limits.candidates().iter().filter(|candidate| candidate.live == live) {
            if others_admit.is_none() {
                let others: SmallVec<[Ask<'_>; 4]> =
                    asks.iter().filter(|ask| ask.enforce && ask.key.limit() != live).cloned().collect();
                others_admit = self.limiter().would_admit(&others, facts.now, &mut case.patience).await;
            }
            if others_admit != Some(true) {
                // Another limit refuses too, or nobody can say: the candidate is not asked, as it would not be.
                return;
            }
            let would_refuse = match asks.iter().find(|ask| ask.key.limit() == candidate.id) {
                None => false,
                Some(ask) => {
                    let ask = std::slice::from_ref(ask);
                    let Ok(charge) = self.limiter().charge(ask, facts.now, &mut case.patience).await else { continue };
                    let would_refuse = candidate.would_refuse(&charge);
                    self.settle_limited(policy, charge.receipts(), facts.now);
                    would_refuse
                }
            };
            candidate.counts.note(true, would_refuse, facts.now);
            if would_refuse {
                let event = case.event(facts.now, EventKind::LimitWouldHit, facts.id);
                self.record(Event { limit: Some(policy.limits.rule(candidate.id).name.clone()), ..event });
            } else {
                self.note_disagreement(policy, candidate, "candidate_admits", facts, case);
            }
        }
    }

    fn note_disagreement(
        &self,
        policy: &Policy,
        candidate: &Candidate,
        how: &'static str,
        facts: &Facts<'_>,
        case: &Case,
    ) {
        let limit = Some(policy.limits.rule(candidate.id).name.clone());
        let event = case.event(facts.now, EventKind::LimitsDisagree, facts.id);
        self.record(Event { limit, reason: Some(how), ..event });
    }
}

/// Why a limit cannot stand in another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// It refuses or slows down itself.
    #[error("a limit that is to replace another only reports until it does")]
    NotReporting,
    /// The other refuses nobody.
    #[error("the limit that it is to replace refuses nobody itself")]
    NotEnforced,
    /// One of them is charged before the other is asked.
    #[error("the two are charged at different moments, so one would not see what the other refuses")]
    AnotherPhase,
}

impl LimitRule {
    /// Whether this limit can be compared with the one that it is to replace.
    ///
    /// # Errors
    /// [`CandidateError`] says why not.
    pub fn can_replace(&self, live: &Self) -> Result<(), CandidateError> {
        if self.mode != Mode::Report {
            Err(CandidateError::NotReporting)
        } else if live.mode != Mode::Enforce {
            Err(CandidateError::NotEnforced)
        } else if self.phase() != live.phase() {
            Err(CandidateError::AnotherPhase)
        } else {
            Ok(())
        }
    }
}

/// The candidates among rules with their numbers.
pub(crate) fn candidates(rules: &[(u32, &LimitRule)]) -> Vec<Candidate> {
    let by_name: HashMap<&str, (u32, &LimitRule)> =
        rules.iter().map(|(id, rule)| (&*rule.name, (*id, *rule))).collect();
    let pair = |(id, rule): &(u32, &LimitRule)| {
        let (live, other) = by_name.get(rule.replaces.as_deref()?)?;
        rule.can_replace(other).ok()?;
        Some(Candidate { id: *id, live: *live, counts: Arc::default() })
    };
    rules.iter().filter_map(pair).collect()
}

//! What stays of a charge once the outcome of its request is known: what was charged first is settled once.

use http::{HeaderMap, StatusCode};
use portcullis_core::{Fault, Reason, Timestamp};
use portcullis_limit::{Receipt, Receipts};

use crate::case::Case;
use crate::gate::{Gate, Outcome};
use crate::limits::LimitRule;
use crate::pass::Pass;
use crate::policy::Policy;

impl Gate {
    /// Settles what an admitted request was charged, once its outcome is known. A pass that is dropped instead stays
    /// charged. Where the answer's head would have told the cost, the most stays charged.
    pub fn settle(&self, pass: &mut Pass, outcome: Outcome, now: Timestamp) {
        self.note_outcome(&pass.case, pass.target, outcome, now);
        let receipts = std::mem::take(&mut pass.receipts);
        self.settle_case(&receipts, &mut pass.case, outcome, None, now);
    }

    /// The same where the head of the answer is there: it may tell the cost. Call it before the answer is shaped, so that
    /// it says what is left.
    pub fn settle_answer(&self, pass: &mut Pass, outcome: Outcome, headers: &HeaderMap, now: Timestamp) {
        self.note_outcome(&pass.case, pass.target, outcome, now);
        let receipts = std::mem::take(&mut pass.receipts);
        self.settle_case(&receipts, &mut pass.case, outcome, Some(headers), now);
    }

    /// Settles what was charged to a request that we then refused ourselves.
    pub(crate) fn settle_refused(&self, receipts: &Receipts, case: &mut Case, reason: &Reason, now: Timestamp) {
        let outcome = match reason {
            // Another limit refused: all are charged, or none.
            Reason::LimitReached(_) => Outcome::NotForwarded,
            reason if reason.fault() == Fault::Client => Outcome::Answered(reason.status()),
            _ => Outcome::NotForwarded,
        };
        self.settle_case(receipts, case, outcome, Some(&HeaderMap::new()), now);
    }

    /// Settles what stays charged although another limit refused the request: how it would have ended nobody knows, how it
    /// ended everybody does.
    pub(crate) fn settle_limited(&self, policy: &Policy, receipts: &[Receipt], now: Timestamp) {
        let outcome = Outcome::Answered(StatusCode::TOO_MANY_REQUESTS);
        self.settle_receipts(policy, receipts, outcome, Some(&HeaderMap::new()), now);
    }

    fn settle_receipts(
        &self,
        policy: &Policy,
        receipts: &[Receipt],
        outcome: Outcome,
        told: Option<&HeaderMap>,
        now: Timestamp,
    ) {
        for receipt in receipts {
            let charged = receipt.cost();
            match kept(policy.limits.rule(receipt.limit()), charged, outcome, told) {
                0 => self.limiter().give_back(receipt, now),
                kept if kept < charged => self.limiter().give_back(&receipt.part(charged - kept), now),
                _ => {}
            }
        }
    }

    fn settle_case(
        &self,
        receipts: &Receipts,
        case: &mut Case,
        outcome: Outcome,
        told: Option<&HeaderMap>,
        now: Timestamp,
    ) {
        self.settle_receipts(&case.policy, receipts, outcome, told, now);
        case.settle(|rule, charged| kept(rule, charged, outcome, told));
    }
}

/// How many of the units that a limit charged stay counted.
fn kept(rule: &LimitRule, charged: u64, outcome: Outcome, told: Option<&HeaderMap>) -> u64 {
    if !rule.count.keeps(outcome) {
        return 0;
    }
    told.and_then(|headers| rule.cost.told(headers)).map_or(charged, |cost| cost.min(charged))
}

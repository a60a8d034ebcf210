//! The gate: one decision with many doors.
//!
//! A door turns its own kind of request into [`Facts`](portcullis_core::Facts), asks [`Gate::decide`], and turns the
//! [`Verdict`] into its own kind of reply. The order of the checks stands in one function body, in `gate.rs`.

mod answer;
mod authenticate;
mod body;
mod candidate;
mod case;
mod cost;
mod count;
mod delay;
mod examine;
mod forgery;
mod gate;
mod identity_headers;
mod inspect;
mod limits;
mod pass;
mod pattern;
mod policy;
mod refusal;
mod reputation;
mod settle;
mod table;
mod trace;

pub use answer::Answer;
pub use body::{Admittance, Admitted, BodyError, BodyRule, Unexamined};
pub use candidate::{CandidateError, Comparison};
pub use case::Case;
pub use cost::Cost;
pub use count::{Count, Statuses};
pub use delay::Delay;
pub use gate::{Gate, Outcome, Verdict};
pub use identity_headers::IdentityHeaders;
pub use inspect::{InspectError, Whom};
pub use limits::{KeyPart, LimitRule, Mode, QuotaChoice, Scope};
pub use pass::Pass;
pub use pattern::{Pattern, PatternError};
pub use policy::{Otherwise, Policy, PolicyError, PolicyParts, RouteCors, RouteRule, Target};
pub use portcullis_limit::headers::LimitHeaders;
pub use refusal::Refusal;
pub use reputation::{
    ByRepute, Class, KnownAddress, Offence, ReputationFigures, Repute, Rules as ReputationRules, Weights,
};
pub use trace::{Silent, Stage, Trace};

//! The words every room shares: facts, principal, reason, client address, normalised path, secret, clock, event.
//!
//! Nothing here opens a socket, reads a clock (except [`SystemClock`], which is the edge) or knows a configuration
//! file. Rooms meet through the ports of [`ports`] instead of depending on each other.

mod address;
mod duration;
mod event;
mod facts;
pub mod json;
mod path;
pub mod ports;
mod principal;
mod problem;
mod reason;
mod request_id;
mod secret;
mod time;

pub use address::{AddressKey, ClientAddress, ForwardHeader, TrustedHops, unmapped};
pub use duration::{DurationError, HumanDuration};
pub use event::{Event, EventKind, EventSink, Severity};
pub use facts::Facts;
pub use ipnet::IpNet;
pub use path::{NormalizedPath, PathError};
pub use principal::{InvalidPrincipal, Principal, PrincipalParts, Scheme};
pub use problem::{PROBLEM_JSON, Problem};
pub use reason::{Fault, Limited, Reason, Violation};
pub use request_id::RequestId;
pub use secret::Secret;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};

//! Shapes: what a request's content must satisfy, what every response must carry and what it must not tell.

mod check;
pub mod csrf;
mod members;
mod response;

pub use check::{Check, Reported, Seen};
pub use members::{List, MemberPath, MemberPathError, Members, Place};
pub use response::{Preset, ResponseHeaders};

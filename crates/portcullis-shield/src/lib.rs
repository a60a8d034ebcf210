//! Shapes: what a request's content must satisfy, what every response must carry and what it must not tell.

mod check;
mod response;

pub use check::{Check, Reported, Seen};
pub use response::{Preset, ResponseHeaders};

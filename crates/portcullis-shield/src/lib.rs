//! Shapes: what a request's content must satisfy, what every response must carry and what it must not tell.

mod check;
pub mod csrf;
mod response;

pub use check::{Check, Seen};
pub use response::{Preset, ResponseHeaders};

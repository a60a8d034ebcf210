//! Shapes: what every response must carry and what it must not tell.

mod response;

pub use response::{Preset, ResponseHeaders};

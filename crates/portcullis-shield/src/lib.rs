//! Shapes: what a request's content must satisfy, what every response must carry and what it must not tell.

mod check;
mod cors;
mod members;
mod response;

pub use check::{Check, Seen};
pub use cors::{Cors, CorsRules, OriginError, OriginPattern, Preflight, origin_of};
pub use members::{List, MemberPath, MemberPathError, Members, Place};
pub use response::{
    CspError, CspFrom, CspTemplate, FrameOptions, FromUpstream, HeaderRules, Hsts, NONCE, Nonce, Preset,
    ResponseHeaders,
};

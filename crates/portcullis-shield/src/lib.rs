//! Shapes: what a request's content must satisfy, what every response must carry and what it must not tell.

mod check;
mod coding;
pub mod content;
mod cors;
pub mod csrf;
mod graphql;
mod judging;
pub mod media;
mod members;
pub mod openapi;
mod ownership;
mod response;
mod response_members;
mod scan;
mod shape;

pub use check::{Check, Reported, Seen, Tunnels};
pub use coding::{Coding, gunzip};
pub use cors::{Cors, CorsRules, OriginError, OriginPattern, Preflight, origin_of};
pub use graphql::{GraphqlCheck, GraphqlRules};
pub use members::{List, MemberPath, MemberPathError, Members, Place};
pub use ownership::{Foreign, OwnedContent};
pub use response::{
    CspError, CspFrom, CspTemplate, FrameOptions, FromUpstream, HeaderRules, Hsts, NONCE, Nonce, Preset,
    ResponseHeaders,
};
pub use response_members::ResponseMembers;
pub use shape::{Asking, DEFAULT_MAX, Errors, OtherTypes, Plan, ResponseRules, SeenResponse, Shape, Wants};

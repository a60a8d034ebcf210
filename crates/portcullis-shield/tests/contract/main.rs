//! A contract is asked about requests and answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod answers;
mod attacks;
mod bodies;
mod documents;
mod parameters;
mod support;

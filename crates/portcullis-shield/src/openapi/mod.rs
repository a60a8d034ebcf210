//! An OpenAPI document (3.0, 3.1) as the contract of an upstream: which requests it takes, and what it answers.
//!
//! The document is compiled once. A path is found by a tree, a parameter is read back from its style, a body by its media
//! type, and every value is judged by its schema, which is JSON Schema 2020-12 or is translated into it. Nothing outside of
//! the document is ever fetched. What passes is forwarded byte for byte: nothing here writes.

mod answers;
mod body;
mod content;
mod contract;
mod document;
mod escape;
mod fault;
mod findings;
mod form;
mod media;
mod multipart;
mod operation;
mod parameter;
mod pointer;
mod query;
mod response;
mod schema;
mod servers;
mod style;
mod template;
mod watch;
mod yaml;

pub use answers::Answers;
pub use contract::{Compiled, Contract, Mode, OperationInfo, Terms};
pub use document::Format;
pub use fault::{Fault, Place};
pub use findings::Unknown;
pub use watch::{Unjudged, Watch, Watched};

//! The contract on the way back: what an upstream answers is what its document declares, or is not told.

use std::sync::Arc;

use http::StatusCode;
use portcullis_core::Reason;

use super::{Contract, response};
use crate::shape::{Asking, SeenResponse, Shape, Wants};

/// Holds answers to a contract. It changes nothing: what passes goes on byte for byte.
#[derive(Debug)]
pub struct Answers(Arc<Contract>);

impl Answers {
    /// Of this contract.
    #[must_use]
    pub const fn new(contract: Arc<Contract>) -> Self {
        Self(contract)
    }
}

impl Shape for Answers {
    fn describe(&self) -> &'static str {
        "what the OpenAPI document does not declare is not told"
    }

    fn binds(&self, asking: &Asking<'_>) -> bool {
        self.0.find(asking.method, asking.path).is_some()
    }

    fn lets_tunnel(&self, asking: &Asking<'_>) -> bool {
        self.0.find(asking.method, asking.path).is_some_and(|(operation, _)| {
            // What is said in it no document describes; that there is one it does.
            operation.responses.name(StatusCode::SWITCHING_PROTOCOLS)
        })
    }

    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
        let Some((operation, _)) = self.0.find(seen.asking.method, seen.asking.path) else { return Ok(Wants::Nothing) };
        match operation.responses.judge_head(seen.asking.method, seen.status, seen.headers) {
            Ok(Some(_)) => Ok(Wants::Content),
            Ok(None) => Ok(Wants::Nothing),
            // HTTP/2 says that there is no content without a length.
            Err(wrong) if seen.is_empty && wrong.path != response::STATUS => Ok(Wants::Nothing),
            Err(wrong) => Err(Reason::ResponseRefused(wrong.message)),
        }
    }

    fn shape(&self, seen: &SeenResponse<'_>, body: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        let asking = (seen.asking.method, seen.asking.path);
        match self.0.judge_answer(asking, seen.status, seen.headers, body) {
            Ok(()) => Ok(None),
            Err(_) => Err(Reason::ResponseRefused("the answer is not what the OpenAPI document declares")),
        }
    }
}

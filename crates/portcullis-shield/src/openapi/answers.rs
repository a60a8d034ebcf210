//! The contract on the way back: what an upstream answers is what its document declares, or is not told.

use std::sync::Arc;

use portcullis_core::Reason;

use super::Contract;
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

    fn wants(&self, seen: &SeenResponse<'_>) -> Result<Wants, Reason> {
        let Some((operation, _)) = self.0.find(seen.asking.method, seen.asking.path) else { return Ok(Wants::Nothing) };
        match operation.responses.judge_head(seen.asking.method, seen.status, seen.headers) {
            Ok(Some(_)) => Ok(Wants::Content),
            Ok(None) => Ok(Wants::Nothing),
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

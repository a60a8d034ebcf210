//! Rows of API keys.

use super::{BAD_MEDIA, RULES, UNREADABLE};
use crate::identity_api::api_keys::{ApiKeys, Create, Made, Rotate};
use crate::openapi::{Operation, in_path, json, nothing, operation};

pub(super) const OPERATIONS: &[Operation] = &[
    operation("GET /auth/api-keys", "apiKeys", "The caller's API keys")
        .answers(&[json::<ApiKeys>(200, "Those that have not ended, without the keys themselves.")]),
    operation("POST /auth/api-keys", "createApiKey", "Make an API key")
        .json::<Create>()
        .answers(&[json::<Made>(201, "The key. It is never told again.")])
        .refuses(&[
            UNREADABLE,
            RULES,
            (403, "API keys are turned off, or the account is disabled."),
            (409, "The caller has as many as they may."),
            BAD_MEDIA,
        ]),
    operation("POST /auth/api-keys/{id}/rotate", "rotateApiKey", "Make a successor of an API key")
        .about("The old one goes on for the overlap, a day where nobody says.")
        .with(&[in_path::<String>("id", "The key's id.")])
        .json::<Rotate>()
        .or_nothing()
        .answers(&[json::<Made>(201, "The new key. It is never told again.")])
        .refuses(&[
            UNREADABLE,
            RULES,
            (403, "API keys are turned off, or the account is disabled."),
            (409, "The caller has as many as they may; the old one counts until its overlap ends."),
            BAD_MEDIA,
        ]),
    operation("DELETE /auth/api-keys/{id}", "revokeApiKey", "End an API key")
        .with(&[in_path::<String>("id", "The key's id.")])
        .answers(&[nothing(204, "It has ended.")]),
];

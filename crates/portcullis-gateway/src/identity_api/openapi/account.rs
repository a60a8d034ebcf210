//! Rows of accounts: registration, the confirmation of an address, the caller's own account.

use super::forms::{AddressForm, LinkForm, SignUpForm};
use super::{BAD_LINK, BAD_MEDIA, NO_MAIL, RULES, UNREADABLE, WRONG_PASSWORD};
use crate::identity_api::answer::Message;
use crate::identity_api::me::{ChangeEmail, ConfirmEmail, Delete, Me, Rename};
use crate::identity_api::registration::{Register, Resend, Verify};
use crate::openapi::{Operation, json, media, nothing, operation, page};

pub(super) const OPERATIONS: &[Operation] = &[
    operation("POST /auth/register", "register", "Ask for an account")
        .about("The answer is the same whether or not the address has an account; the mail tells its owner.")
        .json::<Register>()
        .form::<SignUpForm>()
        .answers(&[
            json::<Message>(202, "A mail is on its way if the address is new."),
            page(202, "The same, for a person."),
        ])
        .troubles(&[400, 403, 503])
        .refuses(&[UNREADABLE, RULES, (403, "Registration is closed."), BAD_MEDIA]),
    operation("POST /auth/verify", "verify", "Confirm an address")
        .about("A form is answered with a page, JSON with JSON.")
        .json::<Verify>()
        .form::<LinkForm>()
        .answers(&[
            json::<Message>(200, "The address is confirmed."),
            page(200, "The same, for a person."),
            nothing(303, "The same, where people sign in here.").head(&[("Location", "The page to sign in at.")]),
        ])
        .troubles(&[400, 503])
        .refuses(&[UNREADABLE, BAD_LINK, BAD_MEDIA]),
    operation("POST /auth/resend-verification", "resendVerification", "Ask for the confirmation mail again")
        .about("The answer is the same for every address.")
        .json::<Resend>()
        .form::<AddressForm>()
        .answers(&[
            json::<Message>(202, "A mail is on its way if a registration waits for it."),
            page(202, "The same, for a person."),
        ])
        .troubles(&[400, 403, 503])
        .refuses(&[UNREADABLE, (403, "Registration is closed."), BAD_MEDIA]),
    operation("GET /auth/me", "me", "The caller's own account").answers(&[json::<Me>(200, "The account.")]),
    operation("PATCH /auth/me", "rename", "Give oneself another name")
        .json::<Rename>()
        .answers(&[json::<Me>(200, "The account as it is now.")])
        .refuses(&[UNREADABLE, RULES, BAD_MEDIA]),
    operation("DELETE /auth/me", "deleteMe", "Delete one's own account")
        .about("Its sessions and API keys end.")
        .json::<Delete>()
        .answers(&[nothing(204, "It is gone.")])
        .refuses(&[UNREADABLE, WRONG_PASSWORD, BAD_MEDIA]),
    operation("POST /auth/change-email", "changeEmail", "Ask for another address")
        .about("The answer is the same whether or not the address has an account. A mail there asks to confirm it.")
        .json::<ChangeEmail>()
        .answers(&[json::<Message>(202, "A mail is on its way if the address can be the caller's.")])
        .refuses(&[UNREADABLE, RULES, WRONG_PASSWORD, NO_MAIL, BAD_MEDIA]),
    operation("POST /auth/confirm-email", "confirmEmail", "Confirm another address")
        .json::<ConfirmEmail>()
        .form::<LinkForm>()
        .answers(&[json::<Message>(200, "It is the account's address now."), page(200, "The same, for a person.")])
        .troubles(&[400, 503])
        .refuses(&[UNREADABLE, BAD_LINK, BAD_MEDIA]),
    operation("GET /auth/openapi.json", "identityDocument", "This document")
        .answers(&[json::<serde_json::Map<String, serde_json::Value>>(200, "OpenAPI 3.1.")]),
    operation("GET /.well-known/jwks.json", "keys", "The public keys that verify access tokens (RFC 7517)")
        .answers(&[media::<serde_json::Map<String, serde_json::Value>>(200, "A JWK Set.", "application/jwk-set+json")]),
];

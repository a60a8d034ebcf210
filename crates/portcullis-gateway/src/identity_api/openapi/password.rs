//! Rows of passwords.

use super::forms::{AddressForm, PasswordForm, ResetForm};
use super::session::{COOKIES, SIGNED_IN};
use super::{BAD_LINK, BAD_MEDIA, NO_MAIL, RULES, UNREADABLE, WRONG_PASSWORD};
use crate::identity_api::answer::Message;
use crate::identity_api::login::Handed;
use crate::identity_api::password::{Change, Forgot, Reset};
use crate::openapi::{Operation, json, nothing, operation, page};

pub(super) const OPERATIONS: &[Operation] = &[
    operation("POST /auth/forgot-password", "forgotPassword", "Ask for a mail to set another password")
        .about("The answer is the same for every address.")
        .json::<Forgot>()
        .form::<AddressForm>()
        .answers(&[
            json::<Message>(202, "A mail is on its way if the address has an account."),
            page(202, "The same, for a person."),
        ])
        .troubles(&[400, 403, 503])
        .refuses(&[UNREADABLE, NO_MAIL, BAD_MEDIA]),
    operation("POST /auth/reset-password", "resetPassword", "Set another password by the token of a mail")
        .about("Every session of the account ends.")
        .json::<Reset>()
        .form::<ResetForm>()
        .answers(&[
            json::<Message>(200, "The password is set."),
            page(200, "The same, for a person."),
            nothing(303, "The same, where people sign in here.").head(&[("Location", "The page to sign in at.")]),
        ])
        .troubles(&[400, 503])
        .refuses(&[UNREADABLE, RULES, BAD_LINK, BAD_MEDIA]),
    operation("POST /auth/change-password", "changePassword", "Change one's password")
        .about("Every session ends, and one begins anew in the way that the caller's was held.")
        .json::<Change>()
        .form::<PasswordForm>()
        .answers(&[
            json::<Handed<'static>>(200, "The new session.").head(COOKIES),
            nothing(303, "The same, for a person.").head(SIGNED_IN),
        ])
        .troubles(&[400, 403, 503])
        .refuses(&[UNREADABLE, RULES, WRONG_PASSWORD, BAD_MEDIA]),
];

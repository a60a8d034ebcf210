//! Rows of passwords.

use super::forms::{AddressForm, LinkForm, PasswordForm, ResetForm};
use super::session::{COOKIES, SIGNED_IN};
use super::{BAD_LINK, BAD_MEDIA, CROSS_SITE, NO_MAIL, RULES, UNREADABLE, WRONG_PASSWORD};
use crate::identity_api::answer::Message;
use crate::identity_api::login::Handed;
use crate::identity_api::password::{Change, ConfirmDevice, Forgot, Known, Reset};
use crate::openapi::{Operation, json, nothing, operation, page};

const DEVICE: &[(&str, &str)] = &[("Set-Cookie", "What this device is known by, where it was to be a cookie.")];
const TO_SIGN_IN: &[(&str, &str)] = &[("Location", "The page to sign in at."), DEVICE[0]];
const NO_HTTPS: (u16, &str) = (400, "A cookie was asked for, which needs https.");

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
            json::<Known<'static>>(200, "The password is set, and this device is known.").head(DEVICE),
            page(200, "The same, for a person."),
            nothing(303, "The same, where people sign in here.").head(TO_SIGN_IN),
        ])
        .troubles(&[400, 503])
        .refuses(&[UNREADABLE, RULES, BAD_LINK, NO_HTTPS, CROSS_SITE, BAD_MEDIA]),
    operation("POST /auth/confirm-device", "confirmDevice", "Let this device log in past strangers' wrong passwords")
        .about("The token is that of the mail about wrong passwords. It proves nobody: the password is asked for as always.")
        .json::<ConfirmDevice>()
        .form::<LinkForm>()
        .answers(&[
            json::<Known<'static>>(200, "This device is known.").head(DEVICE),
            page(200, "The same, for a person."),
            nothing(303, "The same, where people sign in here.").head(TO_SIGN_IN),
        ])
        .troubles(&[400, 503])
        .refuses(&[UNREADABLE, BAD_LINK, NO_HTTPS, CROSS_SITE, BAD_MEDIA]),
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

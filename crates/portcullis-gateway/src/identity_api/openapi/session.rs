//! Rows of sessions: login, refresh, logout.

use super::forms::{OwnForm, SignInForm};
use super::{BAD_MEDIA, CROSS_SITE, NO_TOKEN, UNREADABLE};
use crate::identity_api::csrf::CsrfToken;
use crate::identity_api::login::{Handed, Login, Refresh};
use crate::identity_api::sessions::OwnSessions;
use crate::openapi::{Operation, in_path, json, nothing, operation, page};

pub(super) const COOKIES: &[(&str, &str)] = &[("Set-Cookie", "The tokens, where the session is one of cookies.")];
const TOKEN: &[(&str, &str)] = &[("Set-Cookie", "The same token, for scripts of this origin.")];
const NO_COOKIES: &[(&str, &str)] = &[("Set-Cookie", "Takes the cookies of tokens back.")];
/// The same where a person is sent on.
pub(super) const SIGNED_IN: &[(&str, &str)] = &[("Location", "Where to go on."), COOKIES[0]];
const SIGNED_OUT: &[(&str, &str)] = &[("Location", "The page to sign in at."), NO_COOKIES[0]];

pub(super) const OPERATIONS: &[Operation] = &[
    operation("POST /auth/login", "login", "Prove who you are and get tokens")
        .about("A wrong password, an unknown address and a disabled account without the right password are told alike.")
        .json::<Login>()
        .form::<SignInForm>()
        .answers(&[
            json::<Handed<'static>>(200, "Tokens.").head(COOKIES),
            page(200, "Nobody can sign in by a page here, because cookies need https."),
            nothing(303, "A session has begun.").head(SIGNED_IN),
        ])
        .troubles(&[400, 401, 403, 429, 503])
        .refuses(&[
            UNREADABLE,
            (400, "Cookies were asked for, or a session, which need https."),
            (401, "Address and password do not fit."),
            (403, "The address is not confirmed, or the account is disabled; told only beside the right password."),
            (429, "Too many wrong passwords were tried for this address, or on this device."),
            CROSS_SITE,
            BAD_MEDIA,
        ]),
    operation("POST /auth/refresh", "refresh", "Exchange a refresh token for new tokens")
        .about("A refresh token is good for one use; a second use ends its whole session.")
        .json::<Refresh>()
        .or_nothing()
        .answers(&[json::<Handed<'static>>(200, "Tokens.").head(COOKIES)])
        .refuses(&[UNREADABLE, (401, "The refresh token is not good, or not good any more."), CROSS_SITE, NO_TOKEN, BAD_MEDIA]),
    operation("POST /auth/logout", "logout", "End the session of a refresh token")
        .about("A token of no session is answered like one of a session.")
        .json::<Refresh>()
        .form::<OwnForm>()
        .or_nothing()
        .answers(&[
            nothing(204, "The session has ended.").head(NO_COOKIES),
            nothing(303, "The same, for a person.").head(SIGNED_OUT),
        ])
        .troubles(&[403, 503])
        .refuses(&[UNREADABLE, (401, "There is no refresh token."), CROSS_SITE, NO_TOKEN, BAD_MEDIA]),
    operation("POST /auth/logout-all", "logoutEverywhere", "End every session of the caller").answers(&[nothing(
        204,
        "Every session has ended.",
    )
    .head(NO_COOKIES)]),
    operation("GET /auth/csrf", "csrfToken", "A token against forgery, for a session in cookies")
        .about(
            "Every request that changes something and is authenticated by a cookie needs one, in the header or in the field \
             of a form. The cookie beside this answer holds it too, and scripts of this origin can read it.",
        )
        .answers(&[json::<CsrfToken<'static>>(200, "A fresh one.").head(TOKEN)])
        .refuses(&[
            (401, "No cookie names a session."),
            (404, "What was presented is no cookie and needs no token, or tokens are turned off."),
        ]),
    operation("GET /auth/sessions", "mySessions", "The caller's sessions")
        .answers(&[json::<OwnSessions>(200, "Those that have not ended.")]),
    operation("DELETE /auth/sessions/{id}", "endMySession", "End one of the caller's sessions")
        .with(&[in_path::<String>("id", "The session's id.")])
        .answers(&[nothing(204, "It has ended.").head(NO_COOKIES)]),
];

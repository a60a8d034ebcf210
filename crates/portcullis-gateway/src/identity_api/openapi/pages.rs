//! Rows of the hosted pages.

use super::forms::OwnForm;
use crate::openapi::{Operation, in_path, in_query, nothing, operation, page};

const OFF: (u16, &str) = (404, "The hosted pages are turned off.");
const BINDING: &[(&str, &str)] = &[("Set-Cookie", "What the forms of this browser are bound to.")];

pub(super) const OPERATIONS: &[Operation] = &[
    operation("GET /auth/login", "signInPage", "The page to sign in at")
        .with(&[
            in_query::<String>("next", "Where to go afterwards, if it is on the operator's list."),
            in_query::<String>("done", "What was done before, to be told on the page."),
        ])
        .answers(&[page(200, "The page.").head(BINDING)])
        .refuses(&[OFF]),
    operation("GET /auth/register", "signUpPage", "The page to sign up at")
        .answers(&[page(200, "The page.").head(BINDING), page(403, "Registration is closed.")])
        .refuses(&[OFF]),
    operation("GET /auth/forgot-password", "forgotPasswordPage", "The page for a forgotten password")
        .answers(&[page(200, "The page.").head(BINDING)])
        .refuses(&[OFF]),
    operation("GET /auth/verify", "confirmationPage", "The page behind the link of a confirmation mail")
        .about("Opening it changes nothing; its button posts the token.")
        .with(&[in_query::<String>("token", "The token of the link.")])
        .answers(&[page(200, "The page with its button."), page(400, "The link is not complete.")]),
    operation("GET /auth/reset-password", "resetPasswordPage", "The page behind the link to set another password")
        .with(&[in_query::<String>("token", "The token of the link.")])
        .answers(&[page(200, "The page with its form."), page(400, "The link is not complete.")]),
    operation(
        "GET /auth/confirm-device",
        "confirmDevicePage",
        "The page behind the link of a mail about wrong passwords",
    )
    .about("Opening it changes nothing; its button posts the token.")
    .with(&[in_query::<String>("token", "The token of the link.")])
    .answers(&[page(200, "The page with its button."), page(400, "The link is not complete.")]),
    operation("GET /auth/confirm-email", "confirmEmailPage", "The page behind the link to confirm another address")
        .about("Opening it changes nothing; its button posts the token.")
        .with(&[in_query::<String>("token", "The token of the link.")])
        .answers(&[page(200, "The page with its button."), page(400, "The link is not complete.")]),
    operation("GET /auth/account", "accountPage", "One's own account, for a person")
        .with(&[in_query::<String>("done", "What was done before, to be told on the page.")])
        .answers(&[
            page(200, "The page.").head(BINDING),
            nothing(303, "Nobody is signed in.").head(&[("Location", "The page to sign in at.")]),
        ])
        .troubles(&[503])
        .refuses(&[OFF]),
    operation("POST /auth/sessions/{id}/end", "endMySessionByForm", "End one of the caller's sessions, by a form")
        .about("A form cannot send a DELETE.")
        .with(&[in_path::<String>("id", "The session's id.")])
        .form::<OwnForm>()
        .answers(&[nothing(303, "It has ended.").head(&[("Location", "The account page.")])])
        .troubles(&[400, 403, 503]),
];

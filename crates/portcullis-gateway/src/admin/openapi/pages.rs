//! Rows of health, metrics, the pages for a person, and caught mail.

use crate::admin::mail::CaughtMail;
use crate::admin::pages::Login;
use crate::openapi::{Operation, in_query, json, media, nothing, operation, page};

const TO_LOGIN: &[(&str, &str)] = &[("Location", "/login")];

pub(super) const OPERATIONS: &[Operation] = &[
    operation("GET /", "index", "What there is, for a person")
        .answers(&[page(200, "The page."), nothing(303, "A browser without a login is sent to it.").head(TO_LOGIN)]),
    operation("GET /livez", "isAlive", "Whether the process lives").answers(&[media::<String>(
        200,
        "It does.",
        "text/plain",
    )]),
    operation("GET /readyz", "isReady", "Whether it may be sent traffic").answers(&[
        media::<String>(200, "It may.", "text/plain"),
        media::<String>(503, "A dependency is away, or it is stopping; one line for each reason.", "text/plain"),
    ]),
    operation("GET /metrics", "metrics", "Metrics in the text format of Prometheus").answers(&[
        media::<String>(200, "The metrics.", "text/plain"),
        nothing(303, "A browser without a login is sent to it.").head(TO_LOGIN),
    ]),
    operation("GET /login", "loginPage", "The page to log in at").answers(&[page(200, "The page.")]),
    operation("POST /login", "logIn", "Exchange the operator's token for a session cookie")
        .form::<Login>()
        .answers(&[
            nothing(303, "The session has begun.").head(&[("Location", "/"), ("Set-Cookie", "The session.")]),
            page(401, "That is not the token."),
        ])
        .refuses(&[(400, "The form is not one."), (415, "The body is not a form.")]),
    operation("POST /logout", "logOut", "End every operator's session")
        .about("The token itself goes on to be good.")
        .answers(&[nothing(303, "They have ended.").head(&[("Location", "/login"), ("Set-Cookie", "Takes it back.")])]),
    operation("GET /style.css", "style", "What the pages look like").answers(&[media::<String>(
        200,
        "The style sheet.",
        "text/css",
    )]),
    operation("GET /mail", "mailPage", "Caught mail, for a person")
        .with(&[in_query::<String>("to", "Only that to this address.")])
        .answers(&[page(200, "The page."), nothing(303, "A browser without a login is sent to it.").head(TO_LOGIN)])
        .refuses(&[(400, "The query has other members."), (404, "Mail is sent, or goes nowhere.")]),
    operation("GET /mail.json", "mails", "Caught mail, the newest first")
        .with(&[in_query::<String>("to", "Only that to this address.")])
        .answers(&[json::<Vec<CaughtMail>>(200, "The mails.")])
        .refuses(&[(400, "The query has other members."), (404, "Mail is sent, or goes nowhere.")]),
    operation("GET /openapi.json", "adminDocument", "This document")
        .answers(&[json::<serde_json::Map<String, serde_json::Value>>(200, "OpenAPI 3.1.")]),
];

//! The mail catcher: mail that was kept instead of sent, shown to the operator.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use portcullis_core::{Reason, RequestId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::pages::{escape, page as layout};
use super::{Shared, refuse};

/// A mail that was caught.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct CaughtMail {
    /// The recipient's address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The body, plain text.
    pub text: String,
    /// When it would have been sent.
    #[serde(serialize_with = "as_rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// Yields the mails that are kept, oldest first. It must bound their number itself.
pub type MailSource = Arc<dyn Fn() -> Vec<CaughtMail> + Send + Sync>;

/// Which mails are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    to: Option<String>,
}

type Asked = Result<Query<Filter>, QueryRejection>;

const UNKNOWN: Reason = Reason::Malformed("the query may have one member, `to`");

impl Filter {
    fn apply(&self, source: &MailSource) -> Vec<CaughtMail> {
        let mut mails = source();
        mails.reverse();
        mails.retain(|mail| self.to.as_ref().is_none_or(|to| mail.to.eq_ignore_ascii_case(to)));
        mails
    }
}

/// `GET /mail.json`: an array of `{to, subject, text, at}`, newest first.
pub(super) async fn json(State(admin): Shared, Extension(id): Extension<RequestId>, asked: Asked) -> Response {
    match (&admin.mails, asked) {
        (Some(source), Ok(Query(filter))) => Json(filter.apply(source)).into_response(),
        (Some(_), Err(_)) => refuse(&UNKNOWN, id),
        (None, _) => refuse(&Reason::NotFound, id),
    }
}

/// `GET /mail`: the same for a person. The texts are shown as text: a name that somebody registered under is no markup.
pub(super) async fn page(State(admin): Shared, Extension(id): Extension<RequestId>, asked: Asked) -> Response {
    let Some(source) = &admin.mails else { return refuse(&Reason::NotFound, id) };
    let Ok(Query(filter)) = asked else { return refuse(&UNKNOWN, id) };
    let mails = filter.apply(source);
    let mut body = String::from("<h1>Mail</h1><p>Caught instead of sent, newest first. <a href=\"/\">Back</a></p>");
    if mails.is_empty() {
        body.push_str("<p>No mail yet.</p>");
    }
    for mail in mails {
        body.push_str(&format!(
            "<article><h2>{}</h2><p>To {}, {}</p><pre>{}</pre></article>",
            escape(&mail.subject),
            escape(&mail.to),
            mail.at,
            escape(&mail.text)
        ));
    }
    Html(layout("Mail", &body)).into_response()
}

fn as_rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

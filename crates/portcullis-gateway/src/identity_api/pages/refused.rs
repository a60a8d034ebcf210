//! What the gate refuses on the way to a page, told to a person: a limit is reached, a session has ended.

use axum::http::header::ACCEPT;
use axum::http::{Request, StatusCode};
use maud::html;
use portcullis_core::{Problem, Reason};

use super::document;

/// Whether a browser asks for an identity endpoint as a page. A program that asks for nothing in particular, or for JSON, is
/// told of refusals as everywhere.
pub(crate) fn is_for_a_person<B>(request: &Request<B>) -> bool {
    let media = |value: &axum::http::HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
    request.uri().path().starts_with("/auth/") && request.headers().get_all(ACCEPT).iter().any(media)
}

/// Puts a page into the place of a problem's JSON; status and headers stay what they are. It leads on where there are pages
/// to go on to.
pub(crate) fn instead_of(problem: &mut Problem, reason: &Reason, leads_on: bool) {
    let (title, words) = match (problem.status, reason) {
        (StatusCode::UNAUTHORIZED, _) => {
            ("You are signed out", "Your session has ended. Please sign in again.".to_owned())
        }
        (_, Reason::LimitReached(limited)) => {
            let minutes = limited.retry_after.as_secs().div_ceil(60).max(1);
            let plural = if minutes == 1 { "" } else { "s" };
            let standard = || format!("Too many requests. Try again in {minutes} minute{plural}.");
            ("Please wait", limited.message.as_deref().map_or_else(standard, str::to_owned))
        }
        (_, Reason::MissingCsrfToken | Reason::InvalidCsrfToken) => (
            "Please send it again",
            "This page was open for too long, or you have signed in anew since. Nothing was changed.".to_owned(),
        ),
        (_, Reason::CrossSite) => ("This did not work", "This form did not come from here.".to_owned()),
        (status, _) if status.is_server_error() => {
            ("This did not work", "Something is busy or away. Please try again in a moment.".to_owned())
        }
        _ => ("This did not work", reason.error().to_owned()),
    };
    let body = html! {
        p { (words) }
        @if leads_on { p.more { a href="/auth/account" { "Go on" } } }
    };
    let (page, headers) = document(None, problem.status, title, &body, "'self'");
    problem.body = page.into_bytes();
    for (name, value) in headers {
        problem.headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::RequestId;

    use super::*;

    #[test]
    fn only_a_browser_on_an_identity_path_is_a_person() {
        let asked = |path: &str, accept: &str| {
            is_for_a_person(&Request::builder().uri(path).header("accept", accept).body(()).unwrap())
        };
        assert!(asked("/auth/login", "text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(!asked("/auth/login", "*/*") && !asked("/auth/login", "application/json"));
        assert!(!asked("/projects", "text/html") && !asked("/authors", "text/html"));
    }

    #[test]
    fn a_refusal_stays_one_and_becomes_readable() {
        let reason = Reason::TokenExpired;
        let mut problem = Problem::new(&reason, RequestId::from_bits(5));
        let before = problem.clone();
        instead_of(&mut problem, &reason, true);
        assert_eq!(problem.status, before.status);
        for (name, value) in &before.headers {
            assert!(name == "content-type" || problem.headers[name] == *value, "{name}");
        }
        let page = String::from_utf8(problem.body).unwrap();
        assert!(page.contains("Please sign in again."));
    }
}

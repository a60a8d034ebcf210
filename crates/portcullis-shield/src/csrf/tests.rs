use std::sync::Arc;

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use portcullis_core::{PrincipalParts, Scheme};

use super::*;
use crate::check::{Check as _, Reported, Seen};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const OURS: &str = "https://api.example.com";

fn csrf(rules: CsrfRules) -> Csrf {
    Csrf::new(rules, &Secret::new(vec![7; 32]))
}

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &[u8])| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn principal(issuer: Option<&str>, user: &str, session: Option<&str>) -> Principal {
    Principal::new(PrincipalParts {
        issuer: issuer.map(Into::into),
        session: session.map(Into::into),
        ..PrincipalParts::of(user, Scheme::Session, Timestamp::MAX)
    })
    .unwrap()
}

#[test]
fn h2_fetch_metadata_is_asked_first_and_the_origin_where_there_is_none() {
    let csrf = csrf(CsrfRules { trusted_origins: vec!["https://app.example.com".into()], ..CsrfRules::default() });
    for (pairs, foreign) in [
        (&[][..], false),
        (&[("origin", &b"https://api.example.com"[..])], false),
        (&[("origin", b"https://api.example.com:443")], true),
        (&[("origin", b"http://api.example.com")], true),
        (&[("origin", b"https://api.example.com.evil.example")], true),
        (&[("origin", b"https://evil-api.example.com")], true),
        (&[("origin", b"HTTPS://API.EXAMPLE.COM")], true),
        (&[("origin", b"null")], true),
        (&[("origin", b"")], true),
        (&[("origin", b"https://api.example.com\xff")], true),
        (&[("sec-fetch-site", b"same-origin")], false),
        (&[("sec-fetch-site", b"none")], false),
        (&[("sec-fetch-site", b"same-site")], true),
        (&[("sec-fetch-site", b"cross-site")], true),
        (&[("sec-fetch-site", b"whatever comes next")], true),
        (&[("sec-fetch-site", b"cross-site"), ("origin", b"https://api.example.com")], true),
        (&[("sec-fetch-site", b"same-site"), ("origin", b"https://app.example.com")], false),
        (&[("origin", b"https://app.example.com")], false),
        (&[("sec-fetch-site", b"cross-site"), ("origin", b"https://app.example.com.evil.example")], true),
    ] {
        assert_eq!(csrf.is_cross_site(&headers(pairs), OURS), foreign, "{pairs:?}");
    }
}

#[test]
fn h2_a_token_in_the_head_is_one_and_of_this_session() {
    let csrf = csrf(CsrfRules::default());
    let ours = BoundTo::own("s");
    let token = csrf.issue(ours, NOW).unwrap();
    let others = csrf.issue(BoundTo::own("t"), NOW).unwrap();
    let name = "x-csrf-token";
    let form = ("content-type", &b"application/x-www-form-urlencoded"[..]);
    let (token, others) = (token.as_bytes(), others.as_bytes());
    for (pairs, expected) in [
        (&[(name, token)][..], Ok(InHead::Good)),
        (&[(name, token), form], Ok(InHead::Good)),
        (&[(name, others)], Err(Reason::InvalidCsrfToken)),
        (&[(name, others), form], Err(Reason::InvalidCsrfToken)),
        (&[(name, token), (name, token)], Err(Reason::InvalidCsrfToken)),
        (&[(name, others), (name, token)], Err(Reason::InvalidCsrfToken)),
        (&[(name, b"\xff")], Err(Reason::InvalidCsrfToken)),
        (&[(name, b"")], Err(Reason::MissingCsrfToken)),
        (&[(name, b""), (name, token)], Ok(InHead::Good)),
        (&[("x-xsrf-token", token)], Err(Reason::MissingCsrfToken)),
        (&[form], Ok(InHead::MaybeInForm)),
        (&[("content-type", b"text/plain")], Err(Reason::MissingCsrfToken)),
        (&[], Err(Reason::MissingCsrfToken)),
    ] {
        assert_eq!(csrf.check_head(&headers(pairs), None, ours, NOW), expected, "{pairs:?}");
    }
    let late = NOW.after(Duration::from_secs(3_600));
    assert_eq!(csrf.check_head(&headers(&[(name, token)]), None, ours, late), Err(Reason::InvalidCsrfToken));
    let mut other = token.to_vec();
    other.reverse();
    for (known, held, expected) in [
        (Some(token), token, Ok(InHead::Good)),
        // What the cookie holds says nothing of another token in the header.
        (Some(token), other.as_slice(), Err(Reason::InvalidCsrfToken)),
        (Some(token), &token[..token.len() - 1], Err(Reason::InvalidCsrfToken)),
        (Some(token), b"", Err(Reason::MissingCsrfToken)),
    ] {
        let known = known.map(|known| std::str::from_utf8(known).unwrap());
        assert_eq!(csrf.check_head(&headers(&[(name, held)]), known, ours, NOW), expected, "{held:?}");
    }
    let huge = vec![b'A'; 60_000];
    assert_eq!(csrf.check_head(&headers(&[(name, &huge)]), None, ours, NOW), Err(Reason::InvalidCsrfToken));
}

#[test]
fn h2_a_token_in_a_form_is_read_with_the_body() {
    let csrf = Arc::new(csrf(CsrfRules { field: "authenticity_token".into(), ..CsrfRules::default() }));
    let ann = principal(None, "ann", Some("s"));
    let token = csrf.issue(BoundTo::of(&ann), NOW).unwrap();
    let (method, path) = (Method::POST, "/projects");
    let check = FormToken::new(Arc::clone(&csrf), NOW);
    let judged = |headers: &HeaderMap, principal: Option<&Principal>, body: &str| {
        let reported = Reported::default();
        let seen = Seen { method: &method, path, query: None, headers, principal, reported: &reported };
        check.check(&seen, body.as_bytes())
    };
    let form = headers(&[("content-type", b"application/x-www-form-urlencoded")]);
    let good = format!("title=a&authenticity_token={token}");
    assert_eq!(judged(&form, Some(&ann), &good), Ok(()));
    assert_eq!(judged(&form, Some(&principal(None, "ann", Some("t"))), &good), Err(Reason::InvalidCsrfToken));
    assert_eq!(judged(&form, None, &good), Err(Reason::MissingCsrfToken), "nobody's session has no token");
    assert_eq!(judged(&form, Some(&ann), "title=a"), Err(Reason::MissingCsrfToken));
    assert_eq!(judged(&form, Some(&ann), &format!("_csrf={token}")), Err(Reason::MissingCsrfToken), "another field");
    let twice = format!("{good}&authenticity_token={token}");
    assert_eq!(judged(&form, Some(&ann), &twice), Err(Reason::InvalidCsrfToken));
    assert_eq!(judged(&HeaderMap::new(), Some(&ann), &good), Err(Reason::MissingCsrfToken), "no form");
    let mut parts = HeaderMap::new();
    parts.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=x"));
    let body =
        format!("--x\r\nContent-Disposition: form-data; name=\"authenticity_token\"\r\n\r\n{token}\r\n--x--\r\n");
    assert_eq!(judged(&parts, Some(&ann), &body), Ok(()));
}

#[test]
fn h2_another_issuer_cannot_name_a_session_like_one_of_ours() {
    let csrf = csrf(CsrfRules::default());
    let ours = principal(None, "ann", Some("s"));
    let token = csrf.issue(BoundTo::of(&ours), NOW).unwrap();
    assert!(csrf.judge(token.as_bytes(), BoundTo::own("s"), NOW).is_some());
    for other in [
        principal(Some("corp"), "ann", Some("s")),
        principal(Some(""), "ann", Some("s")),
        principal(Some("corp"), "s", None),
        principal(None, "s", None),
        principal(None, "ann", None),
    ] {
        assert!(csrf.judge(token.as_bytes(), BoundTo::of(&other), NOW).is_none(), "{other:?}");
    }
}

#[test]
fn h2_a_token_is_replaced_when_half_of_its_life_is_over() {
    let csrf = csrf(CsrfRules::default());
    let after = |seconds| Some(Good { age: Duration::from_secs(seconds) });
    assert!(csrf.is_due(None));
    assert!(!csrf.is_due(after(0)) && !csrf.is_due(after(1_799)));
    assert!(csrf.is_due(after(1_800)));
}

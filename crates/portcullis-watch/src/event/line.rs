//! One line of the record, for machines (JSON) and for people.

use std::fmt::Write as _;

use portcullis_core::{Event, EventKind, Severity, Timestamp};
use serde::Serialize;

/// Bytes that are kept of any text in a line. Ids, patterns and names of limits are shorter; what is longer is somebody's
/// invention.
pub(super) const MAX_TEXT: usize = 256;

/// One line: an event, or the repetitions of one.
#[derive(Debug)]
pub(super) struct Line {
    /// The (last) event.
    pub event: Event,
    /// How many events the line stands for.
    pub count: u64,
    /// When the first of them happened, if they are several.
    pub since: Option<Timestamp>,
}

#[derive(Serialize)]
struct Json<'a> {
    ts: String,
    kind: &'static str,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

impl Line {
    /// A line for one event.
    pub(super) const fn once(event: Event) -> Self {
        Self { event, count: 1, since: None }
    }

    /// Whether it belongs into the stream of limit hits.
    pub(super) const fn is_limit_hit(&self) -> bool {
        matches!(
            self.event.kind,
            EventKind::LimitHit | EventKind::LimitWouldHit | EventKind::LimitsDisagree | EventKind::LimitSlowed
        )
    }

    /// Appends the line as JSON, newline included. The serializer escapes every control character, so one event is one
    /// line whatever its texts hold.
    pub(super) fn push_json(&self, out: &mut Vec<u8>) {
        let event = &self.event;
        let json = Json {
            ts: event.at.to_rfc3339(),
            kind: event.kind.as_str(),
            severity: severity(event.kind.severity()),
            client: event.client,
            user: event.user.as_deref().map(bounded),
            route: event.route.as_deref().map(bounded),
            limit: event.limit.as_deref().map(bounded),
            reason: event.reason.map(bounded),
            rule: event.rule.as_deref().map(bounded),
            request_id: event.request_id.map(|id| id.to_string()),
            count: self.count,
            since: self.since.map(Timestamp::to_rfc3339),
        };
        if serde_json::to_writer(&mut *out, &json).is_ok() {
            out.push(b'\n');
        }
    }

    /// Appends the line for a person at a terminal, newline included. Texts that are not plain words are quoted with
    /// their control characters escaped, so that nobody can paint the operator's screen.
    pub(super) fn push_readable(&self, out: &mut String) {
        let event = &self.event;
        let moment = event.at.to_rfc3339();
        let time = moment.get(11..23).unwrap_or(&moment);
        let _ = write!(out, "{time} {:<7} {}", severity(event.kind.severity()), event.kind.as_str());
        if let Some(client) = event.client {
            let _ = write!(out, " client={client}");
        }
        for (name, text) in [
            ("user", event.user.as_deref()),
            ("route", event.route.as_deref()),
            ("limit", event.limit.as_deref()),
            ("reason", event.reason),
            ("rule", event.rule.as_deref()),
        ] {
            if let Some(text) = text.map(bounded) {
                if !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@:/".contains(&byte))
                {
                    let _ = write!(out, " {name}={text}");
                } else {
                    let _ = write!(out, " {name}={:?}", text);
                }
            }
        }
        if let Some(id) = event.request_id {
            let _ = write!(out, " request={id}");
        }
        if self.count > 1 || self.since.is_some() {
            let _ = write!(out, " (and {} more like it)", self.count);
        }
        out.push('\n');
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Notice => "notice",
        Severity::Warning => "warning",
    }
}

pub(super) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use portcullis_core::RequestId;

    use super::*;

    fn hostile() -> Line {
        let mut event = Event::new(Timestamp::from_millis(1_795_234_421_042), EventKind::LoginFailed);
        event.client = Some("2001:db8::1".parse().unwrap());
        event.user = Some(format!("eve\"\n{{\"kind\":\"reloaded\"}}\u{1b}[2J\u{202e}{}", "x".repeat(9_000)).into());
        event.reason = Some("wrong_password");
        event.request_id = Some(RequestId::from_bits(7));
        Line::once(event)
    }

    #[test]
    fn w1_a_line_has_the_promised_members() {
        let mut out = Vec::new();
        hostile().push_json(&mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["ts"], "2026-11-21T04:13:41.042Z");
        assert_eq!(json["kind"], "login_failed");
        assert_eq!(json["severity"], "notice");
        assert_eq!(json["client"], "2001:db8::1");
        assert_eq!(json["reason"], "wrong_password");
        assert_eq!(json["request_id"], "00000000000000000000000000000007");
        assert_eq!(json["count"], 1);
    }

    #[test]
    fn w1_no_text_can_make_a_second_line_or_a_long_one() {
        let mut out = Vec::new();
        hostile().push_json(&mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(out.len() < 1_024, "{}", out.len());
        let mut text = String::new();
        hostile().push_readable(&mut text);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.chars().filter(|c| *c != '\n').all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
    }

    #[test]
    fn a_readable_line_is_readable() {
        let mut event = Event::new(Timestamp::from_millis(1_795_234_421_042), EventKind::LimitHit);
        event.client = Some("127.0.0.1".parse().unwrap());
        event.limit = Some("login".into());
        event.route = Some("POST /auth/login".into());
        let mut text = String::new();
        Line { event, count: 41, since: Some(Timestamp::EPOCH) }.push_readable(&mut text);
        assert_eq!(
            text,
            "04:13:41.042 notice  limit_hit client=127.0.0.1 route=\"POST /auth/login\" limit=login (and 41 more like it)\n"
        );
    }
}

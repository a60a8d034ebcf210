//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use portcullis_core::{EventKind, Reason};

use super::{BUCKETS_MICROS, CLASSES, Handshake, Http2Flood, MAX_NAMES, Metrics, Names, Outcome};

/// Shows all metrics.
pub(super) fn render(metrics: &Metrics) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));

    page.head("portcullis_requests_total", "counter", "Requests by what became of them and by status class.");
    for outcome in Outcome::ALL {
        for (class, counter) in CLASSES.iter().zip(&metrics.requests[outcome as usize]) {
            let labels = [("outcome", outcome.as_str()), ("status_class", class)];
            page.line("portcullis_requests_total", &labels, counter.value());
        }
    }

    page.head("portcullis_refusals_total", "counter", "Refused requests by reason.");
    for (slug, counter) in Reason::SLUGS.iter().zip(&metrics.refusals) {
        page.line("portcullis_refusals_total", &[("reason", slug)], counter.value());
    }

    page.names("portcullis_limit_hits_total", "limit", "Requests that a limit refused.", &metrics.limits);
    let help = "Requests that a limit in report mode would have refused.";
    page.names("portcullis_limit_would_hits_total", "limit", help, &metrics.reporting_limits);
    let help = "Requests that a limit let pass late.";
    page.names("portcullis_limit_slowed_total", "limit", help, &metrics.slowing_limits);
    compared(&mut page, metrics);
    page.names("portcullis_route_requests_total", "route", "Requests by configured route.", &metrics.routes);
    duration(&mut page, metrics);

    page.head(
        "portcullis_events_total",
        "counter",
        "Events by kind, those that the log dropped or summed up included.",
    );
    for (kind, counter) in EventKind::ALL.iter().zip(&metrics.events) {
        page.line("portcullis_events_total", &[("kind", kind.as_str())], counter.value());
    }
    page.head("portcullis_logins_total", "counter", "Logins by outcome.");
    for (kind, counter) in EventKind::ALL.iter().zip(&metrics.events) {
        let outcome = match kind {
            EventKind::LoginSucceeded => "succeeded",
            EventKind::LoginFailed => "failed",
            _ => continue,
        };
        page.line("portcullis_logins_total", &[("outcome", outcome)], counter.value());
    }

    for (name, help, counter) in [
        ("portcullis_upstream_errors_total", "Upstream exchanges that failed.", &metrics.upstream_errors),
        ("portcullis_token_cache_hits_total", "Verified tokens found in the cache.", &metrics.token_cache_hits),
        ("portcullis_token_cache_misses_total", "Tokens that had to be verified.", &metrics.token_cache_misses),
        (
            "portcullis_admin_login_failures_total",
            "Wrong tokens presented to the operator's listener.",
            &metrics.admin_login_failures,
        ),
        ("portcullis_connections_accepted_total", "Client connections accepted.", &metrics.connections_accepted),
        ("portcullis_connections_refused_total", "Client connections turned away.", &metrics.connections_refused),
        (
            "portcullis_connections_stalled_total",
            "Client connections, and streams of HTTP/2, that were ended because the client took nothing of its answer in time.",
            &metrics.connections_stalled,
        ),
    ] {
        page.head(name, "counter", help);
        page.line(name, &[], counter.value());
    }
    page.head("portcullis_tls_handshakes_total", "counter", "TLS handshakes by how they ended.");
    for (end, counter) in Handshake::ALL.iter().zip(&metrics.handshakes) {
        page.line("portcullis_tls_handshakes_total", &[("outcome", end.as_str())], counter.value());
    }
    let name = "portcullis_http2_floods_total";
    page.head(name, "counter", "HTTP/2 connections closed because of what they asked for, by kind.");
    for kind in Http2Flood::ALL {
        page.line(name, &[("kind", kind.as_str())], metrics.http2_floods[kind as usize].value());
    }
    page.head("portcullis_connections_open", "gauge", "Open client connections.");
    page.line("portcullis_connections_open", &[], metrics.connections_open.value());

    for sample in metrics.samples.read().iter() {
        page.head(sample.name, if sample.name.ends_with("_total") { "counter" } else { "gauge" }, sample.help);
        page.line(sample.name, &[], (sample.value)());
    }
    page.0
}

/// Limits beside those that may replace them; nothing where none are.
fn compared(page: &mut Page, metrics: &Metrics) {
    let pairs = metrics.comparisons.read().0.as_ref().map(|told| told()).unwrap_or_default();
    if pairs.is_empty() {
        return;
    }
    let name = "portcullis_limit_compared_total";
    page.head(name, "counter", "Requests by what a limit did and what the one that may replace it would have done.");
    let words = ["admitted", "refused"];
    for pair in pairs.iter().take(MAX_NAMES) {
        for (live, said) in words.iter().zip(pair.said) {
            for (candidate, value) in words.iter().zip(said) {
                let labels = [
                    ("limit", &*pair.limit),
                    ("candidate", &*pair.candidate),
                    ("live", live),
                    ("candidate_would", candidate),
                ];
                page.line(name, &labels, value);
            }
        }
    }
    let name = "portcullis_limit_not_compared_total";
    page.head(name, "counter", "Requests that a limit refused and the one that may replace it was not asked about.");
    for pair in pairs.iter().take(MAX_NAMES) {
        page.line(name, &[("limit", &*pair.limit), ("candidate", &*pair.candidate)], pair.not_compared);
    }
}

/// The histogram of durations. Its count is the last bucket, so that the two can never disagree.
fn duration(page: &mut Page, metrics: &Metrics) {
    let help = "Seconds from the end of a request's head to the start of its answer.";
    page.head("portcullis_request_duration_seconds", "histogram", help);
    let mut total = 0;
    for (index, counter) in metrics.duration_buckets.iter().enumerate() {
        total += counter.value();
        let bound = BUCKETS_MICROS.get(index).map_or("+Inf".to_owned(), |micros| seconds(*micros));
        page.line("portcullis_request_duration_seconds_bucket", &[("le", &bound)], total);
    }
    page.line("portcullis_request_duration_seconds_sum", &[], seconds(metrics.duration_micros.value()));
    page.line("portcullis_request_duration_seconds_count", &[], total);
}

/// Microseconds as seconds, without trailing zeros.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.push(format_args!("{}{label}=\"", if index == 0 { '{' } else { ',' }));
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        self.push(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    fn names(&mut self, name: &str, label: &str, help: &str, names: &Names) {
        self.head(name, "counter", help);
        let counters = names.counters.read();
        let mut sorted: Vec<_> = counters.iter().filter(|(name, _)| &***name != "other").collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        for (text, counter) in sorted {
            self.line(name, &[(label, text)], counter.value());
        }
        // A limit that somebody named `other` shares the line of those that got none.
        let named_other = counters.get("other").map_or(0, super::Counter::value);
        self.line(name, &[(label, "other")], names.other.value() + named_other);
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }
}

//! Counters and gauges in memory, shown in the text format of Prometheus.
//!
//! The cells are our own rather than a metrics library's: such libraries keep every single duration until somebody
//! collects it, so their memory grows with the traffic of strangers, and they share one cell between all cores. Here a
//! count is one relaxed add to a cache line that other threads seldom touch, and a duration is one add to a bucket.
//! Labels are bounded by construction: they come from closed lists and from names in the configuration, never from a
//! request.

mod cell;
mod http2;
mod render;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::RwLock;
use portcullis_core::{EventKind, Reason};

pub use cell::{Counter, Gauge};
pub use http2::Http2Flood;

/// Different routes and limits that get a counter of their own; further ones share `other`. Reloads add up, because a
/// counter that once existed must not start again.
const MAX_NAMES: usize = 200;

/// Upper bounds of the duration buckets, in microseconds. The last bucket is open.
const BUCKETS_MICROS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 10_000_000];

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was passed on.
    Pass,
    /// The gate answered it itself.
    Answer,
    /// It was refused.
    Refuse,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Pass, Self::Answer, Self::Refuse];

    /// The value of the label `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Answer => "answer",
            Self::Refuse => "refuse",
        }
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// A new session was agreed upon.
    Full,
    /// An earlier session goes on.
    Resumed,
    /// It failed: nothing was agreed upon, or the client's certificate is not good.
    Failed,
    /// It was not done in time.
    Late,
    /// The client does not speak TLS at all.
    Plain,
}

impl Handshake {
    const ALL: [Self; 5] = [Self::Full, Self::Resumed, Self::Failed, Self::Late, Self::Plain];

    /// The value of the label `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Plain => "plain",
        }
    }
}

/// Values of the label `status_class`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A value that somebody else keeps and that is asked for when the metrics are shown.
pub struct Sample {
    /// The metric's full name (`portcullis_…`; ends in `_total` if it is a counter).
    pub name: &'static str,
    /// One sentence about it.
    pub help: &'static str,
    /// The present value. Called at every scrape, so it must be quick and must not block.
    pub value: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a limit and the one that may replace it said of the same requests.
#[derive(Clone, Debug)]
pub struct ComparedLimits {
    /// The limit that refuses, by its configured name.
    pub limit: Arc<str>,
    /// The one that only reports, by its configured name.
    pub candidate: Arc<str>,
    /// Requests: first by whether the limit refused, then by whether the candidate would have.
    pub said: [[u64; 2]; 2],
    /// Requests that the limit refused and the candidate was not asked about.
    pub not_compared: u64,
}

/// Tells all comparisons; called at every scrape.
type Comparisons = Box<dyn Fn() -> Vec<ComparedLimits> + Send + Sync>;

/// All metrics of a process. Everything that is known beforehand is registered at the start, so that a series exists (at
/// zero) before the first thing happens.
#[derive(Debug)]
pub struct Metrics {
    requests: [[Counter; CLASSES.len()]; Outcome::ALL.len()],
    duration_buckets: [Counter; BUCKETS_MICROS.len() + 1],
    duration_micros: Counter,
    refusals: [Counter; Reason::SLUGS.len()],
    events: [Counter; EventKind::ALL.len()],
    handshakes: [Counter; Handshake::ALL.len()],
    http2_floods: [Counter; Http2Flood::ALL.len()],
    limits: Names,
    reporting_limits: Names,
    slowing_limits: Names,
    routes: Names,
    /// Upstream exchanges that failed (refused, broken off, timed out, invalid); a [`crate::Recorder`] adds to it.
    pub upstream_errors: Counter,
    /// Verified tokens found in the cache.
    pub token_cache_hits: Counter,
    /// Tokens whose signature had to be verified.
    pub token_cache_misses: Counter,
    /// Wrong tokens presented to the operator's listener.
    pub admin_login_failures: Counter,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections turned away because a bound was reached.
    pub connections_refused: Counter,
    /// Client connections closed because the client took nothing of its answer in time.
    pub connections_stalled: Counter,
    /// Open client connections.
    pub connections_open: Gauge,
    samples: RwLock<Vec<Sample>>,
    comparisons: RwLock<Asked>,
}

/// Who tells the comparisons, once there is somebody.
#[derive(Default)]
struct Asked(Option<Comparisons>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.0.is_some()).finish()
    }
}

/// Counters by configured name, bounded in number.
#[derive(Debug, Default)]
struct Names {
    counters: RwLock<HashMap<Arc<str>, Counter>>,
    other: Counter,
}

impl Names {
    fn counter(&self, name: &str) -> Counter {
        if let Some(counter) = self.counters.read().get(name) {
            return counter.clone();
        }
        let mut counters = self.counters.write();
        if let Some(counter) = counters.get(name) {
            return counter.clone();
        }
        if counters.len() >= MAX_NAMES {
            return self.other.clone();
        }
        let counter = Counter::default();
        counters.insert(name.into(), counter.clone());
        counter
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Every metric at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            requests: Default::default(),
            duration_buckets: Default::default(),
            duration_micros: Counter::default(),
            refusals: std::array::from_fn(|_| Counter::default()),
            events: Default::default(),
            handshakes: Default::default(),
            http2_floods: Default::default(),
            limits: Names::default(),
            reporting_limits: Names::default(),
            slowing_limits: Names::default(),
            routes: Names::default(),
            upstream_errors: Counter::default(),
            token_cache_hits: Counter::default(),
            token_cache_misses: Counter::default(),
            admin_login_failures: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_stalled: Counter::default(),
            connections_open: Gauge::default(),
            samples: RwLock::default(),
            comparisons: RwLock::default(),
        }
    }

    /// Counts one finished request: what became of it, the status code that the client saw, and how long it took from
    /// the end of its head to the start of its answer.
    pub fn request(&self, outcome: Outcome, status: u16, took: Duration) {
        let class = usize::from((status / 100).clamp(1, 5) - 1);
        self.requests[outcome as usize][class].add(1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.duration_buckets[bucket].add(1);
        self.duration_micros.add(micros);
    }

    /// Counts one TLS handshake by its end.
    pub fn handshake(&self, end: Handshake) {
        self.handshakes[end as usize].add(1);
    }

    /// Counts one refusal by its reason.
    pub fn refused(&self, reason: &Reason) {
        let slug = reason.slug();
        if let Some(index) = Reason::SLUGS.iter().position(|known| *known == slug) {
            self.refusals[index].add(1);
        }
    }

    /// Counts one connection of HTTP/2 that was closed for a flood (`portcullis_http2_floods_total`).
    pub fn http2_flood(&self, kind: Http2Flood) {
        self.http2_floods[kind as usize].add(1);
    }

    /// Counts one event by its kind.
    pub fn event(&self, kind: EventKind) {
        if let Some(index) = EventKind::ALL.iter().position(|known| *known == kind) {
            self.events[index].add(1);
        }
    }

    /// The counter of a configured limit's refusals (`portcullis_limit_hits_total`), which a [`crate::Recorder`] adds to.
    /// Asking for it when a policy is loaded makes the series exist from the start. At most 200 names get their own, then
    /// `other`.
    #[must_use]
    pub fn limit_hits(&self, limit: &str) -> Counter {
        self.limits.counter(limit)
    }

    /// The same for what a limit in report mode would have refused (`portcullis_limit_would_hits_total`).
    #[must_use]
    pub fn limit_would_hits(&self, limit: &str) -> Counter {
        self.reporting_limits.counter(limit)
    }

    /// The same for what a limit let pass late (`portcullis_limit_slowed_total`).
    #[must_use]
    pub fn limit_slowed(&self, limit: &str) -> Counter {
        self.slowing_limits.counter(limit)
    }

    /// The counter of a configured route's requests (`portcullis_route_requests_total`). Ask for it when a policy is
    /// loaded and keep it; the name is the route's pattern, never a path that a client sent. At most 200 names get
    /// their own, then `other`.
    #[must_use]
    pub fn route_requests(&self, route: &str) -> Counter {
        self.routes.counter(route)
    }

    /// Shows a value that somebody else keeps (limiter keys, evictions, dropped events). A second sample of the same
    /// name replaces the first.
    pub fn sample(&self, sample: Sample) {
        let mut samples = self.samples.write();
        samples.retain(|known| known.name != sample.name);
        samples.push(sample);
        samples.sort_by_key(|sample| sample.name);
    }

    /// Shows what limits and those that may replace them said of the same requests (`portcullis_limit_compared_total`, and
    /// `portcullis_limit_not_compared_total`): five series for each pair, for 200 pairs at most. A pair begins anew when a reload changes one of the two.
    pub fn comparisons(&self, told: impl Fn() -> Vec<ComparedLimits> + Send + Sync + 'static) {
        self.comparisons.write().0 = Some(Box::new(told));
    }

    /// All metrics in the text format of Prometheus, version 0.0.4 (`text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        render::render(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.render();
        assert!(text.lines().any(|known| known == line), "no line `{line}` in:\n{text}");
    }

    #[test]
    fn w2_every_known_series_exists_before_anything_happens() {
        let metrics = Metrics::new();
        for slug in Reason::SLUGS {
            has(&metrics, &format!("portcullis_refusals_total{{reason=\"{slug}\"}} 0"));
        }
        has(&metrics, "portcullis_requests_total{outcome=\"pass\",status_class=\"2xx\"} 0");
        has(&metrics, "portcullis_connections_open 0");
        has(&metrics, "portcullis_logins_total{outcome=\"failed\"} 0");
    }

    #[test]
    fn w2_requests_are_counted_by_outcome_and_class() {
        let metrics = Metrics::new();
        metrics.request(Outcome::Pass, 204, Duration::from_micros(99));
        metrics.request(Outcome::Refuse, 429, Duration::from_micros(100));
        metrics.request(Outcome::Refuse, 401, Duration::from_millis(3));
        metrics.request(Outcome::Answer, 999, Duration::from_secs(60));
        has(&metrics, "portcullis_requests_total{outcome=\"pass\",status_class=\"2xx\"} 1");
        has(&metrics, "portcullis_requests_total{outcome=\"refuse\",status_class=\"4xx\"} 2");
        has(&metrics, "portcullis_requests_total{outcome=\"answer\",status_class=\"5xx\"} 1");
        has(&metrics, "portcullis_request_duration_seconds_bucket{le=\"0.0001\"} 2");
        has(&metrics, "portcullis_request_duration_seconds_bucket{le=\"0.0025\"} 2");
        has(&metrics, "portcullis_request_duration_seconds_bucket{le=\"0.005\"} 3");
        has(&metrics, "portcullis_request_duration_seconds_bucket{le=\"10\"} 3");
        has(&metrics, "portcullis_request_duration_seconds_bucket{le=\"+Inf\"} 4");
        has(&metrics, "portcullis_request_duration_seconds_count 4");
        has(&metrics, "portcullis_request_duration_seconds_sum 60.003199");
    }

    #[test]
    fn w2_refusals_and_limit_hits_have_their_names() {
        let metrics = Metrics::new();
        metrics.refused(&Reason::NotFound);
        metrics.limit_hits("login").add(2);
        metrics.limit_hits("login").add(1);
        has(&metrics, "portcullis_refusals_total{reason=\"not_found\"} 1");
        has(&metrics, "portcullis_limit_hits_total{limit=\"login\"} 3");
    }

    #[test]
    fn labels_are_bounded_whatever_the_configuration_says() {
        let metrics = Metrics::new();
        for index in 0..1_000 {
            metrics.route_requests(&format!("GET /route/{index}")).add(1);
        }
        let text = metrics.render();
        assert_eq!(text.matches("portcullis_route_requests_total{").count(), MAX_NAMES + 1);
        has(&metrics, "portcullis_route_requests_total{route=\"other\"} 800");
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new();
        metrics.limit_hits("a\"b\\c\nd").add(1);
        has(&metrics, r#"portcullis_limit_hits_total{limit="a\"b\\c\nd"} 1"#);
    }

    #[test]
    fn w2_compared_limits_are_five_series_a_pair_and_bounded() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("portcullis_limit_compared_total"), "nothing is compared");
        let pair = |n: u64| ComparedLimits {
            limit: "login".into(),
            candidate: format!("next-{n}").into(),
            said: [[n, n + 1], [n + 2, n + 3]],
            not_compared: n + 4,
        };
        metrics.comparisons(move || (0..MAX_NAMES as u64 + 50).map(pair).collect());
        for (live, candidate, value) in [
            ("admitted", "admitted", 7),
            ("admitted", "refused", 8),
            ("refused", "admitted", 9),
            ("refused", "refused", 10),
        ] {
            has(
                &metrics,
                &format!(
                    "portcullis_limit_compared_total{{limit=\"login\",candidate=\"next-7\",live=\"{live}\",\
                     candidate_would=\"{candidate}\"}} {value}"
                ),
            );
        }
        has(&metrics, "portcullis_limit_not_compared_total{limit=\"login\",candidate=\"next-7\"} 11");
        assert_eq!(metrics.render().matches("portcullis_limit_compared_total{").count(), 4 * MAX_NAMES);
        assert_eq!(metrics.render().matches("portcullis_limit_not_compared_total{").count(), MAX_NAMES);
    }

    #[test]
    fn samples_are_asked_at_every_scrape_and_replaced_by_name() {
        let metrics = Metrics::new();
        let sample = |value| Sample {
            name: "portcullis_limiter_keys",
            help: "Keys the limiter holds.",
            value: Box::new(move || value),
        };
        metrics.sample(sample(1));
        metrics.sample(sample(7));
        has(&metrics, "portcullis_limiter_keys 7");
        has(&metrics, "# TYPE portcullis_limiter_keys gauge");
        metrics.sample(Sample { name: "portcullis_drops_total", help: "Drops.", value: Box::new(|| 3) });
        has(&metrics, "# TYPE portcullis_drops_total counter");
    }

    #[test]
    fn the_text_follows_the_exposition_format() {
        let metrics = Metrics::new();
        metrics.limit_hits("x").add(1);
        let text = metrics.render();
        assert!(text.ends_with('\n'));
        let mut declared = std::collections::BTreeSet::new();
        let mut series = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(declared.insert(rest.split(' ').next().unwrap().to_owned()), "declared twice: {line}");
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(series.insert(name.to_owned()), "two series of one name: {line}");
                let base = name.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| base.strip_suffix(end).filter(|base| declared.contains(*base)));
                assert!(base.is_some() || declared.contains(name.split('{').next().unwrap()), "undeclared: {line}");
            }
        }
    }

    #[test]
    fn counts_from_many_threads_add_up() {
        let metrics = Metrics::new();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        metrics.request(Outcome::Pass, 200, Duration::from_micros(1));
                    }
                });
            }
        });
        has(&metrics, "portcullis_requests_total{outcome=\"pass\",status_class=\"2xx\"} 20000");
        has(&metrics, "portcullis_request_duration_seconds_count 20000");
    }
}

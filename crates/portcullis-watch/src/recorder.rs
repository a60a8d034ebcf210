//! The sink that the rest of the process sees: counts an event, then queues it.

use std::sync::Arc;

use portcullis_core::{Event, EventKind, EventSink};

use crate::{EventLog, Metrics};

/// Counts every event in the metrics and hands it to the log. The count is exact even where the log drops or aggregates.
///
/// Limit hits (by the limit's name) and failures of the upstream are counted here and nowhere else, so that the records
/// and the metrics cannot tell different stories.
#[derive(Debug, Clone)]
pub struct Recorder {
    metrics: Arc<Metrics>,
    log: Option<Arc<EventLog>>,
}

impl Recorder {
    /// Counts into `metrics`, writes into `log` where there is one.
    #[must_use]
    pub const fn new(metrics: Arc<Metrics>, log: Option<Arc<EventLog>>) -> Self {
        Self { metrics, log }
    }
}

impl EventSink for Recorder {
    fn record(&self, event: Event) {
        self.metrics.event(event.kind);
        match (event.kind, &event.limit) {
            (EventKind::LimitHit, Some(limit)) => self.metrics.limit_hits(limit).add(1),
            (EventKind::LimitWouldHit, Some(limit)) => self.metrics.limit_would_hits(limit).add(1),
            (EventKind::LimitSlowed, Some(limit)) => self.metrics.limit_slowed(limit).add(1),
            (EventKind::UpstreamFailed, _) => self.metrics.upstream_errors.add(1),
            _ => {}
        }
        if let Some(log) = &self.log {
            log.record(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::Timestamp;

    use super::*;

    #[test]
    fn every_event_is_counted_by_its_kind() {
        let metrics = Arc::new(Metrics::new());
        let recorder = Recorder::new(Arc::clone(&metrics), None);
        recorder.record(Event::new(Timestamp::EPOCH, EventKind::LoginFailed));
        recorder.record(Event::new(Timestamp::EPOCH, EventKind::LoginFailed));
        let mut hit = Event::new(Timestamp::EPOCH, EventKind::LimitHit);
        hit.limit = Some("login".into());
        recorder.record(hit.clone());
        recorder.record(Event { kind: EventKind::LimitWouldHit, ..hit.clone() });
        recorder.record(Event { kind: EventKind::LimitSlowed, ..hit });
        recorder.record(Event::new(Timestamp::EPOCH, EventKind::UpstreamFailed));
        let text = metrics.render();
        assert!(text.contains("portcullis_limit_hits_total{limit=\"login\"} 1\n"), "{text}");
        assert!(text.contains("portcullis_limit_would_hits_total{limit=\"login\"} 1\n"), "{text}");
        assert!(text.contains("portcullis_limit_slowed_total{limit=\"login\"} 1\n"), "{text}");
        assert!(text.contains("portcullis_upstream_errors_total 1\n"), "{text}");
        assert!(text.contains("portcullis_events_total{kind=\"login_failed\"} 2\n"), "{text}");
        assert!(text.contains("portcullis_logins_total{outcome=\"failed\"} 2\n"), "{text}");
        assert!(text.contains("portcullis_logins_total{outcome=\"succeeded\"} 0\n"), "{text}");
    }
}

//! The sink that the rest of the process sees: counts an event, then queues it.

use std::sync::Arc;

use portcullis_core::{Event, EventSink};

use crate::{EventLog, Metrics};

/// Counts every event in the metrics and hands it to the log. The count is exact even where the log drops or aggregates.
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
        if let Some(log) = &self.log {
            log.record(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::{EventKind, Timestamp};

    use super::*;

    #[test]
    fn every_event_is_counted_by_its_kind() {
        let metrics = Arc::new(Metrics::new());
        let recorder = Recorder::new(Arc::clone(&metrics), None);
        recorder.record(Event::new(Timestamp::EPOCH, EventKind::LoginFailed));
        recorder.record(Event::new(Timestamp::EPOCH, EventKind::LoginFailed));
        let text = metrics.render();
        assert!(text.contains("portcullis_events_total{kind=\"login_failed\"} 2\n"), "{text}");
        assert!(text.contains("portcullis_logins_total{outcome=\"failed\"} 2\n"), "{text}");
        assert!(text.contains("portcullis_logins_total{outcome=\"succeeded\"} 0\n"), "{text}");
    }
}

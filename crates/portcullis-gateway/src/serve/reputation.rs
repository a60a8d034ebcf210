//! The figures of what is known of addresses.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::{Gate, ReputationFigures};
use portcullis_core::{Clock as _, Timestamp};
use portcullis_watch::{Metrics, Sample};

use crate::clock::ProcessClock;

/// All figures of one look at the metrics are of one count, which goes through every address that is remembered.
const FRESH: Duration = Duration::from_millis(100);

/// Counts at most once in a while.
struct Counted {
    gate: Arc<Gate>,
    last: Mutex<(Timestamp, ReputationFigures)>,
}

impl Counted {
    fn figures(&self) -> ReputationFigures {
        let now = ProcessClock.now();
        let mut last = self.last.lock();
        if now.since(last.0) > FRESH {
            *last = (now, self.gate.reputation_figures(now));
        }
        last.1
    }
}

/// Shows them.
pub(super) fn show(metrics: &Metrics, gate: &Arc<Gate>) {
    let last = Mutex::new((Timestamp::EPOCH, ReputationFigures::default()));
    let counted = Arc::new(Counted { gate: Arc::clone(gate), last });
    let add = |name, help, figure: fn(ReputationFigures) -> u64| {
        let counted = Arc::clone(&counted);
        metrics.sample(Sample { name, help, value: Box::new(move || figure(counted.figures())) });
    };
    add("portcullis_reputation_addresses", "Addresses of which anything is known at the moment.", |all| all.known);
    add("portcullis_reputation_suspect", "Addresses that are suspect at the moment.", |all| all.suspect);
    add("portcullis_reputation_bad", "Addresses that are held to be bad at the moment.", |all| all.bad);
    add("portcullis_reputation_challenged", "Addresses that count as challenged at the moment.", |all| all.challenged);
    let help = "Addresses that were forgotten early, for worse ones.";
    add("portcullis_reputation_forgotten_total", help, |all| all.forgotten);
    let help = "Offences that were not remembered, because all that are weigh more.";
    add("portcullis_reputation_unheard_total", help, |all| all.unheard);
}

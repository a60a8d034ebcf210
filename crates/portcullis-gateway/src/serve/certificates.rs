//! Certificates by ACME: the chore that orders them, and how it goes as figures.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::EventSink;
use portcullis_watch::{Metrics, Sample};

use crate::acme::{Keeper, Planned, Status};
use crate::listen::Shared;

/// The chore, which waits where no certificate comes by ACME: a reload may bring a plan.
pub(super) fn keep(
    planned: &Planned,
    shared: &Shared,
    metrics: &Metrics,
    events: Arc<dyn EventSink>,
) -> impl Future<Output = ()> + Send + use<> {
    let status = Arc::<Status>::default();
    show(metrics, &status);
    let challenges = Arc::clone(shared.challenges());
    Keeper { plan: planned.subscribe(), challenges, status, events }.keep()
}

fn show(metrics: &Metrics, status: &Arc<Status>) {
    let add = |name, help, value: fn(&Status) -> &AtomicU64| {
        let status = Arc::clone(status);
        metrics.sample(Sample { name, help, value: Box::new(move || value(&status).load(Ordering::Relaxed)) });
    };
    add("portcullis_acme_obtained_total", "Orders that brought a certificate.", |status| &status.obtained);
    add("portcullis_acme_failed_total", "Orders that brought no certificate.", |status| &status.failed);
    add("portcullis_acme_failing", "Orders that failed since the last one that did not.", |status| &status.failing);
    add(
        "portcullis_acme_next_order_seconds",
        "When the next certificate is ordered, in seconds since 1970; 0 where none is.",
        |status| &status.next,
    );
}

//! Files that change while the gate runs: a certificate that was renewed is taken without a word from anybody.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::{Clock as _, Event, EventKind, EventSink};

use super::{Current, TlsPlan};
use crate::clock::ProcessClock;
use crate::config::Process;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one state of the files from another. The inode is part of it: who renews a certificate often puts a new file
/// in the place of the old, or lets a link point elsewhere.
pub(super) type Marks = Vec<Option<(u64, u64, i64, i64, u64)>>;

/// The state of the plan's files; `None` for one that cannot be looked at.
pub(super) fn marks(plan: &TlsPlan) -> Marks {
    let mark = |path: &std::path::PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.dev(), about.ino(), about.mtime(), about.mtime_nsec(), about.size()))
    };
    plan.files().map(mark).collect()
}

/// Looks at the files again and again, and loads them when they have changed and are at rest. What cannot be used changes
/// nothing, and is told once.
pub(crate) async fn keep_current(current: Arc<Current>, events: Arc<dyn EventSink>) {
    let mut poll = tokio::time::interval(LOOK);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut refused) = (Marks::new(), Marks::new());
    loop {
        poll.tick().await;
        let Some(material) = current.load_full() else { continue };
        let looked = Arc::clone(&material);
        let seen = tokio::task::spawn_blocking(move || marks(&looked.plan)).await.unwrap_or_default();
        // Whoever writes two files has not written both at once: they are read when nothing has moved for a while.
        let rests = std::mem::replace(&mut last, seen.clone()) == seen;
        if seen == material.marks || seen == refused || !rests {
            continue;
        }
        let before = Arc::clone(&material);
        let loaded = tokio::task::spawn_blocking(move || before.plan.load(&Process, Some(&before))).await;
        let Ok((loaded, found)) = loaded else { continue };
        let kind = if let Some(loaded) = loaded {
            for finding in found {
                tracing::warn!("{}", finding.message);
            }
            // Where the configuration was loaded meanwhile, its material is newer than this.
            current.compare_and_swap(&Some(material), Some(loaded));
            tracing::info!("the files of TLS were loaded anew");
            EventKind::CertificatesReloaded
        } else {
            refused = seen;
            let why: Vec<String> = found.into_iter().filter(|one| !one.is_warning).map(|one| one.message).collect();
            tracing::error!("the new files of TLS are refused, the old ones stay: {}", why.join("; "));
            EventKind::CertificatesRefused
        };
        events.record(Event::new(ProcessClock.now(), kind));
    }
}

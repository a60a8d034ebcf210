//! Certificates and keys that are replaced while the gate serves.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Process;
use crate::listen::Shared;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at the files of TLS towards the upstreams, and uses what has changed for new connections.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let upstreams = shared.with_settings(|settings| Arc::clone(&settings.upstreams));
        if upstreams.iter().all(|upstream| upstream.tls.is_none()) {
            continue;
        }
        let looking = tokio::task::spawn_blocking(move || {
            for upstream in upstreams.iter() {
                match upstream.tls.as_ref().and_then(|tls| tls.refresh(&Process)) {
                    None => {}
                    Some(Ok(())) => {
                        tracing::info!(upstream = &*upstream.name, "new certificates are used for new connections");
                    }
                    Some(Err(why)) => {
                        tracing::error!(
                            upstream = &*upstream.name,
                            "new certificates are refused, the old ones stay: {why}"
                        );
                    }
                }
            }
        });
        // One look that failed is made up for by the next.
        let _ = looking.await;
    }
}

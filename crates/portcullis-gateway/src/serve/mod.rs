//! Wires settings, services and listeners together; reload and graceful stop.

mod attempts;
mod certificates;
mod csrf;
mod holders;
mod identity;
mod limits;
mod log;
mod policy;
mod reload;
mod reputation;
mod running;
mod state_dir;
mod tls_files;

use std::time::Duration;

pub use attempts::CountedAttempts;
pub use holders::AccountHolders;
pub use identity::{MailWay, OpenIdentityError, open_identity, own_issuer};
pub use log::start as log_lines;
pub use policy::{build_policy, own_routes, role_names};
pub use running::{Running, StartError};
pub use state_dir::{StateDir, StateDirError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::Failure;
use crate::config::{Settings, Source};

/// The runtime of everything that is not the hot path: SQL, mail, the identity endpoints, the admin listener.
///
/// # Errors
/// Where the system gives no threads.
pub fn service_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("service").enable_all().build()
}

/// Serves until the process is told to stop (SIGTERM, SIGINT). SIGHUP loads the source again.
///
/// # Errors
/// A [`Failure`] in one line that says why it cannot start.
pub fn run(source: &Source, settings: Settings) -> Result<(), Failure> {
    log_lines();
    take_open_files();
    let runtime = service_runtime().map_err(Failure::run)?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(Failure::run)?;
        let running = Running::start(settings).await.map_err(Failure::run)?;
        running.announce();
        signals.serve(source, running).await
    })?;
    // What still hangs on the service runtime is past its drain time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Takes as many open files as the system grants. Shells and service managers start processes with 1,024, for the sake of
/// select(2), which nothing here uses. One client's requests over HTTP/2 may need more connections to an upstream than that,
/// and without a file left nobody else is let in.
fn take_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%error, "the limit of open files (ulimit -n) stays as it is");
    }
}

/// The signals that a serving process obeys.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens to them from now on.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Obeys them until the process has drained. A second signal to stop cuts the draining short.
    ///
    /// # Errors
    /// A [`Failure`] where a core could not run.
    pub async fn serve(&mut self, source: &Source, mut running: Running) -> Result<(), Failure> {
        let Self { terminate, interrupt, hang_up } = self;
        loop {
            tokio::select! {
                _ = hang_up.recv() => reload::reload(source, &mut running),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tokio::select! {
            result = running.stop() => result.map_err(Failure::run),
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    }
}

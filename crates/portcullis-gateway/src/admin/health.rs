//! Whether this process may be sent traffic.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer is reused. `/readyz` is open to everybody who reaches the listener, and nobody shall be able to
/// query the database as fast as he can ask.
const FRESH: Duration = Duration::from_secs(1);

/// How long all checks together may take.
const PATIENCE: Duration = Duration::from_secs(2);

type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// One thing that must be well before this process is sent traffic.
pub struct ReadyCheck {
    name: &'static str,
    check: Check,
}

impl ReadyCheck {
    /// A check that has to ask somebody (the database).
    pub fn new<F, A>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = bool> + Send + 'static,
    {
        Self { name, check: Box::new(move || Box::pin(check())) }
    }

    /// A check that knows at once (not draining).
    pub fn flag(name: &'static str, check: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(name, move || std::future::ready(check()))
    }
}

impl fmt::Debug for ReadyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadyCheck").field(&self.name).finish()
    }
}

/// All checks and their latest answer.
#[derive(Debug)]
pub(super) struct Readiness {
    checks: Vec<ReadyCheck>,
    latest: Mutex<Option<(Instant, Vec<&'static str>)>>,
}

impl Readiness {
    pub(super) fn new(checks: Vec<ReadyCheck>) -> Self {
        Self { checks, latest: Mutex::new(None) }
    }

    /// The names of the checks that fail. One that does not answer in time fails, and so do those behind it.
    pub(super) async fn failing(&self) -> Vec<&'static str> {
        // Whoever asks meanwhile waits here and shares the answer.
        let mut latest = self.latest.lock().await;
        if let Some((at, failing)) = &*latest
            && at.elapsed() < FRESH
        {
            return failing.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        let mut failing = Vec::new();
        for check in &self.checks {
            let left = deadline.saturating_duration_since(Instant::now());
            if !timeout(left, (check.check)()).await.unwrap_or(false) {
                failing.push(check.name);
            }
        }
        *latest = Some((Instant::now(), failing.clone()));
        failing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn o4_a_check_that_hangs_fails_and_is_not_asked_at_every_request() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let readiness = Readiness::new(vec![
            ReadyCheck::flag("quick", || true),
            ReadyCheck::new("database", move || {
                count.fetch_add(1, Ordering::SeqCst);
                std::future::pending()
            }),
        ]);
        for _ in 0..10 {
            assert_eq!(readiness.failing().await, ["database"]);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(FRESH).await;
        assert_eq!(readiness.failing().await, ["database"]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}

//! The chore that sees to it that there is a certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_core::{Clock as _, Event, EventKind, EventSink, Timestamp};
use tokio::sync::watch;

use super::client::Client;
use super::order::{Desk, Failure};
use super::store::{Held, Store};
use super::{AcmePlan, Challenges, schedule};
use crate::clock::ProcessClock;
use crate::config::Process;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the authority is asked when it would like a certificate to be renewed (RFC 9773 §4.3.2), and how often where it
/// did not say.
const ASK: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(6 * 3600));
/// The longest time between two such questions.
const ASK_AT_LEAST: Duration = Duration::from_secs(24 * 3600);

/// How it goes, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Orders that brought a certificate.
    pub(crate) obtained: AtomicU64,
    /// Orders that did not.
    pub(crate) failed: AtomicU64,
    /// Failures since the last success.
    pub(crate) failing: AtomicU64,
    /// When the next order is due, in seconds since 1970; 0 where none is.
    pub(crate) next: AtomicU64,
}

/// Sees to it that there is a certificate.
pub(crate) struct Keeper {
    pub(crate) plan: watch::Receiver<Option<Arc<AcmePlan>>>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) status: Arc<Status>,
    pub(crate) events: Arc<dyn EventSink>,
}

/// What is known of the certificate of one plan.
struct Watched {
    held: Option<Held>,
    /// When it is renewed.
    due: Timestamp,
    /// When the authority is asked about that.
    ask_at: Timestamp,
    failures: usize,
    /// After failures: not before this.
    pause_until: Timestamp,
}

impl Keeper {
    /// Works for as long as it is polled. It holds no thread while it waits.
    pub(crate) async fn keep(mut self) {
        loop {
            let plan = self.plan.borrow_and_update().clone();
            self.status.next.store(0, Ordering::Relaxed);
            self.status.failing.store(0, Ordering::Relaxed);
            let Some(plan) = plan else {
                if self.plan.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut waiting = self.plan.clone();
            tokio::select! {
                () = self.keep_by(&plan) => {}
                changed = waiting.changed() => if changed.is_err() { return },
            }
            // A plan that was replaced in the middle of an order leaves nothing behind that anybody could ask for.
            self.challenges.clear();
        }
    }

    async fn keep_by(&self, plan: &Arc<AcmePlan>) {
        let store = Store::new(&plan.folder);
        let look = store.clone();
        let read = tokio::task::spawn_blocking(move || (look.held(), look.ledger())).await;
        let (held, ledger) = read.unwrap_or_default();
        let now = ProcessClock.now();
        let mut ledger = ledger.seen_at(now);
        let held = held.filter(|held| held.fits(&plan.domains, now));
        let mut watched = Watched::new(held, now);
        let mut poll = tokio::time::interval(LOOK);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        watched.tell(plan, &ledger, now);
        loop {
            poll.tick().await;
            let server = plan.server.clone();
            let looked = tokio::task::spawn_blocking(move || server.refresh(&Process)).await;
            if let Ok(Some(Err(why))) = looked {
                tracing::warn!("who vouches for {} stays as it was: {why}", plan.directory);
            }
            let now = ProcessClock.now();
            let desk =
                Desk { plan, store: &store, challenges: &self.challenges, client: Client::new(plan.server.clone()) };
            if now >= watched.ask_at && now < watched.due {
                watched.ask(&desk, now).await;
            }
            let next = watched.due.max(watched.pause_until).max(ledger.free_at());
            self.status.next.store(next.as_secs(), Ordering::Relaxed);
            if now >= next {
                self.order(&desk, &mut watched, &mut ledger).await;
            }
        }
    }

    async fn order(&self, desk: &Desk<'_>, watched: &mut Watched, ledger: &mut schedule::Ledger) {
        let now = ProcessClock.now();
        // It is written before the order is placed: a process that dies of it orders no more often than others.
        ledger.begin(now);
        let ordered = match note(desk.store, ledger).await {
            Ok(()) => desk.obtain(watched.held.as_ref(), now).await,
            Err(error) => Err(Failure {
                slug: "acme_state",
                message: format!("{}: {error}", desk.plan.folder.display()),
                hint: "the state directory must be writable, with room in it".to_owned(),
                stay_away: None,
            }),
        };
        let names = desk.plan.domains.join(", ");
        match ordered {
            Ok(held) => {
                tracing::info!("there is a certificate for {names}, good until {}", held.not_after.to_rfc3339());
                *watched = Watched::new(Some(held), now);
                self.status.obtained.fetch_add(1, Ordering::Relaxed);
                self.events.record(Event::new(now, EventKind::CertificateObtained));
            }
            Err(failure) => {
                watched.failures += 1;
                watched.pause_until = now.after(schedule::pause(watched.failures, rand::random()));
                if let Some(word) = failure.stay_away {
                    ledger.stay_away(now, word);
                    if let Err(error) = note(desk.store, ledger).await {
                        tracing::warn!("{}: {error}", desk.plan.folder.display());
                    }
                }
                let again = watched.pause_until.max(ledger.free_at());
                let left = match &watched.held {
                    Some(held) => format!("the one that is there ends at {}", held.not_after.to_rfc3339()),
                    None => "there is none, and handshakes fail until there is".to_owned(),
                };
                let Failure { slug, message, hint, .. } = failure;
                let again = again.to_rfc3339();
                tracing::error!("no certificate for {names}: {message}; {hint}. Next attempt at {again}; {left}");
                self.status.failed.fetch_add(1, Ordering::Relaxed);
                let mut event = Event::new(now, EventKind::CertificateOrderFailed);
                event.reason = Some(slug);
                self.events.record(event);
            }
        }
        self.status.failing.store(watched.failures as u64, Ordering::Relaxed);
    }
}

async fn note(store: &Store, ledger: &schedule::Ledger) -> std::io::Result<()> {
    let (store, ledger) = (store.clone(), ledger.clone());
    let noted = tokio::task::spawn_blocking(move || store.keep_ledger(&ledger)).await;
    noted.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

impl Watched {
    /// A certificate that is good, or none; without one an order is due at once.
    fn new(held: Option<Held>, now: Timestamp) -> Self {
        let due = held.as_ref().map_or(now, |held| schedule::renewal(held.not_before, held.not_after, rand::random()));
        Self { held, due, ask_at: now, failures: 0, pause_until: now }
    }

    /// Says how things stand where the process begins, or goes on by another plan.
    fn tell(&self, plan: &AcmePlan, ledger: &schedule::Ledger, now: Timestamp) {
        let (names, directory) = (plan.domains.join(", "), &plan.directory);
        let next = self.due.max(ledger.free_at());
        match &self.held {
            Some(held) => {
                let (until, due) = (held.not_after.to_rfc3339(), next.to_rfc3339());
                tracing::info!("the certificate for {names} is good until {until}, and renewed at {due}");
            }
            None if next <= now => tracing::info!(
                "there is no certificate for {names} yet, and handshakes fail until there is; {directory} is asked for one"
            ),
            None => tracing::warn!(
                "there is no certificate for {names} yet, and handshakes fail until there is; {directory} has been asked \
                 often enough, and is asked again at {}",
                next.to_rfc3339()
            ),
        }
    }

    /// Asks the authority when it would like the certificate to be renewed. Where it does not say, two thirds of its life are
    /// what counts; nothing that goes wrong here is worth more than a line for whoever looks for it.
    async fn ask(&mut self, desk: &Desk<'_>, now: Timestamp) {
        self.ask_at = now.after(ASK.1);
        let Some(held) = &self.held else { return };
        let Some(id) = &held.id else { return };
        let account = match desk.account().await {
            Ok(account) => account,
            Err(failure) => {
                return tracing::debug!("{} was not asked about renewal: {}", desk.plan.directory, failure.message);
            }
        };
        match account.renewal_info(id).await {
            Ok((info, again)) => {
                self.ask_at = now.after(again.clamp(ASK.0, ASK_AT_LEAST));
                let window = &info.suggested_window;
                let [start, end] = [window.start, window.end].map(time::OffsetDateTime::unix_timestamp);
                if let Some(due) = schedule::suggested(start, end, held.not_after, rand::random()) {
                    // A moment that was drawn in a window stays as long as the window does.
                    let stays = i64::try_from(self.due.as_secs()).is_ok_and(|due| start <= due && due < end);
                    if !stays {
                        self.due = due;
                        tracing::info!("the certificate is renewed at {}, as its authority suggests", due.to_rfc3339());
                    }
                }
            }
            Err(instant_acme::Error::Unsupported(_)) => self.ask_at = now.after(ASK_AT_LEAST),
            Err(error) => tracing::debug!(%error, "the authority does not say when to renew"),
        }
    }
}

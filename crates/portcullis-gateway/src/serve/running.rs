//! A running gate: every part of it, started in the order in which they need each other and stopped in the reverse.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis::{Comparison, Gate, PolicyError};
use portcullis_core::ports::{Nobody, Revocations};
use portcullis_core::{Clock as _, EventSink};
use portcullis_identity::{AccountName, Forgets, Identity, IdentityError};
use portcullis_limit::{Limiter, MemcachedStore, StoreError};
use portcullis_watch::{BlockTable, ComparedLimits, EventLog, EventLogOptions, Metrics, Recorder, Sample};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::attempts::CountedAttempts;
use super::csrf::Forgery;
use super::holders::AccountHolders;
use super::identity::{self, MailWay, OpenIdentityError};
use super::limits;
use super::policy::{build_policy, role_names};
use super::reputation;
use super::state_dir::{StateDir, StateDirError};
use super::tls_files;
use crate::admin::{self, Accounts, AdminParts, CaughtMail, MailSource, OperatorToken, OperatorTokenError, ReadyCheck};
use crate::clock::ProcessClock;
use crate::config::{MailDelivery, Settings, UpstreamTls};
use crate::identity_api::{Api, router};
use crate::listen::{self, Cores, Door, ListenError, Listeners, ProxySettings, Shared};
use crate::proxy::{AccessLog, identity_channel};
use crate::tls;

/// Requests that may wait for the identity endpoints.
const IDENTITY_QUEUE: usize = 256;
/// How often idle limit cells and lifted blocks are reclaimed.
const SWEEP: Duration = Duration::from_secs(30);
/// How long the last events may take to be written.
const FLUSH: Duration = Duration::from_secs(3);
/// How long the last mails may take to be sent.
const LAST_MAILS: Duration = Duration::from_secs(5);

/// A running gate.
#[derive(Debug)]
pub struct Running {
    pub(super) settings: Settings,
    pub(super) shared: Arc<Shared>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) csrf: Forgery,
    /// The store that has to know by what limits count.
    pub(super) introduced: Option<Arc<MemcachedStore>>,
    listening: Vec<(Door, std::net::SocketAddr)>,
    cores: Cores,
    admin: Option<(std::net::SocketAddr, oneshot::Sender<()>, JoinHandle<io::Result<()>>)>,
    events: Option<Arc<EventLog>>,
    mail: MailWay,
    draining: Arc<AtomicBool>,
    limiter: Arc<Limiter>,
    chores: Vec<JoinHandle<()>>,
    /// Held until everything else has ended.
    _state: StateDir,
}

/// Why a gate cannot start; each is one clear line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The accounts.
    #[error(transparent)]
    Identity(#[from] OpenIdentityError),
    /// The clients' listeners.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The rules contradict each other.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Policy(Vec<PolicyError>),
    /// The operator's token.
    #[error(transparent)]
    OperatorToken(#[from] OperatorTokenError),
    /// The operator's listener.
    #[error("the admin listener cannot listen on {address}: {error}; choose another with [admin] listen")]
    Admin {
        /// Its address.
        address: std::net::SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The event streams.
    #[error("cannot write events to {}: {error}", directory.display())]
    Events {
        /// Their directory.
        directory: std::path::PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The store of the limits cannot be used.
    #[error(transparent)]
    Store(StoreError),
    /// The system gives no threads.
    #[error("cannot start: {0}")]
    Threads(io::Error),
}

impl Running {
    /// Starts everything. Nothing is left running where a part cannot start.
    ///
    /// # Errors
    /// [`StartError`] of the first part that cannot.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let state = StateDir::lock(&settings.state_dir)?;
        // Ports first: who finds them taken has changed nothing yet.
        let listeners = Listeners::bind(&doors(&settings), settings.transport.cores)?;
        let listening = listeners.local_addrs().to_vec();
        let admin_listener = match settings.admin.listen {
            Some(address) => {
                let failed = |error| StartError::Admin { address, error };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                Some((listener.local_addr().map_err(failed)?, listener))
            }
            None => None,
        };

        let metrics = Arc::new(Metrics::new());
        let events = start_events(&settings)?;
        let recorder = Arc::new(Recorder::new(Arc::clone(&metrics), events.clone()));
        let lockout = settings.identity.as_ref().is_some_and(|identity| identity.lockout.is_some());
        let sink = Arc::clone(&recorder) as Arc<dyn EventSink>;
        let counting = limits::limiters(&settings.gate, &metrics, sink, lockout).map_err(StartError::Store)?;
        let introduced = counting.introduced;
        let (limiter, attempts) = (counting.gate, CountedAttempts::new(counting.attempts));
        let (identity, mail) = match &settings.identity {
            Some(_) => {
                let sink = Arc::clone(&recorder) as Arc<dyn EventSink>;
                let attempts = Arc::new(attempts.clone());
                let (identity, mail) = identity::open_identity(&settings, sink, attempts).await?;
                (Some(Arc::new(identity)), mail)
            }
            None => (None, MailWay::Nowhere),
        };
        let own = identity.as_ref().map(|identity| identity::own_issuer(&settings, identity));
        let csrf = Forgery::new(identity.as_deref());
        let policy = build_policy(&settings, own, csrf.introduce(&settings)).map_err(StartError::Policy)?;
        let blocks = Arc::new(BlockTable::default());
        let revocations: Arc<dyn Revocations> = match &identity {
            Some(identity) => identity.revocations(),
            None => Arc::new(Nobody),
        };
        let sink = Arc::clone(&recorder) as Arc<dyn EventSink>;
        let gate = Gate::new(policy, Arc::clone(&limiter), revocations, Arc::clone(&blocks) as _, sink);
        let gate = Arc::new(match &identity {
            Some(identity) => gate.with_holders(Arc::new(AccountHolders::new(Arc::clone(identity), Handle::current()))),
            None => gate,
        });
        if let Some(identity) = &identity {
            let failures = Failures(Arc::downgrade(&gate), Arc::downgrade(identity), Handle::current());
            identity.revocations().forget_by(Box::new(failures));
        }
        sample(&metrics, &gate, events.as_ref());
        reputation::show(&metrics, &gate);
        if let MailWay::Server(server) = &mail {
            let (server, name) = (server.clone(), "portcullis_mails_under_way");
            let value = Box::new(move || server.under_way() as u64);
            metrics.sample(Sample { name, help: "Mails that are being sent or wait for their next attempt.", value });
        }

        let limiters = [Arc::clone(&limiter), Arc::clone(attempts.limiter())];
        let keep = |limiter: Arc<Limiter>| tokio::spawn(async move { limiter.keep().await });
        let kept = limiters.clone().map(keep);
        let mut chores = vec![tokio::spawn(ProcessClock.keep()), tokio::spawn(sweep(limiters, blocks))];
        chores.extend(kept);
        let mut handle = None;
        if let (Some(identity), Some(given)) = (&identity, &settings.identity) {
            let (sender, requests) = identity_channel(IDENTITY_QUEUE);
            handle = Some(sender.with_pages(given.pages.enabled));
            let router = router(Arc::new(Api::new(Arc::clone(identity), &given.pages, csrf.shared())));
            chores.push(tokio::spawn(identity::serve(requests, router)));
            chores.push(tokio::spawn(identity::keep_up(Arc::clone(identity))));
            chores.push(tokio::spawn(identity::keep_mark(Arc::clone(identity))));
            chores.push(tokio::spawn(identity::tidy_up(Arc::clone(identity))));
        }
        let draining = Arc::new(AtomicBool::new(false));
        let admin = match admin_listener {
            Some((address, listener)) => {
                let token = OperatorToken::resolve(&settings.admin, &settings.state_dir)?;
                let parts = AdminParts {
                    token,
                    hosts: settings.admin.hosts.clone(),
                    metrics: Arc::clone(&metrics),
                    ready: ready_checks(identity.clone(), Arc::clone(&draining)),
                    mails: mail_source(&mail),
                    clock: Arc::new(ProcessClock),
                    accounts: identity.clone().map(|identity| managed(identity, &gate)),
                    gate: Some(Arc::clone(&gate)),
                };
                let (stop, stopped) = oneshot::channel();
                let stopped = async move { drop(stopped.await) };
                Some((address, stop, tokio::spawn(admin::serve(listener, parts, stopped))))
            }
            None => None,
        };

        let shared = Shared::new(
            gate,
            Arc::new(ProcessClock),
            proxy_settings(&settings),
            Arc::clone(&metrics),
            handle,
            settings.log.access.then(access_log),
        );
        let shared = Arc::new(match &settings.tls {
            Some(tls) => {
                let port = listening.iter().find(|(door, _)| *door == Door::Tls).map_or(443, |(_, at)| at.port());
                shared.with_tls(Arc::clone(&tls.material), &settings.public_url, port)
            }
            None => shared,
        });
        if settings.tls.is_some() {
            watch_certificates(&metrics, &shared);
            chores.push(tokio::spawn(tls::keep_current(shared.tls(), Arc::clone(&recorder) as _)));
        }
        chores.push(tokio::spawn(tls_files::keep(Arc::clone(&shared))));
        let cores = listen::run(listeners, &shared).map_err(StartError::Threads)?;
        Ok(Self {
            settings,
            shared,
            recorder,
            identity,
            csrf,
            introduced,
            listening,
            cores,
            admin,
            events,
            mail,
            draining,
            limiter,
            chores,
            _state: state,
        })
    }

    /// Says where it stands.
    pub fn announce(&self) {
        for (door, address) in &self.listening {
            match door {
                Door::Open => tracing::info!("listening on http://{address}, known as {}", self.settings.public_url),
                Door::Tls => tracing::info!("listening on https://{address}, known as {}", self.settings.public_url),
                Door::Redirect => tracing::info!("showing the way to https on http://{address}"),
            }
        }
        for upstream in &self.settings.upstreams {
            let tls = if upstream.tls.is_some() { " by TLS" } else { "" };
            let http2 = if upstream.http2 { ", HTTP/2" } else { "" };
            tracing::info!("upstream {} at {}{tls}{http2}", upstream.name, upstream.addresses.join(", "));
            if upstream.tls.as_ref().is_some_and(UpstreamTls::accepts_anything) {
                tracing::warn!("any certificate of upstream {} is believed: this is no protection", upstream.name);
            }
        }
        if let Some((address, ..)) = &self.admin {
            tracing::info!(
                "admin listener on http://{address}, its token in {}/admin-token",
                self.settings.state_dir.display()
            );
        }
        tracing::info!("state in {}", self.settings.state_dir.display());
        let Some(identity) = &self.settings.identity else { return };
        if let MailDelivery::Server(server) = &identity.mail {
            tracing::info!("mail goes to {}:{} as {}", server.host, server.port, server.from);
        }
        if !identity.registration {
            let why = if matches!(identity.mail, MailDelivery::None) { " (no mail is configured)" } else { "" };
            tracing::info!("registration is closed{why}; create accounts with `portcullis users create`");
        }
    }

    /// The accounts, where there are any.
    #[must_use]
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Drains and stops: accepts nothing more, finishes what is under way within the drain time, then closes the rest.
    ///
    /// # Errors
    /// Where a core could not run.
    pub async fn stop(self) -> io::Result<()> {
        self.draining.store(true, Ordering::SeqCst);
        let drain = self.settings.transport.drain_timeout;
        tracing::info!("stopping; requests under way have {drain:?}");
        self.cores.stop(drain);
        let cores = self.cores;
        let ended = tokio::task::spawn_blocking(move || cores.join()).await.unwrap_or(Ok(()));
        if let Some((_, stop, server)) = self.admin {
            // A listener that has ended by itself hears nothing.
            let _ = stop.send(());
            drop(tokio::time::timeout(Duration::from_secs(1), server).await);
        }
        // While there is still somebody who speaks to the store: nobody spends it here any more.
        self.limiter.release().await;
        for chore in self.chores {
            chore.abort();
        }
        if let MailWay::Server(server) = self.mail {
            server.flush(LAST_MAILS).await;
        }
        if let Some(identity) = self.identity {
            identity.close().await;
        }
        if let Some(events) = self.events {
            let flushed = tokio::task::spawn_blocking(move || events.flush(FLUSH)).await;
            if !flushed.unwrap_or(false) {
                tracing::warn!("some events could not be written before the end");
            }
        }
        tracing::info!("stopped");
        ended
    }
}

/// The failures that are counted against users: by the gate's limits, and by the accounts before a login. Both hold the
/// record that tells of them, so they are held weakly.
struct Failures(Weak<Gate>, Weak<Identity>, Handle);

impl Forgets for Failures {
    fn forget(&self, user: &str) {
        let (Some(gate), Some(identity)) = (self.0.upgrade(), self.1.upgrade()) else { return };
        let user = user.to_owned();
        drop(self.2.spawn(async move {
            if let Err(error) = gate.forget_failures(&user).await {
                tracing::warn!(%error, "the failures of an account that was unlocked are still counted");
            }
            match identity.clear_attempts(AccountName::Id(&user)).await {
                // One that is gone has no failures.
                Ok(()) | Err(IdentityError::NoAccount) => {}
                Err(error) => {
                    tracing::warn!(%error, "the failed logins of an account that was unlocked are still counted")
                }
            }
        }));
    }
}

/// Which addresses are for what.
fn doors(settings: &Settings) -> Vec<(Door, std::net::SocketAddr)> {
    let with = |door: Door, addresses: &[std::net::SocketAddr]| -> Vec<_> {
        addresses.iter().map(|address| (door, *address)).collect()
    };
    let mut doors = with(Door::Open, &settings.listen);
    if let Some(tls) = &settings.tls {
        doors.extend(with(Door::Tls, &tls.listen));
        doors.extend(with(Door::Redirect, &tls.redirect));
    }
    doors
}

fn watch_certificates(metrics: &Metrics, shared: &Shared) {
    let tls = shared.tls();
    let value = Box::new(move || tls.load().as_ref().map_or(0, |material| material.expires().as_secs()));
    let (name, help) =
        ("portcullis_tls_certificate_expires_seconds", "When the first certificate expires, in seconds since 1970.");
    metrics.sample(Sample { name, help, value });
}

/// What the cores read of the settings.
pub(super) fn proxy_settings(settings: &Settings) -> ProxySettings {
    ProxySettings { transport: Arc::new(settings.transport.clone()), upstreams: settings.upstreams.clone().into() }
}

fn start_events(settings: &Settings) -> Result<Option<Arc<EventLog>>, StartError> {
    let Some(directory) = &settings.log.events_dir else { return Ok(None) };
    let failed = |error| StartError::Events { directory: directory.clone(), error };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let options = EventLogOptions { directory: Some(directory.clone()), ..EventLogOptions::default() };
    EventLog::start(options, Arc::new(ProcessClock)).map(|log| Some(Arc::new(log))).map_err(failed)
}

fn sample(metrics: &Arc<Metrics>, gate: &Arc<Gate>, events: Option<&Arc<EventLog>>) {
    let add = |name, help, value: Box<dyn Fn() -> u64 + Send + Sync>| metrics.sample(Sample { name, help, value });
    let (hits, misses, held) = (Arc::clone(gate), Arc::clone(gate), Arc::clone(gate));
    add(
        "portcullis_tokens_remembered_hits",
        "Tokens that were verified before, since the last reload.",
        Box::new(move || hits.policy().verifier().hits()),
    );
    add(
        "portcullis_tokens_remembered_misses",
        "Tokens that had to be verified, since the last reload.",
        Box::new(move || misses.policy().verifier().misses()),
    );
    add(
        "portcullis_tokens_remembered",
        "Verified tokens that are remembered.",
        Box::new(move || held.policy().verifier().remembered() as u64),
    );
    let comparing = Arc::clone(gate);
    metrics.comparisons(move || {
        let said = |pair: Comparison| ComparedLimits {
            said: [[pair.both_admit, pair.only_candidate_refuses], [pair.only_limit_refuses, pair.both_refuse]],
            not_compared: pair.not_compared,
            limit: pair.limit,
            candidate: pair.candidate,
        };
        comparing.comparisons().into_iter().map(said).collect()
    });
    let waiting = Arc::clone(gate);
    add(
        "portcullis_requests_waiting",
        "Requests that a limit holds back at the moment.",
        Box::new(move || waiting.waiting() as u64),
    );
    add(
        "portcullis_clock_lead_seconds",
        "How far the time that is acted upon is ahead of the machine's clock, which was set back.",
        Box::new(|| ProcessClock.lead().as_secs()),
    );
    if let Some(events) = events {
        let events = Arc::clone(events);
        add(
            "portcullis_events_dropped_total",
            "Events that were dropped because the queue was full.",
            Box::new(move || events.stats().dropped),
        );
    }
}

fn ready_checks(identity: Option<Arc<Identity>>, draining: Arc<AtomicBool>) -> Vec<ReadyCheck> {
    let mut checks = vec![ReadyCheck::flag("stopping", move || !draining.load(Ordering::SeqCst))];
    if let Some(identity) = identity {
        checks.push(ReadyCheck::new("database", move || {
            let identity = Arc::clone(&identity);
            async move { identity.is_ready().await }
        }));
    }
    checks
}

/// The accounts for the operator, with the roles of the present policy.
fn managed(identity: Arc<Identity>, gate: &Arc<Gate>) -> Accounts {
    let gate = Arc::clone(gate);
    let default = Arc::clone(&identity.config().default_role);
    Accounts { identity, roles: Arc::new(move || role_names(gate.policy().roles(), &default)) }
}

fn mail_source(mail: &MailWay) -> Option<MailSource> {
    let MailWay::Catcher(catcher) = mail else { return None };
    let catcher = Arc::clone(catcher);
    let caught = |mail: portcullis_identity::Mail| CaughtMail {
        to: mail.to.as_str().to_owned(),
        subject: mail.subject.to_string(),
        text: mail.text,
        at: mail.at,
    };
    Some(Arc::new(move || catcher.mails().into_iter().map(caught).collect()))
}

async fn sweep(limiters: [Arc<Limiter>; 2], blocks: Arc<BlockTable>) {
    let mut poll = tokio::time::interval(SWEEP);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        let now = ProcessClock.now();
        for limiter in &limiters {
            limiter.local().sweep(now);
        }
        blocks.purge(now);
    }
}

/// One readable line for each request. The path is a stranger's words: it is ASCII without control characters by the
/// time it gets here, or it is shown escaped.
fn access_log() -> AccessLog {
    Arc::new(|line| {
        let path = line.path.escape_default();
        let (who, why) = (line.user.unwrap_or("-"), line.reason.unwrap_or("-"));
        let millis = line.took.as_secs_f64() * 1000.0;
        tracing::info!(
            "{} {} {path} -> {} {why} {millis:.1} ms user {who}",
            line.client,
            line.method,
            line.status.as_u16()
        );
    })
}

//! The accounts of a configuration: opening them, serving their endpoints, and keeping them up to date.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use portcullis::KeyPart;
use portcullis_auth::{Algorithm, ClaimNames, Issuer};
use portcullis_core::{EventSink, Timestamp};
use portcullis_identity::{
    Attempts, Database, Email, Identity, IdentityConfig, LetterKind, Mail, MailCatcher, Mailer, OpenError, Ports,
    SmtpError, SmtpMailer,
};
use tokio::sync::Semaphore;
use tower_service::Service as _;

use super::state_dir::StateDirError;
use crate::clock::ProcessClock;
use crate::config::{IdentitySettings, MailDelivery, Settings};
use crate::proxy::{IdentityRequest, IdentityRequests};

/// How often other processes' writes are looked for; a revocation must be seen within a second.
const POLL: Duration = Duration::from_millis(250);
/// How often what has expired is forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// How often it is asked whether the time mark has grown old.
const MARK: Duration = Duration::from_secs(1);
/// Requests to the identity endpoints that are served at once; hashing has a shorter queue of its own.
const AT_ONCE: usize = 128;
/// The largest answer of an identity endpoint: a page or a key set.
const MAX_ANSWER: usize = 256 * 1024;

/// Why accounts cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenIdentityError {
    /// The identity endpoints are turned off.
    #[error("[identity] is turned off in this configuration, so there are no accounts")]
    Disabled,
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The accounts themselves.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Mail cannot be sent.
    #[error(transparent)]
    Mail(#[from] SmtpError),
}

/// How mail leaves the process.
#[derive(Clone, Debug)]
pub enum MailWay {
    /// Not at all.
    Nowhere,
    /// It is kept for whoever reads it on the admin listener.
    Catcher(Arc<MailCatcher>),
    /// By SMTP.
    Server(SmtpMailer),
}

/// Where mail goes when there is nowhere to send it: registration is closed then, and what asks for mail anyway is
/// answered like everything else.
struct Nowhere;

impl Mailer for Nowhere {
    fn send(&self, mail: Mail) {
        self.admit(&mail.to, mail.kind, mail.at);
    }

    fn admit(&self, _to: &Email, letter: LetterKind, _at: Timestamp) -> bool {
        tracing::warn!(letter = letter.as_str(), "a mail was not sent: there is no [mail] in the configuration");
        false
    }
}

/// Opens the accounts of a configuration. Gives the way of its mail too.
///
/// # Errors
/// [`OpenIdentityError`] in words for an operator.
pub async fn open_identity(
    settings: &Settings,
    events: Arc<dyn EventSink>,
    attempts: Arc<dyn Attempts>,
) -> Result<(Identity, MailWay), OpenIdentityError> {
    let identity = settings.identity.as_ref().ok_or(OpenIdentityError::Disabled)?;
    let config = identity_config(settings, identity);
    let way = match &identity.mail {
        MailDelivery::None => MailWay::Nowhere,
        MailDelivery::Catcher => MailWay::Catcher(Arc::default()),
        MailDelivery::Server(server) => {
            MailWay::Server(SmtpMailer::start((**server).clone(), Arc::new(ProcessClock), Arc::clone(&events))?)
        }
    };
    let mailer: Arc<dyn Mailer> = match &way {
        MailWay::Nowhere => Arc::new(Nowhere),
        MailWay::Catcher(catcher) => Arc::clone(catcher) as _,
        MailWay::Server(server) => Arc::new(server.clone()),
    };
    let identity = Identity::open(config, Ports { clock: Arc::new(ProcessClock), mailer, events, attempts }).await?;
    identity.use_roles(settings.gate.roles.clone());
    Ok((identity, way))
}

fn identity_config(settings: &Settings, identity: &IdentitySettings) -> IdentityConfig {
    let tokens = &identity.tokens;
    let database = match &identity.database {
        Database::Sqlite(file) => settings.state_dir.join(file).into(),
        server @ Database::Postgres(_) => server.clone(),
    };
    IdentityConfig {
        database,
        master_key: identity.master_key.clone(),
        public_url: Arc::clone(&settings.public_url),
        letters: identity.letters.clone(),
        mail: !matches!(identity.mail, MailDelivery::None),
        registration: identity.registration,
        default_role: Arc::clone(&identity.default_role),
        default_plan: Arc::clone(&identity.default_plan),
        password_policy: identity.password_policy,
        password_hash: identity.password_hash,
        audience: Arc::clone(&tokens.audience),
        claims: tokens.claims.clone(),
        algorithm: tokens.algorithm,
        access_ttl: tokens.access_ttl,
        refresh_ttl: tokens.refresh_ttl,
        grace: tokens.grace,
        session_ttl: identity.sessions.life,
        session_idle: identity.sessions.idle,
        api_keys_per_account: identity.api_keys_per_account,
        leeway: tokens.leeway,
        max_staleness: tokens.max_staleness,
        rotate_every: tokens.rotate_every,
        lockout: identity.lockout,
        hash_threads: (settings.transport.cores / 2).max(1),
    }
}

/// The issuer of our own tokens.
#[must_use]
pub fn own_issuer(settings: &Settings, identity: &Identity) -> Issuer {
    let config = identity.config();
    // A claim that a limit counts by must be kept, for our own tokens as for others'; of ours nobody has to say so.
    let counted = settings.gate.limits.iter().flat_map(|limit| &limit.key).filter_map(|part| match part {
        KeyPart::Claim(name) => Some(name.clone()),
        _ => None,
    });
    let kept = counted.collect();
    Issuer {
        name: None,
        iss: (*config.public_url).into(),
        audiences: vec![(*config.audience).into()],
        // Each of our keys is pinned to its own algorithm; after a change the retired ones must still verify.
        algorithms: Algorithm::ALL.to_vec(),
        leeway: config.leeway,
        typ: Some("at+jwt".into()),
        keys: identity.keys(),
        claims: ClaimNames { keep: kept, ..ClaimNames::default() },
    }
}

/// Serves what the cores queue, until they have ended.
pub(super) async fn serve(mut requests: IdentityRequests, router: Router) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(request) = requests.next().await {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let router = router.clone();
        tokio::spawn(async move {
            answer(router, request).await;
            drop(slot);
        });
    }
}

async fn answer(mut router: Router, asked: IdentityRequest) {
    let IdentityRequest { request, client, id, principal, reply } = asked;
    let mut request: Request<Body> = request.map(Body::from);
    let extensions = request.extensions_mut();
    extensions.insert(client);
    extensions.insert(id);
    if let Some(principal) = principal {
        extensions.insert(principal);
    }
    let Ok(response) = router.call(request).await;
    let (parts, body) = response.into_parts();
    let response = match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(body) => Response::from_parts(parts, body.to_bytes()),
        Err(_) => {
            let mut failed = Response::new(Bytes::new());
            *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            failed
        }
    };
    // The client may have gone away meanwhile.
    drop(reply.send(response));
}

/// Keeps revocations and keys up to date, for as long as it is polled.
pub(super) async fn keep_up(identity: Arc<Identity>) {
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        poll.tick().await;
        match identity.catch_up().await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "cannot read the revocations; verification stops when they are too old");
            }
            Err(_) => {}
        }
    }
}

/// Keeps the mark of the latest moment that was acted upon, for as long as it is polled.
pub(super) async fn keep_mark(identity: Arc<Identity>) {
    let mut poll = tokio::time::interval(MARK);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        // A database that is away or full is complained of by those who need it more.
        if let Err(error) = identity.keep_mark().await {
            tracing::debug!(%error, "cannot keep the time mark");
        }
    }
}

/// Forgets what has expired and rotates keys that are due, for as long as it is polled.
pub(super) async fn tidy_up(identity: Arc<Identity>) {
    let mut poll = tokio::time::interval(TIDY);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        if let Err(error) = identity.tidy().await {
            tracing::error!(%error, "cannot tidy the database up");
        }
    }
}

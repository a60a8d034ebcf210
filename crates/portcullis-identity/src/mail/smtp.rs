//! Mail by SMTP: a bounded queue, a few connections, attempts with growing pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use parking_lot::Mutex;
use portcullis_core::{Clock, Event, EventKind, EventSink, Secret, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::allowance::Allowance;
use super::failure::Failure;
use super::{LetterKind, Mail, Mailer, Sender, message};
use crate::policy::Email;

/// How the way to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpProtection {
    /// STARTTLS (RFC 3207), and nothing is sent without it.
    #[default]
    Starttls,
    /// TLS from the first byte on (RFC 8314 §3.3).
    Tls,
    /// None: for a server on this machine.
    None,
}

/// Certificate authorities that are believed instead of those of the web.
#[derive(Clone, Debug)]
pub struct Authorities(Certificate);

impl Authorities {
    /// Reads certificates as PEM.
    ///
    /// # Errors
    /// [`SmtpError::Authorities`] where there is none or one cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SmtpError> {
        let certificate = Certificate::from_pem(pem).map_err(|_| SmtpError::Authorities)?;
        // A file without certificates would be read as well, and nobody would then be believed.
        if !pem.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE) {
            return Err(SmtpError::Authorities);
        }
        let authorities = Self(certificate);
        parameters("localhost", Some(&authorities)).map_err(|_| SmtpError::Authorities)?;
        Ok(authorities)
    }
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Who we are to the mail server.
#[derive(Clone, Debug)]
pub struct SmtpLogin {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: Secret<String>,
}

/// The mail server, and what it is handed.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Its name as its certificate says it, or its IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the way to it is protected.
    pub protection: SmtpProtection,
    /// Who may vouch for it; `None`: the authorities of the web.
    pub authorities: Option<Authorities>,
    /// Who we are to it; `None`: nobody in particular.
    pub login: Option<SmtpLogin>,
    /// Whom mails are from.
    pub from: Sender,
    /// Mails of one kind that one mailbox is sent within an hour, at least one.
    pub per_recipient: u32,
    /// The pauses between the attempts for one mail; there is one attempt more than pauses.
    pub retries: Vec<Duration>,
}

impl SmtpConfig {
    /// The usual pauses: through a restart of the server in seconds, through greylisting in minutes, and an hour in all.
    /// A link that comes much later is of no use to anybody.
    pub const RETRIES: [Duration; 6] = [
        Duration::from_secs(2),
        Duration::from_secs(15),
        Duration::from_secs(60),
        Duration::from_secs(300),
        Duration::from_secs(900),
        Duration::from_secs(2400),
    ];
}

/// Why mail cannot be sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// The authorities cannot be used.
    #[error("holds no certificate authority as PEM")]
    Authorities,
    /// TLS cannot be prepared.
    #[error("TLS to the mail server cannot be prepared")]
    Tls,
}

/// Mails that are under way at once, those that wait for their next attempt included: a few kilobytes each.
const MAX_UNDER_WAY: u32 = 1_000;
const QUEUE_FULL: &str = "too many mails are under way";
/// Connections to the server at once; big providers refuse more than a handful.
const CONNECTIONS: usize = 4;
/// For one attempt, from the connection to the server's last word.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Hands mail to a server by SMTP. It queues in memory: what is under way is lost with the process, and whoever waits for
/// it asks again.
#[derive(Clone)]
pub struct SmtpMailer {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    sender: Sender,
    retries: Vec<Duration>,
    allowance: Mutex<Allowance>,
    under_way: Arc<Semaphore>,
    connections: Semaphore,
    stopping: watch::Sender<bool>,
    /// Whether the last attempt failed, so that an outage is told once and not for each mail.
    is_failing: AtomicBool,
    clock: Arc<dyn Clock>,
    events: Arc<dyn EventSink>,
}

impl std::fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpMailer").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}

impl SmtpMailer {
    /// Prepares to send, on the runtime that it is called in. No connection is made before the first mail.
    ///
    /// # Errors
    /// [`SmtpError::Tls`].
    pub fn start(config: SmtpConfig, clock: Arc<dyn Clock>, events: Arc<dyn EventSink>) -> Result<Self, SmtpError> {
        let prepared = || parameters(&config.host, config.authorities.as_ref()).map_err(|_| SmtpError::Tls);
        let tls = match config.protection {
            SmtpProtection::Starttls => Tls::Required(prepared()?),
            SmtpProtection::Tls => Tls::Wrapper(prepared()?),
            SmtpProtection::None => Tls::None,
        };
        // The name in the greeting is that of the sender's domain: the machine's own is nobody's business.
        let hello = ClientId::Domain(message::domain(&config.from.address).to_owned());
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .hello_name(hello)
            .timeout(Some(ATTEMPT));
        if let Some(SmtpLogin { username, password }) = config.login {
            transport = transport.credentials(Credentials::new(username, password.expose().clone()));
        }
        let shared = Shared {
            transport: transport.build(),
            sender: config.from,
            retries: config.retries,
            allowance: Mutex::new(Allowance::new(config.per_recipient)),
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY as usize)),
            connections: Semaphore::new(CONNECTIONS),
            stopping: watch::Sender::new(false),
            is_failing: AtomicBool::new(false),
            clock,
            events,
        };
        Ok(Self { shared: Arc::new(shared), runtime: Handle::current() })
    }

    /// Mails that were taken and neither delivered nor dropped.
    #[must_use]
    pub fn under_way(&self) -> usize {
        MAX_UNDER_WAY as usize - self.shared.under_way.available_permits()
    }

    /// Gives what is under way one more attempt, at once, and waits for it so long at most. To be called before a
    /// process ends. Gives how many mails are still under way, and so lost.
    pub async fn flush(&self, at_most: Duration) -> usize {
        self.shared.stopping.send_replace(true);
        let all = self.shared.under_way.acquire_many(MAX_UNDER_WAY);
        let lost = if tokio::time::timeout(at_most, all).await.is_ok() { 0 } else { self.under_way() };
        if lost > 0 {
            tracing::warn!(mails = lost, "mails could not be sent before the end and are lost");
        }
        lost
    }
}

impl Mailer for SmtpMailer {
    fn send(&self, mail: Mail) {
        if self.admit(&mail.to, mail.kind, mail.at) {
            self.send_admitted(mail);
        }
    }

    fn admit(&self, to: &Email, kind: LetterKind, at: Timestamp) -> bool {
        // What finds no place shall not be counted.
        if self.under_way() == MAX_UNDER_WAY as usize {
            self.shared.dropped(to, kind, "mail_queue_full", QUEUE_FULL);
            return false;
        }
        let admitted = self.shared.allowance.lock().take(to, kind, at);
        if !admitted {
            let said = "its recipient was sent enough of them within the hour";
            self.shared.dropped(to, kind, "mail_recipient_limit", said);
        }
        admitted
    }

    fn send_admitted(&self, mail: Mail) {
        match Arc::clone(&self.shared.under_way).try_acquire_owned() {
            Ok(slot) => drop(self.runtime.spawn(Arc::clone(&self.shared).deliver(mail, slot))),
            Err(_) => self.shared.dropped(&mail.to, mail.kind, "mail_queue_full", QUEUE_FULL),
        }
    }
}

impl Shared {
    /// Tries until the mail is taken, refused for good, or out of attempts.
    async fn deliver(self: Arc<Self>, mail: Mail, _slot: OwnedSemaphorePermit) {
        let message = match message::write(&self.sender, &mail) {
            Ok(message) => message,
            Err(error) => return self.dropped(&mail.to, mail.kind, "mail_unwritable", &error.to_string()),
        };
        let mut stopping = self.stopping.subscribe();
        let mut pauses = self.retries.iter();
        let mut is_last = false;
        loop {
            let Err(failure) = self.attempt(&message).await else { return };
            let pause = match pauses.next() {
                Some(pause) if !failure.is_final && !is_last => *pause,
                _ => return self.dropped(&mail.to, mail.kind, failure.slug, &failure.said),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|stopping| *stopping) => is_last = true,
            }
        }
    }

    async fn attempt(&self, message: &Message) -> Result<(), Failure> {
        // The semaphore is never closed.
        let _connection = self.connections.acquire().await;
        let sent = tokio::time::timeout(ATTEMPT, self.transport.send(message.clone())).await;
        let result = match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::judge(&error)),
            Err(_) => Err(Failure::timeout()),
        };
        match &result {
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => tracing::info!("mail can be sent again"),
            Err(failure) if !failure.is_final && !self.is_failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    reason = failure.slug,
                    said = failure.said,
                    "mail cannot be sent now; it is tried again"
                );
            }
            _ => {}
        }
        result
    }

    /// Tells that a mail is given up. The address is one that registration takes, so that it can forge nothing.
    fn dropped(&self, to: &Email, letter: LetterKind, reason: &'static str, said: &str) {
        tracing::warn!(to = to.as_str(), letter = letter.as_str(), reason, said, "a mail was not sent");
        let event = Event::new(self.clock.now(), EventKind::MailDropped);
        self.events.record(Event { reason: Some(reason), ..event });
    }
}

fn parameters(host: &str, authorities: Option<&Authorities>) -> Result<TlsParameters, lettre::transport::smtp::Error> {
    let builder = TlsParameters::builder(host.to_owned());
    match authorities {
        Some(Authorities(certificate)) => {
            builder.certificate_store(CertificateStore::None).add_root_certificate(certificate.clone())
        }
        None => builder.certificate_store(CertificateStore::WebpkiRoots),
    }
    .build_rustls()
}

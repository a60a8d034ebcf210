//! What is worth remembering of a request or of an account's life, apart from the audit trail in the database.

use std::net::IpAddr;
use std::sync::Arc;

use crate::{RequestId, Timestamp};

/// How loudly an event speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Ordinary life.
    Info,
    /// Worth a look when it repeats.
    Notice,
    /// A sign of an attack.
    Warning,
}

/// What happened. The words of [`EventKind::as_str`] are stable: operators filter by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The gate refused a request for a reason other than a limit.
    Refused,
    /// A limit refused a request.
    LimitHit,
    /// A limit in report mode would have refused a request.
    LimitWouldHit,
    /// A limit and the one that may replace it would decide differently about a request.
    LimitsDisagree,
    /// A limit slowed a request down instead of refusing it.
    LimitSlowed,
    /// The store in which instances count together does not answer.
    LimitStoreLost,
    /// It answers again.
    LimitStoreBack,
    /// The store that limits share may have lost what it had counted; leased limits are closed for the window of that.
    LimitStoreForgot,
    /// A login succeeded.
    LoginSucceeded,
    /// A login failed.
    LoginFailed,
    /// A spent refresh token came back inside the grace window.
    RefreshGrace,
    /// A spent refresh token came back after the grace window: the family was revoked.
    RefreshReuse,
    /// A request or its answer breaks rules about content that only report.
    ContentReported,
    /// The upstream failed.
    UpstreamFailed,
    /// The configuration was loaded anew.
    Reloaded,
    /// A new configuration was refused and the old one kept.
    ReloadRefused,
    /// Certificates or what clients' are believed by were loaded anew.
    CertificatesReloaded,
    /// New ones cannot be used, and the old ones stay.
    CertificatesRefused,
    /// An authority gave a certificate that was ordered.
    CertificateObtained,
    /// An order brought no certificate; it is tried again later.
    CertificateOrderFailed,
    /// A mail was given up; whoever waits for it has to ask again.
    MailDropped,
    /// Too many wrong passwords were tried for an address, or on a device.
    LoginsExhausted,
    /// So much came from an address that it is suspect now.
    AddressSuspect,
    /// So much came from an address that it is held to be bad now.
    AddressBad,
    /// A connection of HTTP/2 asked for more than any client needs, and was closed.
    Http2Flood,
}

impl EventKind {
    /// Every kind, for tables and metrics.
    pub const ALL: [Self; 25] = [
        Self::Refused,
        Self::LimitHit,
        Self::LimitWouldHit,
        Self::LimitsDisagree,
        Self::LimitSlowed,
        Self::LimitStoreLost,
        Self::LimitStoreBack,
        Self::LimitStoreForgot,
        Self::LoginSucceeded,
        Self::LoginFailed,
        Self::RefreshGrace,
        Self::RefreshReuse,
        Self::ContentReported,
        Self::UpstreamFailed,
        Self::Reloaded,
        Self::ReloadRefused,
        Self::CertificatesReloaded,
        Self::CertificatesRefused,
        Self::CertificateObtained,
        Self::CertificateOrderFailed,
        Self::MailDropped,
        Self::LoginsExhausted,
        Self::AddressSuspect,
        Self::AddressBad,
        Self::Http2Flood,
    ];

    /// The stable word for this kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::LimitHit => "limit_hit",
            Self::LimitWouldHit => "limit_would_hit",
            Self::LimitsDisagree => "limits_disagree",
            Self::LimitSlowed => "limit_slowed",
            Self::LimitStoreLost => "limit_store_lost",
            Self::LimitStoreBack => "limit_store_back",
            Self::LimitStoreForgot => "limit_store_forgot",
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginFailed => "login_failed",
            Self::RefreshGrace => "refresh_grace",
            Self::RefreshReuse => "refresh_reuse",
            Self::ContentReported => "content_reported",
            Self::UpstreamFailed => "upstream_failed",
            Self::Reloaded => "reloaded",
            Self::ReloadRefused => "reload_refused",
            Self::CertificatesReloaded => "certificates_reloaded",
            Self::CertificatesRefused => "certificates_refused",
            Self::CertificateObtained => "certificate_obtained",
            Self::CertificateOrderFailed => "certificate_order_failed",
            Self::MailDropped => "mail_dropped",
            Self::LoginsExhausted => "logins_exhausted",
            Self::AddressSuspect => "address_suspect",
            Self::AddressBad => "address_bad",
            Self::Http2Flood => "http2_flood",
        }
    }

    /// How loudly it speaks.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Refused
            | Self::LoginSucceeded
            | Self::Reloaded
            | Self::CertificatesReloaded
            | Self::CertificateObtained
            | Self::LimitWouldHit
            | Self::LimitsDisagree
            | Self::ContentReported => Severity::Info,
            Self::LimitHit
            | Self::LimitSlowed
            | Self::LimitStoreBack
            | Self::LimitStoreForgot
            | Self::LoginFailed
            | Self::RefreshGrace
            | Self::UpstreamFailed
            | Self::MailDropped
            | Self::AddressSuspect => Severity::Notice,
            Self::RefreshReuse
            | Self::ReloadRefused
            | Self::CertificatesRefused
            | Self::CertificateOrderFailed
            | Self::LimitStoreLost
            | Self::LoginsExhausted
            | Self::AddressBad
            | Self::Http2Flood => Severity::Warning,
        }
    }
}

/// One thing that happened. It never holds a password, a token or a body.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// The client's address, where there was one.
    pub client: Option<IpAddr>,
    /// The user's id, where one was proven or concerned.
    pub user: Option<Box<str>>,
    /// The route's pattern, where one was found.
    pub route: Option<Arc<str>>,
    /// The limit's name, for the limit kinds.
    pub limit: Option<Arc<str>>,
    /// The reason in one stable word (see [`crate::Reason::slug`]) or a short fixed text.
    pub reason: Option<&'static str>,
    /// The rules about the content of a request or its answer that are broken: places and words, never a value. A place may
    /// hold a name that a client made up.
    pub rule: Option<Box<str>>,
    /// The request it happened in.
    pub request_id: Option<RequestId>,
}

impl Event {
    /// An event with nothing but its time and kind.
    #[must_use]
    pub const fn new(at: Timestamp, kind: EventKind) -> Self {
        Self {
            at,
            kind,
            client: None,
            user: None,
            route: None,
            limit: None,
            reason: None,
            rule: None,
            request_id: None,
        }
    }
}

/// Takes events off the hot path. Implementations queue; they neither block nor fail, and they count what they drop.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn record(&self, event: Event);
}

//! What every answer is to carry, as the configuration means it.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::csp::{CspFrom, CspTemplate};

/// A named set of response headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// For answers that a browser may show: a page may load from its own origin.
    #[default]
    Web,
    /// For answers that no browser shows as a page: nothing may be loaded at all.
    Api,
    /// None of them.
    Off,
}

/// Who may put an answer into a frame (RFC 7034).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOptions {
    /// Nobody.
    Deny,
    /// Pages of the same origin.
    SameOrigin,
}

impl FrameOptions {
    /// What says the same in a policy: `frame-ancestors`.
    #[must_use]
    pub const fn ancestors(self) -> &'static str {
        match self {
            Self::Deny => "'none'",
            Self::SameOrigin => "'self'",
        }
    }

    pub(super) const fn value(self) -> HeaderValue {
        match self {
            Self::Deny => HeaderValue::from_static("DENY"),
            Self::SameOrigin => HeaderValue::from_static("SAMEORIGIN"),
        }
    }
}

/// For how long a browser speaks to this host by https only (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long it remembers (a year); 0 makes it forget.
    pub max_age: Duration,
    /// Whether for every host below this one, too.
    pub include_subdomains: bool,
    /// Whether browsers may be shipped with that knowledge. There is no quick way back.
    pub preload: bool,
}

impl Hsts {
    /// A year, the least that the preload list takes.
    pub const YEAR: Duration = Duration::from_secs(31_536_000);

    /// Whether it meets what the preload list asks of a header: a year at least, and every host below.
    #[must_use]
    pub fn may_be_preloaded(&self) -> bool {
        self.max_age >= Self::YEAR && self.include_subdomains
    }

    pub(super) fn value(&self) -> HeaderValue {
        let mut text = format!("max-age={}", self.max_age.as_secs());
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("max-age=31536000"))
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: Self::YEAR, include_subdomains: true, preload: false }
    }
}

/// What every answer is to carry. A header that is `None` is left as the upstream sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRules {
    /// `Content-Security-Policy`.
    pub csp: Option<CspTemplate>,
    /// Whose policy it is, where the upstream sends one.
    pub csp_from: CspFrom,
    /// `Strict-Transport-Security`, sent only where clients come by https.
    pub hsts: Option<Hsts>,
    /// Whether `X-Content-Type-Options: nosniff` is sent.
    pub nosniff: bool,
    /// `X-Frame-Options`.
    pub frame_options: Option<FrameOptions>,
    /// `Referrer-Policy`.
    pub referrer_policy: Option<HeaderValue>,
    /// `Permissions-Policy`.
    pub permissions_policy: Option<HeaderValue>,
    /// `Cross-Origin-Opener-Policy`.
    pub opener_policy: Option<HeaderValue>,
    /// `Cross-Origin-Resource-Policy`.
    pub resource_policy: Option<HeaderValue>,
    /// `Cross-Origin-Embedder-Policy`.
    pub embedder_policy: Option<HeaderValue>,
    /// Whether `X-XSS-Protection: 0` is sent.
    pub xss_protection: bool,
    /// Headers that every answer carries besides, whatever the upstream says.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers that no answer carries, besides those that name the server's software.
    pub remove: Vec<HeaderName>,
}

impl Preset {
    /// Its policy, for answers that may be framed by these.
    #[must_use]
    pub fn policy(self, frames: Option<FrameOptions>) -> Option<CspTemplate> {
        let (before, after) = match self {
            Self::Web => ("default-src 'self'; img-src 'self' data: https:", "; base-uri 'self'; object-src 'none'"),
            Self::Api => ("default-src 'none'", ""),
            Self::Off => return None,
        };
        let text = match frames {
            Some(frames) => format!("{before}; frame-ancestors {}{after}", frames.ancestors()),
            None => format!("{before}{after}"),
        };
        text.parse().ok()
    }
}

impl From<Preset> for HeaderRules {
    fn from(preset: Preset) -> Self {
        let on = preset != Preset::Off;
        let value = |text: &'static str| on.then(|| HeaderValue::from_static(text));
        let frame_options = on.then_some(FrameOptions::Deny);
        Self {
            csp: preset.policy(frame_options),
            csp_from: CspFrom::default(),
            hsts: on.then(Hsts::default),
            nosniff: on,
            frame_options,
            referrer_policy: value("strict-origin-when-cross-origin"),
            permissions_policy: value("camera=(), microphone=(), geolocation=()"),
            opener_policy: value("same-origin"),
            resource_policy: value("same-origin"),
            embedder_policy: None,
            xss_protection: on,
            set: Vec::new(),
            remove: Vec::new(),
        }
    }
}

//! Who a request proved to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::Timestamp;

/// How an identity was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `Authorization: Bearer` with a JWT.
    Bearer,
    /// An access token in our own cookie: ambient, so unsafe methods need CSRF protection.
    Cookie,
}

impl Scheme {
    /// A stable word for records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Cookie => "cookie",
        }
    }
}

/// What a verified credential says, before it becomes a [`Principal`].
#[derive(Clone, Debug)]
pub struct PrincipalParts {
    /// The user's id (`sub`).
    pub subject: Box<str>,
    /// The name of the issuer, as configured; `None` for our own tokens.
    pub issuer: Option<Arc<str>>,
    /// The roles it holds. Permissions are resolved at each request from the policy of the day, never stored here.
    pub roles: SmallVec<[Box<str>; 2]>,
    /// Permissions or scopes that the credential itself carries.
    pub permissions: Vec<Box<str>>,
    /// The plan (`plan` or `tier` claim), which chooses quotas.
    pub plan: Option<Box<str>>,
    /// The session (`sid`).
    pub session: Option<Box<str>>,
    /// The token's own id (`jti`).
    pub token_id: Option<Box<str>>,
    /// The user's version at issue (`ver`); a higher one on record revokes this token.
    pub version: u64,
    /// When the credential ceases to be good (`exp`, leeway not included).
    pub expires: Timestamp,
    /// How it was presented.
    pub scheme: Scheme,
    /// Further claims that the configuration names (for limit keys and policies), as text.
    pub claims: BTreeMap<Box<str>, Box<str>>,
}

/// A verified identity. Shared between requests by the token cache, so it is immutable and cheap to clone behind an
/// `Arc`.
#[derive(Clone, Debug)]
pub struct Principal {
    parts: PrincipalParts,
    subject_header: HeaderValue,
    roles_header: HeaderValue,
    plan_header: Option<HeaderValue>,
}

/// A claim that cannot be told to an upstream in a header: it holds control characters or, for a role, a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claim `{0}` holds characters that cannot be sent in a header")]
pub struct InvalidPrincipal(pub &'static str);

impl Principal {
    /// Checks that every part can be told to an upstream and renders the header values once.
    ///
    /// # Errors
    /// [`InvalidPrincipal`] names the claim that holds control characters, is empty where it must not be, or (a role)
    /// holds the comma that separates roles.
    pub fn new(parts: PrincipalParts) -> Result<Self, InvalidPrincipal> {
        if parts.subject.is_empty() {
            return Err(InvalidPrincipal("sub"));
        }
        if parts.roles.iter().any(|role| role.is_empty() || role.contains(',')) {
            return Err(InvalidPrincipal("role"));
        }
        let subject_header = header_value(&parts.subject).ok_or(InvalidPrincipal("sub"))?;
        let roles_header = header_value(&parts.roles.join(",")).ok_or(InvalidPrincipal("role"))?;
        let plan_header = match &parts.plan {
            Some(plan) => Some(header_value(plan).ok_or(InvalidPrincipal("plan"))?),
            None => None,
        };
        Ok(Self { parts, subject_header, roles_header, plan_header })
    }

    /// The user's id.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.parts.subject
    }

    /// All that the credential said.
    #[must_use]
    pub const fn parts(&self) -> &PrincipalParts {
        &self.parts
    }

    /// Whether it holds the role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.parts.roles.iter().any(|held| &**held == role)
    }

    /// Whether this identity comes from our own accounts.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.parts.issuer.is_none()
    }

    /// The value of `X-User-Id`.
    #[must_use]
    pub const fn subject_header(&self) -> &HeaderValue {
        &self.subject_header
    }

    /// The value of `X-User-Role`: all roles, separated by commas.
    #[must_use]
    pub const fn roles_header(&self) -> &HeaderValue {
        &self.roles_header
    }

    /// The value of `X-User-Plan`, where the credential names a plan.
    #[must_use]
    pub const fn plan_header(&self) -> Option<&HeaderValue> {
        self.plan_header.as_ref()
    }
}

/// The text as a header value, `None` if it holds control characters.
fn header_value(text: &str) -> Option<HeaderValue> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

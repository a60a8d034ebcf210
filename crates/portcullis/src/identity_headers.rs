//! How the upstream is told who a request is and which nonce its page may use, and how nobody else can tell it (Z5, H1).

use http::{HeaderMap, HeaderName};
use portcullis_core::Principal;
use portcullis_shield::Nonce;
use smallvec::SmallVec;

/// The names of the headers in which the upstream believes us: the verified identity, and the nonce of a page.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    user: HeaderName,
    role: HeaderName,
    plan: HeaderName,
    nonce: HeaderName,
}

impl Default for IdentityHeaders {
    /// `X-User-Id`, `X-User-Role`, `X-User-Plan`, `X-CSP-Nonce`.
    fn default() -> Self {
        Self {
            user: HeaderName::from_static("x-user-id"),
            role: HeaderName::from_static("x-user-role"),
            plan: HeaderName::from_static("x-user-plan"),
            nonce: HeaderName::from_static("x-csp-nonce"),
        }
    }
}

impl IdentityHeaders {
    /// Headers with other names.
    #[must_use]
    pub const fn new(user: HeaderName, role: HeaderName, plan: HeaderName, nonce: HeaderName) -> Self {
        Self { user, role, plan, nonce }
    }

    /// Removes what the client sent under these names, and under every name that a CGI-like upstream would read as one
    /// of them: `X_User_Id` and `X-User-Id` are the same variable there.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let doomed: SmallVec<[HeaderName; 2]> = headers.keys().filter(|name| self.covers(name)).cloned().collect();
        for name in doomed {
            headers.remove(name);
        }
    }

    /// Sets the verified identity; the names must have been stripped before.
    pub fn set(&self, headers: &mut HeaderMap, principal: &Principal) {
        headers.insert(self.user.clone(), principal.subject_header().clone());
        if !principal.roles_header().is_empty() {
            headers.insert(self.role.clone(), principal.roles_header().clone());
        }
        if let Some(plan) = principal.plan_header() {
            headers.insert(self.plan.clone(), plan.clone());
        }
    }

    /// Sets the nonce of the page that will answer.
    pub(crate) fn set_nonce(&self, headers: &mut HeaderMap, nonce: &Nonce) {
        headers.insert(self.nonce.clone(), nonce.to_header());
    }

    const fn names(&self) -> [&HeaderName; 4] {
        [&self.user, &self.role, &self.plan, &self.nonce]
    }

    /// Whether a name is one of ours, or would be read as one.
    fn covers(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.names().iter().any(|ours| is_twin(name, ours.as_str().as_bytes()))
    }
}

/// Equal when every punctuation mark is read as the same one.
fn is_twin(name: &[u8], ours: &[u8]) -> bool {
    let fold = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    name.len() == ours.len() && name.iter().map(fold).eq(ours.iter().map(fold))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn z5_the_clients_own_identity_headers_are_stripped_in_every_spelling() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-User-Id",
            "x-user-id",
            "X_USER_ID",
            "x_user-id",
            "x.user.id",
            "X-User-Role",
            "x-user_plan",
            "X_CSP-Nonce",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("admin"));
        }
        headers.insert("x-user-identity", HeaderValue::from_static("stays"));
        headers.insert("x_custom", HeaderValue::from_static("stays"));
        IdentityHeaders::default().strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-user-identity", "x_custom"]);
    }
}

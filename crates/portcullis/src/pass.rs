//! The proof that a request was admitted, and everything that follows from it on the way there and back.

use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri};
use portcullis_auth::credential;
use portcullis_core::{Principal, Reason, RequestId, Scheme};
use portcullis_limit::Receipts;
use portcullis_shield::csrf::Csrf;
use portcullis_shield::{ResponseRules, Tunnels};

use crate::body::BodyRule;
use crate::case::Case;
use crate::delay::Delay;
use crate::policy::Target;
use crate::refusal::Refusal;

/// Proof that the gate admitted a request: only the gate makes one, and forwarding takes one.
#[derive(Debug)]
pub struct Pass {
    pub(crate) case: Case,
    pub(crate) target: Target,
    pub(crate) rewritten: Option<PathAndQuery>,
    pub(crate) body: BodyRule,
    /// What the limits took.
    pub(crate) receipts: Receipts,
    /// The wait it still has to keep.
    pub(crate) delay: Option<Delay>,
}

impl Pass {
    /// What is known of the request.
    #[must_use]
    pub const fn case(&self) -> &Case {
        &self.case
    }

    /// Where it goes.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.target
    }

    /// The target to forward, where it differs from the one received: what was matched is what is forwarded (H7).
    pub const fn take_rewritten(&mut self) -> Option<PathAndQuery> {
        self.rewritten.take()
    }

    /// The target that is forwarded, where it differs and has not been taken yet.
    #[must_use]
    pub const fn rewritten(&self) -> Option<&PathAndQuery> {
        self.rewritten.as_ref()
    }

    /// How fast the body has to come while it streams, in bytes per second, where its route has a word about that; 0 for as slowly
    /// as it likes.
    #[must_use]
    pub const fn min_body_rate(&self) -> Option<u64> {
        self.body.min_rate
    }

    /// The wait to keep before the request is forwarded, if a limit slows it down (L12).
    pub const fn take_delay(&mut self) -> Option<Delay> {
        self.delay.take()
    }

    /// Who it is, where that was proven.
    #[must_use]
    pub const fn principal(&self) -> Option<&Arc<Principal>> {
        self.case.principal.as_ref()
    }

    /// Whether it may become a tunnel: not where the route asks something of content, which is not looked at in there. Call it
    /// before the target that is forwarded is taken.
    #[must_use]
    pub fn tunnel(&self, method: &Method, target: &Uri) -> Tunnels {
        let path = self.rewritten.as_ref().map_or_else(|| target.path(), PathAndQuery::path);
        self.case.checks().iter().map(|check| check.tunnel(method, path)).max().unwrap_or_default()
    }

    /// Strips what the client must not say, and says what was proven (Z5, T6). Call it after hop-by-hop headers were
    /// removed, so that a `Connection` list cannot remove what is set here.
    pub fn apply_to_request(&self, headers: &mut HeaderMap) {
        let policy = &self.case.policy;
        policy.identity_headers.strip(headers);
        if self.target == Target::Identity {
            return;
        }
        let scheme = self.case.principal.as_ref().map(|principal| principal.parts().scheme);
        let mut spared = None;
        match (scheme, policy.forward_credentials) {
            (Some(Scheme::Bearer), false) => drop(headers.remove(AUTHORIZATION)),
            (Some(Scheme::ApiKey), false) => credential::strip_api_key(headers),
            (Some(Scheme::Cookie), true) => spared = Some(policy.cookies.access()),
            (Some(Scheme::Session), true) => spared = Some(policy.cookies.session()),
            _ => {}
        }
        if headers.contains_key(COOKIE) {
            // Whatever is forwarded, a browser sends the refresh token along with it, and that is for nobody but us.
            credential::strip_cookies(headers, spared);
        }
        self.apply_tokens(headers);
        if let Some(principal) = &self.case.principal {
            policy.identity_headers.set(headers, principal);
        }
        if let Some(nonce) = &self.case.nonce {
            policy.identity_headers.set_nonce(headers, nonce);
        }
    }

    /// Takes a token against forgery that was ours to read out of the request, and tells the upstream one for its forms,
    /// where it is to be told. What a client says in that header's place is for nobody.
    fn apply_tokens(&self, headers: &mut HeaderMap) {
        let rules = self.case.policy.csrf.rules();
        if self.case.tokens.is_some() {
            headers.remove(&rules.header);
        }
        if let Some(name) = &rules.to_upstream {
            headers.remove(name);
            if let Some(told) = self.case.tokens.as_ref().and_then(|tokens| tokens.told.clone()) {
                headers.insert(name, told);
            }
        }
    }

    /// What makes and knows tokens against forgery, of the policy that decided.
    #[must_use]
    pub fn csrf(&self) -> &Arc<Csrf> {
        &self.case.policy.csrf
    }

    /// Strips identity headers from a request's trailers, which an upstream may merge with its headers.
    pub fn apply_to_trailers(&self, trailers: &mut HeaderMap) {
        self.case.policy.identity_headers.strip(trailers);
        trailers.remove(AUTHORIZATION);
        trailers.remove(COOKIE);
    }

    /// What the route asks of responses, and whether this caller may see what belongs to others. Nothing, nearly always.
    #[must_use]
    pub fn response_rules(&self) -> Option<(&Arc<ResponseRules>, bool)> {
        let policy = &self.case.policy;
        let route = policy.route_at(self.case.route?);
        let rules = route.response.as_ref()?;
        let principal = self.case.principal.as_deref();
        let sees_others = route.owner.as_ref().is_none_or(|owner| owner.unless.covers(principal, &policy.roles));
        Some((rules, sees_others))
    }

    /// Shapes the headers of the response: security headers, who may read it, the limits' standing, and none of our cookies
    /// from an upstream.
    pub fn shape_response(&self, status: StatusCode, headers: &mut HeaderMap) {
        if self.target == Target::Identity {
            return self.case.shape(headers);
        }
        if headers.contains_key(SET_COOKIE) {
            credential::drop_set_cookies(headers);
        }
        self.case.shape_upstreams(headers, status);
    }

    /// Turns the pass into a refusal, for what goes wrong after admission.
    #[must_use]
    pub fn refuse(self, reason: Reason, id: RequestId) -> Refusal {
        Refusal { case: self.case, reason, id }
    }
}

//! From settings to what a policy is made of.

use std::sync::Arc;

use portcullis::{PolicyParts, RouteRule};
use portcullis_auth::{CookieNames, TokenVerifier};
use portcullis_shield::csrf::Csrf;

use super::settings::Settings;

impl Settings {
    /// Whether clients reach this gate by https, as the public URL says.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// What the policy is made of. The verifier knows our own issuer, whose keys are in the database, and
    /// `gate.issuers`; `own_routes` are those of the identity endpoints; `csrf` has its key from there too.
    #[must_use]
    pub fn policy_parts(&self, verifier: Arc<TokenVerifier>, own_routes: Vec<RouteRule>, csrf: Csrf) -> PolicyParts {
        let gate = &self.gate;
        let mut routes = own_routes;
        routes.extend(gate.routes.iter().cloned());
        PolicyParts {
            trusted_hops: self.transport.trusted_hops.clone(),
            ipv6_prefix: gate.ipv6_prefix,
            routes,
            otherwise: gate.otherwise,
            max_body: gate.max_body,
            limits: gate.limits.clone(),
            limit_headers: gate.limit_headers,
            reputation: gate.reputation.clone(),
            roles: gate.roles.clone(),
            verifier,
            cookies: CookieNames::new(self.is_https()),
            public_origin: (*self.public_url).into(),
            csrf,
            forward_credentials: gate.forward_credentials,
            identity_headers: gate.identity_headers.clone(),
            response_headers: gate.headers.clone(),
            cors: gate.cors.clone(),
        }
    }
}

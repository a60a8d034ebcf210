//! The policy of the gate: the file's rules, our own issuer, and the routes of the identity endpoints.

use std::sync::Arc;

use portcullis::{Policy, PolicyError, RouteRule, Target};
use portcullis_auth::access::{Requirement, Roles};
use portcullis_auth::{Issuer, TokenVerifier};
use portcullis_shield::csrf::Csrf;

use crate::config::Settings;
use crate::identity_api::{ENDPOINTS, Need, REST};
use crate::proxy::MAX_IDENTITY_BODY;

/// Builds the policy. `own` is the issuer of our own tokens, where there are any; `csrf` are the rules of the settings with
/// their key.
///
/// # Errors
/// Every [`PolicyError`] at once.
pub fn build_policy(settings: &Settings, own: Option<Issuer>, csrf: Csrf) -> Result<Policy, Vec<PolicyError>> {
    let own_routes = if own.is_some() { own_routes() } else { Vec::new() };
    let issuers = own.into_iter().chain(settings.gate.issuers.iter().cloned()).collect();
    let verifier = TokenVerifier::new(issuers, settings.gate.remembered_tokens);
    Policy::new(settings.policy_parts(Arc::new(verifier), own_routes, csrf))
}

/// The routes of the identity endpoints. What stands under `/auth` and is none of them stays in this process too.
#[must_use]
pub fn own_routes() -> Vec<RouteRule> {
    let rest = REST.iter().map(|pattern| (*pattern, Need::Nothing, false));
    ENDPOINTS
        .iter()
        .map(|endpoint| (endpoint.pattern, endpoint.need, endpoint.renews))
        .chain(rest)
        .filter_map(|(pattern, need, renews)| {
            let access = match need {
                Need::Nothing | Need::Optional => Requirement::Public,
                Need::Login => Requirement::Authenticated,
            };
            Some(RouteRule {
                max_body: MAX_IDENTITY_BODY as u64,
                ignores_credentials: need == Need::Nothing,
                renews,
                ..RouteRule::new(pattern.parse().ok()?, access, Target::Identity)
            })
        })
        .collect()
}

/// The roles that an account can have: those of the configuration, and the one that a registration gives.
#[must_use]
pub fn role_names(roles: &Roles, default: &str) -> Vec<String> {
    let mut names: Vec<String> = roles.names().chain([default]).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_an_endpoints_path_stays_here() {
        for endpoint in ENDPOINTS {
            let path = endpoint.pattern.split_once(' ').unwrap().1;
            assert!(path.starts_with("/auth/") || REST.contains(&path), "{path}");
        }
    }

    #[test]
    fn every_endpoint_has_a_route() {
        assert_eq!(own_routes().len(), ENDPOINTS.len() + REST.len());
    }
}

//! The policy: one immutable snapshot of every rule, taken once for each request so that a reload never splits one.

use std::sync::Arc;

use http::Method;
use portcullis_auth::access::{Ownership, Requirement, Roles};
use portcullis_auth::{CookieNames, TokenVerifier};
use portcullis_core::{NormalizedPath, TrustedHops};
use portcullis_limit::headers::LimitHeaders;
use portcullis_shield::csrf::Csrf;
use portcullis_shield::{Check, Cors, ResponseHeaders, ResponseRules};

use crate::body::BodyRule;
use crate::identity_headers::IdentityHeaders;
use crate::limits::{LimitRule, LimitTable};
use crate::pattern::Pattern;
use crate::reputation::Rules;
use crate::table::PatternTable;

/// Where an admitted request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The upstream with this index.
    Upstream(usize),
    /// The identity endpoints of this process.
    Identity,
}

/// One route, as the configuration means it.
#[derive(Clone, Debug)]
pub struct RouteRule {
    /// The requests it covers.
    pub pattern: Pattern,
    /// What they must prove.
    pub access: Requirement,
    /// Where they go.
    pub target: Target,
    /// The largest body, in bytes.
    pub max_body: u64,
    /// The largest body that says that it is JSON, in bytes, where that is less (H5).
    pub max_json: u64,
    /// How fast a body has to come while it streams, in bytes per second, where that is not what holds for all; 0 for as slowly
    /// as it likes.
    pub min_body_rate: Option<u64>,
    /// Whether a presented credential is not even looked at: endpoints that issue credentials must work with a stale
    /// one (T8).
    pub ignores_credentials: bool,
    /// Whether it only lets go on, or ends, what was proven before, as a refresh does: then it is neither judged by its
    /// address's reputation nor does it change it. Whoever is logged in behind an address with a bad name stays so.
    pub renews: bool,
    /// What its responses carry, where that is not what all do.
    pub headers: Option<Arc<ResponseHeaders>>,
    /// Which pages of other origins may ask.
    pub cors: RouteCors,
    /// What is asked of the content, in this order. Where there is any, the body is read whole before it is forwarded.
    pub checks: Vec<Arc<dyn Check>>,
    /// Whether a body may come as gzip where checks look at it; they see what it is without it.
    pub gzip: bool,
    /// Whether unsafe methods need no token here although a cookie authenticates them (H2). Their origin is asked all the
    /// same.
    pub danger_no_csrf_token: bool,
    /// What must be the caller's own.
    pub owner: Option<Ownership>,
    /// What is asked of responses.
    pub response: Option<Arc<ResponseRules>>,
}

/// Which pages of other origins may ask for what a route covers.
#[derive(Clone, Debug, Default)]
pub enum RouteCors {
    /// Those that may ask for everything.
    #[default]
    Common,
    /// That is the upstream's affair: it answers preflights and says who may read.
    Upstream,
    /// Those of its own list.
    Own(Arc<Cors>),
}

impl RouteRule {
    /// The largest body of a route that says nothing about it: 1 MiB.
    pub const DEFAULT_BODY: u64 = 1 << 20;

    /// The same of JSON: 10 KiB. It is parsed whole wherever it goes, and what it is parsed into takes many times its size.
    pub const DEFAULT_JSON: u64 = 10 << 10;

    /// A route that asks for nothing but access.
    #[must_use]
    pub const fn new(pattern: Pattern, access: Requirement, target: Target) -> Self {
        Self {
            pattern,
            access,
            target,
            max_body: Self::DEFAULT_BODY,
            max_json: Self::DEFAULT_JSON,
            min_body_rate: None,
            ignores_credentials: false,
            renews: false,
            checks: Vec::new(),
            gzip: false,
            danger_no_csrf_token: false,
            owner: None,
            response: None,
            headers: None,
            cors: RouteCors::Common,
        }
    }
}

/// What becomes of a request that no route covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// 404.
    #[default]
    Refuse,
    /// It needs a login and goes to the first upstream.
    Authenticated,
    /// It goes to the first upstream.
    Public,
}

/// What a policy is made of.
#[derive(Clone, Debug)]
pub struct PolicyParts {
    /// Whose word about the client's address is believed.
    pub trusted_hops: TrustedHops,
    /// How much of an IPv6 address a limit counts by (64).
    pub ipv6_prefix: u8,
    /// The routes, in any order.
    pub routes: Vec<RouteRule>,
    /// What becomes of the rest.
    pub otherwise: Otherwise,
    /// The largest body of the rest, in bytes.
    pub max_body: u64,
    /// The largest body of the rest that says that it is JSON, in bytes.
    pub max_json: u64,
    /// The limits.
    pub limits: Vec<LimitRule>,
    /// How a client is told of its limits.
    pub limit_headers: LimitHeaders,
    /// How addresses are judged, where a limit goes by that.
    pub reputation: Rules,
    /// What roles permit.
    pub roles: Roles,
    /// Whose tokens are believed.
    pub verifier: Arc<TokenVerifier>,
    /// Our cookies' names.
    pub cookies: CookieNames,
    /// `scheme://host[:port]` under which browsers know this gate; compared with `Origin`.
    pub public_origin: Box<str>,
    /// What is asked of unsafe requests that a cookie authenticates.
    pub csrf: Csrf,
    /// Whether the upstream receives the credential that we consumed.
    pub forward_credentials: bool,
    /// How the upstream is told who it is.
    pub identity_headers: IdentityHeaders,
    /// What every response carries.
    pub response_headers: ResponseHeaders,
    /// Which pages of other origins may ask, where a route does not say so itself; `None`: that is the upstream's affair.
    pub cors: Option<Arc<Cors>>,
}

/// Why parts do not make a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Two routes stand at exactly the same place.
    #[error("the routes \"{first}\" and \"{second}\" cover the same requests")]
    Tie {
        /// The one that stands first.
        first: Box<str>,
        /// The one that repeats it.
        second: Box<str>,
        /// The index of the second among the parts' routes.
        index: usize,
    },
}

/// One immutable snapshot of every rule. Only [`Policy::new`] makes one.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) trusted_hops: TrustedHops,
    pub(crate) ipv6_prefix: u8,
    routes: Vec<Route>,
    by_pattern: PatternTable<usize>,
    /// The index of the route for what no pattern covers.
    uncovered: Option<usize>,
    pub(crate) limits: LimitTable,
    pub(crate) limit_headers: LimitHeaders,
    pub(crate) reputation: Rules,
    pub(crate) roles: Roles,
    pub(crate) verifier: Arc<TokenVerifier>,
    pub(crate) cookies: CookieNames,
    pub(crate) public_origin: Box<str>,
    pub(crate) csrf: Arc<Csrf>,
    pub(crate) forward_credentials: bool,
    pub(crate) identity_headers: IdentityHeaders,
    pub(crate) response_headers: ResponseHeaders,
    cors: Option<Arc<Cors>>,
    /// Whether any request may be told who may ask: where not, nobody looks for its origin.
    pub(crate) has_cors: bool,
}

/// A route with its label ready for records.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) label: Arc<str>,
    pub(crate) access: Requirement,
    pub(crate) target: Target,
    pub(crate) body: BodyRule,
    pub(crate) ignores_credentials: bool,
    pub(crate) renews: bool,
    pub(crate) checks: Box<[Arc<dyn Check>]>,
    pub(crate) gzip: bool,
    pub(crate) danger_no_csrf_token: bool,
    pub(crate) owner: Option<Ownership>,
    pub(crate) response: Option<Arc<ResponseRules>>,
    pub(crate) headers: Option<Arc<ResponseHeaders>>,
    pub(crate) cors: RouteCors,
}

impl Route {
    /// A route that asks for nothing but access.
    fn new(label: Arc<str>, access: Requirement, target: Target) -> Self {
        Self {
            label,
            access,
            target,
            body: BodyRule { max: RouteRule::DEFAULT_BODY, max_json: RouteRule::DEFAULT_JSON, min_rate: None },
            ignores_credentials: false,
            renews: false,
            checks: Box::default(),
            gzip: false,
            danger_no_csrf_token: false,
            owner: None,
            response: None,
            headers: None,
            cors: RouteCors::Common,
        }
    }
}

impl From<RouteRule> for Route {
    fn from(rule: RouteRule) -> Self {
        Self {
            ignores_credentials: rule.ignores_credentials,
            renews: rule.renews,
            checks: rule.checks.into(),
            gzip: rule.gzip,
            danger_no_csrf_token: rule.danger_no_csrf_token,
            owner: rule.owner,
            response: rule.response,
            headers: rule.headers,
            cors: rule.cors,
            body: BodyRule { max: rule.max_body, max_json: rule.max_json, min_rate: rule.min_body_rate },
            ..Self::new(rule.pattern.as_str().into(), rule.access, rule.target)
        }
    }
}

impl Policy {
    /// What roles permit.
    #[must_use]
    pub const fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Builds the route tree and the limit table.
    ///
    /// # Errors
    /// Every [`PolicyError`] of the parts at once.
    pub fn new(parts: PolicyParts) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let mut by_pattern = PatternTable::new(folds(&parts));
        for (index, rule) in parts.routes.iter().enumerate() {
            for tie in by_pattern.insert(&rule.pattern, index) {
                let first = parts.routes[tie].pattern.as_str().into();
                errors.push(PolicyError::Tie { first, second: rule.pattern.as_str().into(), index });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut routes: Vec<Route> = parts.routes.into_iter().map(Route::from).collect();
        let access = match parts.otherwise {
            Otherwise::Refuse => None,
            Otherwise::Authenticated => Some(Requirement::Authenticated),
            Otherwise::Public => Some(Requirement::Public),
        };
        let uncovered = access.map(|access| {
            routes.push(Route {
                body: BodyRule { max: parts.max_body, max_json: parts.max_json, min_rate: None },
                ..Route::new("(no route)".into(), access, Target::Upstream(0))
            });
            routes.len() - 1
        });
        let has_own = |route: &Route| matches!(route.cors, RouteCors::Own(_));
        let has_cors = parts.cors.is_some() || routes.iter().any(has_own);
        Ok(Self {
            routes,
            uncovered,
            by_pattern,
            trusted_hops: parts.trusted_hops,
            ipv6_prefix: parts.ipv6_prefix,
            limits: LimitTable::new(parts.limits),
            limit_headers: parts.limit_headers,
            reputation: parts.reputation,
            roles: parts.roles,
            verifier: parts.verifier,
            cookies: parts.cookies,
            public_origin: parts.public_origin,
            csrf: Arc::new(parts.csrf),
            forward_credentials: parts.forward_credentials,
            identity_headers: parts.identity_headers,
            response_headers: parts.response_headers,
            cors: parts.cors,
            has_cors,
        })
    }

    /// The index of a request's route; `None`: no entry.
    pub(crate) fn route(&self, method: &Method, path: &NormalizedPath<'_>) -> Option<usize> {
        self.by_pattern.find(method, path.as_str()).or(self.uncovered)
    }

    pub(crate) fn route_at(&self, index: usize) -> &Route {
        &self.routes[index]
    }

    /// The headers that responses of a route carry, or those to what found none.
    pub(crate) fn headers_of(&self, route: Option<usize>) -> &ResponseHeaders {
        let own = route.and_then(|index| self.route_at(index).headers.as_deref());
        own.unwrap_or(&self.response_headers)
    }

    /// Which pages of other origins may ask for what a route covers, or for what found none.
    pub(crate) fn cors_of(&self, route: Option<usize>) -> Option<&Cors> {
        match route.map(|index| &self.route_at(index).cors) {
            Some(RouteCors::Own(own)) => Some(own),
            Some(RouteCors::Upstream) => None,
            Some(RouteCors::Common) | None => self.cors.as_deref(),
        }
    }

    /// The headers that every response carries, for answers that no verdict stands behind.
    #[must_use]
    pub const fn response_headers(&self) -> &ResponseHeaders {
        &self.response_headers
    }

    /// The verifier of tokens, for its figures.
    #[must_use]
    pub const fn verifier(&self) -> &Arc<TokenVerifier> {
        &self.verifier
    }

    /// Every route's label, for metrics.
    pub fn route_labels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.iter().map(|route| &route.label)
    }

    /// Every limit's rule, for metrics and lists.
    pub fn limit_rules(&self) -> impl Iterator<Item = &LimitRule> {
        self.limits.rules()
    }
}

/// Whether letter case and a trailing slash are ignored: wherever a request that misses its strict route would be caught
/// by a looser one, `/Admin/` must not slip past the rule of `/admin` to an upstream that thinks them equal.
fn folds(parts: &PolicyParts) -> bool {
    parts.otherwise != Otherwise::Refuse
        || parts.routes.iter().any(|rule| rule.pattern.has_tail() && rule.target != Target::Identity)
}

//! A gate with the projects API of Z2 behind it, and a person who asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portcullis::{
    Answer, Gate, IdentityHeaders, KeyPart, LimitHeaders, LimitRule, Otherwise, Pass, Policy, PolicyParts, Refusal,
    ReputationRules, RouteRule, Target, Verdict,
};
use portcullis_auth::access::{Requirement, Roles};
use portcullis_auth::{Algorithm, ClaimNames, CookieNames, Issuer, KeySet, KeySource, SigningKey, TokenVerifier};
use portcullis_core::ports::{Blocklist, Revocations, Standing};
use portcullis_core::{Event, EventKind, EventSink, Facts, Principal, RequestId, Secret, Timestamp, TrustedHops};
use portcullis_limit::{Algorithm as Keeping, Limiter, Rate};
use portcullis_shield::csrf::{Csrf, CsrfRules};
use portcullis_shield::{Preset, ResponseHeaders};
use serde_json::json;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[derive(Default)]
pub(crate) struct Records(Mutex<Vec<Event>>);

impl EventSink for Records {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Records {
    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.0.lock().unwrap().iter().map(|event| event.kind).collect()
    }

    /// The limits of the events of one kind, with their reasons.
    pub(crate) fn limits(&self, kind: EventKind) -> Vec<(String, Option<&'static str>)> {
        let events = self.0.lock().unwrap();
        let told = events.iter().filter(|event| event.kind == kind);
        told.map(|event| (event.limit.as_deref().unwrap_or_default().to_owned(), event.reason)).collect()
    }
}

/// Revokes sessions named `revoked`, and knows nothing of those named `stale`.
pub(crate) struct Revoked;

impl Revocations for Revoked {
    fn standing(&self, principal: &Principal, _: Timestamp) -> Standing {
        match principal.parts().session.as_deref() {
            Some("revoked") => Standing::Revoked,
            Some("stale") => Standing::Unknown,
            _ => Standing::Good,
        }
    }
}

pub(crate) struct OneBlocked(IpAddr);

impl Blocklist for OneBlocked {
    fn blocked_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        (address == self.0).then(|| now.after(Duration::from_secs(60)))
    }
}

pub(crate) struct House {
    pub(crate) gate: Gate,
    pub(crate) key: SigningKey,
    pub(crate) records: Arc<Records>,
}

pub(crate) fn route(pattern: &str, access: Requirement) -> RouteRule {
    RouteRule { max_body: 100, ..RouteRule::new(pattern.parse().unwrap(), access, Target::Upstream(0)) }
}

pub(crate) fn roles(names: &[&str]) -> Requirement {
    Requirement::AnyRole(names.iter().map(|name| (*name).into()).collect())
}

pub(crate) fn rate(quota: &str) -> Rate {
    Rate::new(quota.parse().unwrap(), Keeping::FixedWindow, None).unwrap()
}

pub(crate) fn limit(name: &str, pattern: &str, key: KeyPart, quota: &str) -> LimitRule {
    LimitRule { key: vec![key], ..LimitRule::new(name, vec![pattern.parse().unwrap()], rate(quota)) }
}

/// The projects API of Z2.
pub(crate) fn projects() -> Vec<RouteRule> {
    vec![
        route("GET /projects", Requirement::Authenticated),
        route("POST /projects", roles(&["editor", "admin"])),
        route("DELETE /projects/{id}", roles(&["admin"])),
        route("GET /analytics", roles(&["admin"])),
        route("GET /public/status", Requirement::Public),
        RouteRule {
            target: Target::Identity,
            ignores_credentials: true,
            ..route("POST /auth/login", Requirement::Public)
        },
        RouteRule { target: Target::Identity, ..route("POST /auth/maybe", Requirement::Public) },
    ]
}

pub(crate) fn parts(key: &SigningKey, routes: Vec<RouteRule>, limits: Vec<LimitRule>) -> PolicyParts {
    let issuer = Issuer {
        name: None,
        iss: "https://api.example.com".into(),
        audiences: vec!["api".into()],
        algorithms: vec![Algorithm::Es256],
        leeway: Duration::ZERO,
        typ: Some("at+jwt".into()),
        keys: KeySource::new(KeySet::new(vec![key.verification_key().clone()]).unwrap()),
        claims: ClaimNames::default(),
    };
    PolicyParts {
        trusted_hops: TrustedHops::default(),
        ipv6_prefix: 64,
        routes,
        otherwise: Otherwise::Refuse,
        max_body: 100,
        limits,
        limit_headers: LimitHeaders::Both,
        reputation: ReputationRules::default(),
        roles: Roles::new(&BTreeMap::new()).unwrap(),
        verifier: Arc::new(TokenVerifier::new(vec![issuer], 100)),
        cookies: CookieNames::new(true),
        public_origin: "https://api.example.com".into(),
        csrf: csrf(),
        forward_credentials: false,
        identity_headers: IdentityHeaders::default(),
        response_headers: ResponseHeaders::new(Preset::Web, true),
        cors: None,
    }
}

/// The rules of H2 as they are by default.
pub(crate) fn csrf() -> Csrf {
    Csrf::new(CsrfRules::default(), &Secret::new(vec![7; 32]))
}

pub(crate) fn house(limits: Vec<LimitRule>) -> House {
    house_with(projects(), limits, Otherwise::Refuse)
}

pub(crate) fn house_with(routes: Vec<RouteRule>, limits: Vec<LimitRule>, otherwise: Otherwise) -> House {
    house_on(Limiter::default(), routes, limits, otherwise)
}

pub(crate) fn house_on(
    limiter: Limiter,
    routes: Vec<RouteRule>,
    limits: Vec<LimitRule>,
    otherwise: Otherwise,
) -> House {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let policy = Policy::new(PolicyParts { otherwise, ..parts(&key, routes, limits) }).unwrap();
    let records = Arc::new(Records::default());
    let blocked = OneBlocked("192.0.2.66".parse().unwrap());
    let gate = Gate::new(
        policy,
        Arc::new(limiter),
        Arc::new(Revoked),
        Arc::new(blocked),
        Arc::clone(&records) as Arc<dyn EventSink>,
    );
    House { gate, key, records }
}

/// The same with parts that a test changes.
pub(crate) fn house_of(
    routes: Vec<RouteRule>,
    limits: Vec<LimitRule>,
    change: impl FnOnce(PolicyParts) -> PolicyParts,
) -> House {
    let house = house_with(Vec::new(), Vec::new(), Otherwise::Refuse);
    house.gate.reload(Policy::new(change(parts(&house.key, routes, limits))).unwrap());
    house
}

impl House {
    pub(crate) fn token(&self, user: &str, role: &str, plan: &str, session: &str) -> String {
        let claims = json!({
            "iss": "https://api.example.com", "aud": "api", "sub": user, "exp": NOW.as_secs() + 900, "jti": user,
            "sid": session, "role": role, "plan": plan, "ver": 1,
        });
        self.key.sign("at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn bearer(&self, role: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.token(&format!("the-{role}"), role, "free", "s")))
    }

    pub(crate) fn ask_from(&self, peer: &str, request: &str, headers: &[(&'static str, String)]) -> Verdict {
        self.ask_at(NOW, peer, request, headers)
    }

    pub(crate) fn ask_at(
        &self,
        now: Timestamp,
        peer: &str,
        request: &str,
        headers: &[(&'static str, String)],
    ) -> Verdict {
        with_facts(peer, request, headers, now, |facts| futures_executor(self.gate.decide(facts)))
    }

    /// What a door does that finds something wrong before it asks.
    pub(crate) fn refuse_at_the_door(&self, peer: &str, reason: portcullis_core::Reason) -> Refusal {
        with_facts(peer, "GET /public/status", &[], NOW, |facts| self.gate.refuse(facts, reason))
    }

    pub(crate) fn ask(&self, request: &str, headers: &[(&'static str, String)]) -> Verdict {
        self.ask_from("192.0.2.1", request, headers)
    }

    pub(crate) fn status(&self, request: &str, headers: &[(&'static str, String)]) -> u16 {
        status(&self.ask(request, headers))
    }
}

fn with_facts<T>(
    peer: &str,
    request: &str,
    headers: &[(&'static str, String)],
    now: Timestamp,
    then: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let (method, target) = request.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let target: Uri = target.parse().unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let facts = Facts {
        method: &method,
        target: &target,
        headers: &map,
        peer: peer.parse().unwrap(),
        secure: true,
        id: RequestId::from_bits(7),
        now,
    };
    then(&facts)
}

/// A decision in memory never waits, so one poll is enough; a second would be a bug.
pub(crate) fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a decision in memory waited"),
    }
}

pub(crate) fn status(verdict: &Verdict) -> u16 {
    match verdict {
        Verdict::Pass(_) => 200,
        Verdict::Refuse(refusal) => refusal.reason().status().as_u16(),
        Verdict::Answer(_) => Answer::STATUS.as_u16(),
    }
}

pub(crate) fn passed(verdict: Verdict) -> Pass {
    match verdict {
        Verdict::Pass(pass) => pass,
        Verdict::Refuse(refusal) => panic!("{:?}", refusal.reason()),
        Verdict::Answer(_) => panic!("answered"),
    }
}

pub(crate) fn refused(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Pass(_) => panic!("passed"),
        Verdict::Answer(_) => panic!("answered"),
        Verdict::Refuse(refusal) => refusal,
    }
}

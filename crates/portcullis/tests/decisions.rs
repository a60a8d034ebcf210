//! The table of decisions: facts in, verdict out, without a socket. Every door must give the same answers.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use portcullis::{
    Count, Gate, IdentityHeaders, KeyPart, LimitRule, Otherwise, Outcome, Pass, Policy, PolicyError, PolicyParts,
    QuotaChoice, Refusal, RouteRule, Scope, Stage, Target, Verdict,
};
use portcullis_auth::access::{Requirement, Roles};
use portcullis_auth::{Algorithm, ClaimNames, CookieNames, Issuer, KeySet, KeySource, SigningKey, TokenVerifier};
use portcullis_core::ports::{Blocklist, Nobody, Revocations, Standing};
use portcullis_core::{Event, EventKind, EventSink, Facts, Principal, Reason, RequestId, Timestamp, TrustedHops};
use portcullis_limit::{Algorithm as Keeping, Limiter, Rate};
use portcullis_shield::{Preset, ResponseHeaders};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[derive(Default)]
struct Records(Mutex<Vec<Event>>);

impl EventSink for Records {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Records {
    fn kinds(&self) -> Vec<EventKind> {
        self.0.lock().unwrap().iter().map(|event| event.kind).collect()
    }
}

/// Revokes sessions named `revoked`, and knows nothing of those named `stale`.
struct Revoked;

impl Revocations for Revoked {
    fn standing(&self, principal: &Principal, _: Timestamp) -> Standing {
        match principal.parts().session.as_deref() {
            Some("revoked") => Standing::Revoked,
            Some("stale") => Standing::Unknown,
            _ => Standing::Good,
        }
    }
}

struct OneBlocked(IpAddr);

impl Blocklist for OneBlocked {
    fn blocked_until(&self, address: IpAddr, now: Timestamp) -> Option<Timestamp> {
        (address == self.0).then(|| now.after(Duration::from_secs(60)))
    }
}

struct House {
    gate: Gate,
    key: SigningKey,
    records: Arc<Records>,
}

fn route(pattern: &str, access: Requirement) -> RouteRule {
    RouteRule {
        pattern: pattern.parse().unwrap(),
        access,
        target: Target::Upstream(0),
        max_body: 100,
        ignores_credentials: false,
    }
}

fn roles(names: &[&str]) -> Requirement {
    Requirement::AnyRole(names.iter().map(|name| (*name).into()).collect())
}

fn rate(quota: &str) -> Rate {
    Rate::new(quota.parse().unwrap(), Keeping::FixedWindow, None).unwrap()
}

fn limit(name: &str, pattern: &str, key: KeyPart, quota: &str) -> LimitRule {
    LimitRule {
        name: name.into(),
        patterns: vec![pattern.parse().unwrap()],
        key: vec![key],
        quota: QuotaChoice::Fixed(rate(quota)),
        count: Count::All,
        cost: 1,
        exempt: Vec::new(),
        ceiling: None,
        enforce: true,
        scope: Scope::Everyone,
        message: None,
    }
}

/// The projects API of Z2.
fn projects() -> Vec<RouteRule> {
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
    ]
}

fn parts(key: &SigningKey, routes: Vec<RouteRule>, limits: Vec<LimitRule>) -> PolicyParts {
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
        roles: Roles::new(&BTreeMap::new()).unwrap(),
        verifier: Arc::new(TokenVerifier::new(vec![issuer], 100)),
        cookies: CookieNames::new(true),
        public_origin: "https://api.example.com".into(),
        forward_credentials: false,
        identity_headers: IdentityHeaders::default(),
        response_headers: ResponseHeaders::new(Preset::Web, true),
    }
}

fn house(limits: Vec<LimitRule>) -> House {
    house_with(projects(), limits, Otherwise::Refuse)
}

fn house_with(routes: Vec<RouteRule>, limits: Vec<LimitRule>, otherwise: Otherwise) -> House {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let policy = Policy::new(PolicyParts { otherwise, ..parts(&key, routes, limits) }).unwrap();
    let records = Arc::new(Records::default());
    let blocked = OneBlocked("192.0.2.66".parse().unwrap());
    let gate = Gate::new(
        policy,
        Arc::new(Limiter::default()),
        Arc::new(Revoked),
        Arc::new(blocked),
        Arc::clone(&records) as Arc<dyn EventSink>,
    );
    House { gate, key, records }
}

impl House {
    fn token(&self, user: &str, role: &str, plan: &str, session: &str) -> String {
        let claims = json!({
            "iss": "https://api.example.com", "aud": "api", "sub": user, "exp": NOW.as_secs() + 900, "jti": user,
            "sid": session, "role": role, "plan": plan, "ver": 1,
        });
        self.key.sign("at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    fn bearer(&self, role: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.token(&format!("the-{role}"), role, "free", "s")))
    }

    fn ask_from(&self, peer: &str, request: &str, headers: &[(&'static str, String)]) -> Verdict {
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
            now: NOW,
        };
        futures_executor(self.gate.decide(&facts))
    }

    fn ask(&self, request: &str, headers: &[(&'static str, String)]) -> Verdict {
        self.ask_from("192.0.2.1", request, headers)
    }

    fn status(&self, request: &str, headers: &[(&'static str, String)]) -> u16 {
        status(&self.ask(request, headers))
    }
}

/// A decision in memory never waits, so one poll is enough; a second would be a bug.
fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a decision in memory waited"),
    }
}

fn status(verdict: &Verdict) -> u16 {
    match verdict {
        Verdict::Pass(_) => 200,
        Verdict::Refuse(refusal) => refusal.reason().status().as_u16(),
    }
}

fn passed(verdict: Verdict) -> Pass {
    match verdict {
        Verdict::Pass(pass) => pass,
        Verdict::Refuse(refusal) => panic!("{:?}", refusal.reason()),
    }
}

fn refused(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Pass(_) => panic!("passed"),
        Verdict::Refuse(refusal) => refusal,
    }
}

#[test]
fn z2_the_example_api_is_guarded_by_role() {
    let house = house(Vec::new());
    for (request, nobody, viewer, editor, admin) in [
        ("GET /projects", 401, 200, 200, 200),
        ("HEAD /projects", 401, 200, 200, 200),
        ("POST /projects", 401, 403, 200, 200),
        ("DELETE /projects/7", 401, 403, 403, 200),
        ("GET /analytics", 401, 403, 403, 200),
        ("GET /public/status", 200, 200, 200, 200),
        ("PUT /projects", 404, 404, 404, 404),
        ("GET /", 404, 404, 404, 404),
        ("GET /projects/", 404, 404, 404, 404),
        ("GET /Projects", 404, 404, 404, 404),
    ] {
        assert_eq!(house.status(request, &[]), nobody, "{request} by nobody");
        for (role, expected) in [("viewer", viewer), ("editor", editor), ("admin", admin)] {
            assert_eq!(house.status(request, &[house.bearer(role)]), expected, "{request} by {role}");
        }
    }
}

#[test]
fn h7_no_spelling_of_a_path_reaches_another_route() {
    let house = house(Vec::new());
    let viewer = [house.bearer("viewer")];
    for target in [
        "/analytics/",
        "/Analytics",
        "/./analytics",
        "/x/../analytics",
        "/%2e/analytics",
        "/analytics.",
        "/analytics;x=1",
        "/projects/..%2fanalytics",
        "/public/status/../../analytics",
        "/public%2fstatus",
        "/analytics%00",
        "/analytics%20",
        "/%61nalytics",
        "//analytics",
        "/analytics?x=/public/status",
    ] {
        assert_ne!(house.status(&format!("GET {target}"), &viewer), 200, "{target}");
    }
    let mut pass = passed(house.ask("GET //%61nalytics?a=%2e", &[house.bearer("admin")]));
    assert_eq!(pass.take_rewritten().unwrap(), "/analytics?a=%2e", "what was matched is what is forwarded");
    assert!(passed(house.ask("GET /projects?x=1", &viewer)).take_rewritten().is_none());
}

#[test]
fn z1_a_looser_rest_is_matched_without_case_and_trailing_slash() {
    let routes = vec![route("/admin", roles(&["admin"]))];
    let house = house_with(routes, Vec::new(), Otherwise::Public);
    for target in ["/admin", "/ADMIN", "/Admin/", "//admin", "/%41dmin"] {
        assert_eq!(house.status(&format!("GET {target}"), &[]), 401, "{target}");
    }
    assert_eq!(house.status("GET /other", &[]), 200);
}

#[test]
fn t8_nothing_valid_and_invalid_are_three_answers() {
    let house = house(Vec::new());
    let error = |headers: &[(&'static str, String)]| {
        let refusal = refused(house.ask("GET /projects", headers));
        let problem = refusal.problem();
        assert_eq!(problem.status, StatusCode::UNAUTHORIZED);
        assert!(problem.headers.contains_key("www-authenticate"));
        refusal.reason().error().to_owned()
    };
    let bearer = |token: &str| [("authorization", format!("Bearer {token}"))];
    assert_eq!(error(&[]), "Authentication required");
    assert_eq!(error(&bearer("nonsense")), "Invalid or expired token");
    assert_eq!(error(&[("authorization", "Basic YTpi".into())]), "Invalid or expired token");
    assert_eq!(error(&bearer(&house.token("u", "viewer", "free", "revoked"))), "Token has been revoked");
    let old = json!({
        "iss": "https://api.example.com", "aud": "api", "sub": "u", "exp": NOW.as_secs() - 1, "jti": "j", "sid": "s",
        "role": "viewer", "ver": 1,
    });
    assert_eq!(error(&bearer(&house.key.sign("at+jwt", old.to_string().as_bytes()).unwrap())), "Token expired");
    // A bad explicit credential never falls through to anonymous, even where nothing is required.
    assert_eq!(house.status("GET /public/status", &bearer("nonsense")), 401);
    // An endpoint that issues credentials does not look at one.
    assert_eq!(house.status("POST /auth/login", &bearer("nonsense")), 200);
}

#[test]
fn t7_a_record_that_is_too_old_refuses_with_503() {
    let house = house(Vec::new());
    let token = house.token("u", "viewer", "free", "stale");
    assert_eq!(house.status("GET /projects", &[("authorization", format!("Bearer {token}"))]), 503);
}

#[test]
fn t8_a_stale_cookie_on_a_public_route_is_nobody_and_is_taken_back() {
    let house = house(Vec::new());
    // The second is what a neighbouring domain can do to a browser: two cookies of one name.
    for held in ["__Host-portcullis_access=stale", "__Host-portcullis_access=a; __Host-portcullis_access=b"] {
        let cookie = [("cookie", held.to_owned())];
        let pass = passed(house.ask("GET /public/status", &cookie));
        assert!(pass.principal().is_none());
        let mut headers = HeaderMap::new();
        pass.shape_response(&mut headers);
        assert!(headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(house.status("GET /projects", &cookie), 401);
    }
}

#[test]
fn a_cookie_does_not_obey_another_site() {
    let house = house(Vec::new());
    let cookie = ("cookie", format!("__Host-portcullis_access={}", house.token("u", "editor", "free", "s")));
    let with = |extra: &[(&'static str, &str)]| {
        let mut headers = vec![cookie.clone()];
        headers.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
        headers
    };
    for (extra, expected) in [
        (&[][..], 200),
        (&[("origin", "https://api.example.com")], 200),
        (&[("sec-fetch-site", "same-origin")], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "https://api.example.com.evil.example")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
    ] {
        assert_eq!(house.status("POST /projects", &with(extra)), expected, "{extra:?}");
    }
    assert_eq!(house.status("GET /projects", &with(&[("sec-fetch-site", "cross-site")])), 200, "safe methods obey");
}

#[test]
fn w4_a_blocked_address_is_refused_before_anything_else() {
    let house = house(Vec::new());
    assert_eq!(status(&house.ask_from("192.0.2.66", "GET /public/status", &[])), 403);
    assert_eq!(status(&house.ask_from("::ffff:192.0.2.66", "GET /public/status", &[])), 403, "mapped");
    assert_eq!(status(&house.ask_from("192.0.2.67", "GET /public/status", &[])), 200);
}

#[test]
fn z5_the_upstream_hears_who_it_is_from_the_gate_only() {
    let house = house(Vec::new());
    let pass = passed(house.ask("GET /projects", &[house.bearer("editor")]));
    let mut headers = HeaderMap::new();
    for name in ["x-user-id", "x-user-role", "x_user_id", "x-user-plan"] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("forged"));
    }
    headers.insert("authorization", HeaderValue::from_static("Bearer t"));
    headers.insert("cookie", HeaderValue::from_static("a=1; __Host-portcullis_access=t"));
    pass.apply_to_request(&mut headers);
    assert_eq!(headers.get_all("x-user-id").iter().collect::<Vec<_>>(), ["the-editor"]);
    assert_eq!(headers["x-user-role"], "editor");
    assert_eq!(headers["x-user-plan"], "free");
    assert!(!headers.contains_key("x_user_id") && !headers.contains_key("authorization"));
    assert_eq!(headers["cookie"], "a=1");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-user-role", HeaderValue::from_static("admin"));
    pass.apply_to_trailers(&mut trailers);
    assert!(trailers.is_empty());
}

#[test]
fn l4_a_refusal_by_identity_gives_back_what_was_taken_before() {
    let limits = vec![
        limit("address", "/**", KeyPart::Address, "10 per minute"),
        limit("user", "/**", KeyPart::User, "2 per minute"),
    ];
    let house = house(limits);
    let viewer = [house.bearer("viewer")];
    for _ in 0..2 {
        assert_eq!(house.status("GET /projects", &viewer), 200);
    }
    for _ in 0..20 {
        let refusal = refused(house.ask("GET /projects", &viewer));
        assert!(matches!(refusal.reason(), Reason::LimitReached(limited) if &*limited.limit == "user"));
    }
    // Eight of the address's ten are left for others behind it.
    for index in 0..8 {
        let other = [("authorization", format!("Bearer {}", house.token(&format!("u{index}"), "viewer", "free", "s")))];
        assert_eq!(house.status("GET /projects", &other), 200, "{index}");
    }
    assert_eq!(house.status("GET /projects", &[house.bearer("admin")]), 429);
}

#[test]
fn l4_the_anonymous_limit_never_eats_a_users_allowance() {
    let anonymous =
        LimitRule { scope: Scope::Anonymous, ..limit("anonymous", "/**", KeyPart::Address, "3 per minute") };
    let house = house(vec![anonymous]);
    for _ in 0..3 {
        assert_eq!(house.status("GET /projects", &[]), 401);
    }
    assert_eq!(house.status("GET /projects", &[]), 429);
    assert_eq!(house.status("GET /public/status", &[("authorization", "Bearer x".into())]), 429, "nor does nonsense");
    for _ in 0..10 {
        assert_eq!(house.status("GET /projects", &[house.bearer("viewer")]), 200);
    }
}

#[test]
fn l4_verification_is_limited_only_where_it_really_happens() {
    let verify = LimitRule { scope: Scope::Verification, ..limit("verify", "/**", KeyPart::Address, "3 per minute") };
    let house = house(vec![verify]);
    let viewer = [house.bearer("viewer")];
    for _ in 0..10 {
        assert_eq!(house.status("GET /projects", &viewer), 200, "remembered tokens cost nothing");
    }
    for _ in 0..2 {
        assert_eq!(house.status("GET /projects", &[("authorization", "Bearer forged".into())]), 401);
    }
    assert_eq!(house.status("GET /projects", &[("authorization", "Bearer forged".into())]), 429);
    assert_eq!(house.status("GET /projects", &viewer), 200);
}

#[test]
fn l4_plans_choose_quotas_and_an_unknown_plan_is_the_default() {
    let quota = QuotaChoice::ByPlan {
        plans: HashMap::from([("free".into(), rate("1 per minute")), ("premium".into(), rate("3 per minute"))]),
        otherwise: rate("1 per minute"),
    };
    let house = house(vec![LimitRule { quota, ..limit("user", "/**", KeyPart::User, "1 per minute") }]);
    for (plan, allowed) in [("free", 1), ("premium", 3), ("unheard", 1)] {
        let token = [("authorization", format!("Bearer {}", house.token(plan, "viewer", plan, "s")))];
        for _ in 0..allowed {
            assert_eq!(house.status("GET /projects", &token), 200, "{plan}");
        }
        assert_eq!(house.status("GET /projects", &token), 429, "{plan}");
    }
}

#[test]
fn l5_an_exempt_role_still_meets_its_ceiling() {
    let user = LimitRule {
        exempt: vec!["admin".into()],
        ceiling: Some(rate("5 per minute")),
        ..limit("user", "/**", KeyPart::User, "2 per minute")
    };
    let house = house(vec![user]);
    let statuses =
        |role: &str| -> Vec<u16> { (0..6).map(|_| house.status("GET /projects", &[house.bearer(role)])).collect() };
    assert_eq!(statuses("viewer"), [200, 200, 429, 429, 429, 429]);
    assert_eq!(statuses("admin"), [200, 200, 200, 200, 200, 429]);
}

#[test]
fn l6_outcomes_settle_what_was_charged() {
    let failures = LimitRule { count: Count::Failures, ..limit("auth", "/**", KeyPart::Address, "2 per minute") };
    let house = house(vec![failures]);
    let outcome = |outcome| {
        let mut pass = passed(house.ask("GET /public/status", &[]));
        house.gate.settle(&mut pass, outcome, NOW);
        // A second settlement changes nothing.
        house.gate.settle(&mut pass, Outcome::NotForwarded, NOW);
    };
    for _ in 0..5 {
        outcome(Outcome::Answered(StatusCode::OK));
        outcome(Outcome::NotForwarded);
    }
    outcome(Outcome::Answered(StatusCode::UNAUTHORIZED));
    outcome(Outcome::Answered(StatusCode::UNAUTHORIZED));
    assert_eq!(house.status("GET /public/status", &[]), 429);
}

#[test]
fn l6_a_pass_that_is_dropped_stays_charged() {
    let failures = LimitRule { count: Count::Failures, ..limit("auth", "/**", KeyPart::Address, "1 per minute") };
    let house = house(vec![failures]);
    drop(house.ask("GET /public/status", &[]));
    assert_eq!(house.status("GET /public/status", &[]), 429);
}

#[test]
fn l7_every_answer_to_a_limited_route_tells_the_standing_closest_to_refusal() {
    let limits = vec![
        limit("wide", "/**", KeyPart::Address, "100 per minute"),
        limit("narrow", "/projects", KeyPart::Address, "5 per minute"),
    ];
    let house = house(limits);
    let mut headers = HeaderMap::new();
    passed(house.ask("GET /projects", &[house.bearer("viewer")])).shape_response(&mut headers);
    assert_eq!(headers["x-ratelimit-limit"], "5");
    assert_eq!(headers["x-ratelimit-remaining"], "4");
    let problem = refused(house.ask("GET /projects", &[])).problem();
    assert_eq!(problem.status, StatusCode::UNAUTHORIZED);
    assert_eq!(problem.headers["x-ratelimit-remaining"], "3", "a refusal tells it too");
}

#[test]
fn l8_a_limits_own_message_names_the_wait() {
    let login = LimitRule {
        message: Some("Too many login attempts. Try again in {minutes} minutes.".into()),
        ..limit("login", "POST /auth/login", KeyPart::Address, "1 per 15m")
    };
    let house = house(vec![login]);
    assert_eq!(house.status("POST /auth/login", &[]), 200);
    let refusal = refused(house.ask("POST /auth/login", &[]));
    assert_eq!(refusal.reason().error(), "Too many login attempts. Try again in 15 minutes.");
    assert!(refusal.problem().headers.contains_key("retry-after"));
    assert_eq!(house.status("POST /Auth/Login/", &[]), 404, "and no other spelling gets around it");
}

#[test]
fn l9_a_limit_in_report_mode_records_and_never_refuses() {
    let report = LimitRule { enforce: false, ..limit("trial", "/**", KeyPart::Address, "1 per minute") };
    let house = house(vec![report]);
    for _ in 0..3 {
        assert_eq!(house.status("GET /public/status", &[]), 200);
    }
    assert_eq!(house.records.kinds(), [EventKind::LimitWouldHit, EventKind::LimitWouldHit]);
}

#[test]
fn l3_a_missing_key_part_falls_back_to_the_address() {
    let header = HeaderName::from_static("x-tenant");
    let house = house(vec![limit("tenant", "/**", KeyPart::Header(header), "1 per minute")]);
    assert_eq!(house.status("GET /public/status", &[("x-tenant", "a".into())]), 200);
    assert_eq!(house.status("GET /public/status", &[("x-tenant", "b".into())]), 200);
    assert_eq!(house.status("GET /public/status", &[]), 200);
    assert_eq!(house.status("GET /public/status", &[]), 429);
    assert_eq!(house.status("GET /public/status", &[("x-tenant", String::new())]), 429);
}

#[test]
fn h1_every_refusal_carries_the_security_headers() {
    let house = house(Vec::new());
    for request in ["GET /projects", "GET /nowhere", "GET /a%2fb"] {
        let problem = refused(house.ask(request, &[])).problem();
        for name in
            ["content-security-policy", "x-frame-options", "x-content-type-options", "strict-transport-security"]
        {
            assert!(problem.headers.contains_key(name), "{request} {name}");
        }
        assert_eq!(problem.headers["content-type"], "application/problem+json");
    }
    assert_eq!(house.records.kinds(), [EventKind::Refused; 3]);
}

#[test]
fn h5_a_body_that_declares_too_much_is_not_admitted() {
    let house = house(Vec::new());
    let pass = passed(house.ask("GET /public/status", &[]));
    let request = |length: &str| http::Request::builder().header("content-length", length).body(()).unwrap();
    assert!(pass.admit(request("100")).is_ok());
    assert_eq!(pass.admit(request("101")).unwrap_err(), Reason::BodyTooLarge(100));
}

#[test]
fn z1_ties_are_errors_all_at_once() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let routes = vec![
        route("GET /a/{x}", Requirement::Public),
        route("GET /a/{y}", Requirement::Authenticated),
        route("/b", Requirement::Public),
        route("/b", Requirement::Public),
    ];
    let errors = Policy::new(parts(&key, routes, Vec::new())).unwrap_err();
    let at: Vec<usize> = errors.iter().map(|PolicyError::Tie { index, .. }| *index).collect();
    assert_eq!(at, [1, 3]);
}

#[test]
fn a_reload_takes_effect_for_the_next_request() {
    let house = house(Vec::new());
    let before = passed(house.ask("GET /public/status", &[]));
    let strict = vec![route("GET /public/status", roles(&["admin"]))];
    house.gate.reload(Policy::new(parts(&house.key, strict, Vec::new())).unwrap());
    assert_eq!(house.status("GET /public/status", &[]), 401);
    assert_eq!(before.case().route().map(|label| &**label), Some("GET /public/status"), "the old one keeps its policy");
}

#[test]
fn a_limit_that_is_inserted_above_another_does_not_count_in_its_cells() {
    let narrow = limit("narrow", "/**", KeyPart::Address, "1 per minute");
    let house = house(vec![narrow.clone()]);
    assert_eq!(house.status("GET /public/status", &[]), 200);
    let wide = limit("wide", "/**", KeyPart::Address, "100 per minute");
    house.gate.reload(Policy::new(parts(&house.key, projects(), vec![wide, narrow])).unwrap());
    let refusal = refused(house.ask("GET /public/status", &[]));
    assert!(matches!(refusal.reason(), Reason::LimitReached(limited) if &*limited.limit == "narrow"));
}

#[test]
fn explain_tells_each_stage_in_order() {
    let house = house(vec![limit("address", "/**", KeyPart::Address, "10 per minute")]);
    let (method, target, headers) = (Method::GET, Uri::from_static("/projects"), HeaderMap::new());
    let facts = Facts {
        method: &method,
        target: &target,
        headers: &headers,
        peer: "192.0.2.1".parse().unwrap(),
        secure: true,
        id: RequestId::from_bits(1),
        now: NOW,
    };
    let mut remarks: Vec<(Stage, String)> = Vec::new();
    futures_executor(house.gate.decide_traced(&facts, &mut remarks));
    let stages: Vec<&str> = remarks.iter().map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(stages, ["path", "client", "blocklist", "route", "limits before login", "authenticate"]);
    assert_eq!(remarks[4].1, "address: 9 of 10 left");
}

#[test]
fn nobody_is_blocked_or_revoked_by_nobody() {
    assert_eq!(Nobody.blocked_until("192.0.2.1".parse().unwrap(), NOW), None);
}

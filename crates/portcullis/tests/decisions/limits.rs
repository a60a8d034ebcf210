//! Limits (L3 to L9) as a request meets them.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use portcullis::{Count, KeyPart, LimitRule, Mode, Otherwise, Outcome, Policy, QuotaChoice, Scope, Verdict, Whom};
use portcullis_auth::access::Requirement;
use portcullis_core::{EventKind, Principal, Reason};

use crate::house::*;

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
fn l6_denials_are_what_guesses_a_credential_and_nothing_else() {
    let denials = LimitRule { count: Count::Denials, ..limit("auth", "/**", KeyPart::Address, "3 per minute") };
    let house = house(vec![denials]);
    let outcome = |outcome| house.gate.settle(&mut passed(house.ask("GET /public/status", &[])), outcome, NOW);
    for status in [200, 303, 400, 404, 409, 415, 422, 429, 500, 503] {
        outcome(Outcome::Answered(StatusCode::from_u16(status).unwrap()));
    }
    outcome(Outcome::NotForwarded);
    outcome(Outcome::Answered(StatusCode::UNAUTHORIZED));
    outcome(Outcome::Answered(StatusCode::FORBIDDEN));
    outcome(Outcome::Denied(StatusCode::BAD_REQUEST));
    assert_eq!(house.status("GET /public/status", &[]), 429);
}

#[test]
fn l6_a_users_failures_are_forgotten_and_nobody_elses() {
    let failures = |name: &str, count| LimitRule { count, ..limit(name, "/**", KeyPart::User, "1 per minute") };
    let all = limit("all", "/**", KeyPart::User, "2 per minute");
    let house = house(vec![failures("failures", Count::Failures), failures("denials", Count::Denials), all]);
    let bearer = |user: &str| [("authorization", format!("Bearer {}", house.token(user, "viewer", "free", "s")))];
    let fail = |user: &str| {
        let mut pass = passed(house.ask("GET /projects", &bearer(user)));
        house.gate.settle(&mut pass, Outcome::Answered(StatusCode::FORBIDDEN), NOW);
    };
    fail("ann");
    fail("ben");
    now(house.gate.forget_failures("ann")).unwrap();
    assert_eq!(house.status("GET /projects", &bearer("ben")), 429);
    fail("ann");
    now(house.gate.forget_failures("ann")).unwrap();
    assert_eq!(house.status("GET /projects", &bearer("ann")), 429, "what counts every request is no failure");
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
    passed(house.ask("GET /projects", &[house.bearer("viewer")])).shape_response(StatusCode::OK, &mut headers);
    assert_eq!(headers["x-ratelimit-limit"], "5");
    assert_eq!(headers["x-ratelimit-remaining"], "4");
    assert_eq!(headers["ratelimit"], "\"narrow\";r=4;t=60", "and in the newer form");
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
fn l3_no_other_spelling_of_a_path_gets_around_a_limit() {
    let limits = vec![limit("status", "GET /public/status", KeyPart::Address, "1 per minute")];
    let house = house_with(vec![route("GET /public/**", Requirement::Public)], limits, Otherwise::Refuse);
    assert_eq!(house.status("GET /public/status", &[]), 200);
    for path in ["/public/status", "/public/Status", "/public/STATUS/", "/public/status/", "/public/%73tatus"] {
        assert_eq!(house.status(&format!("GET {path}"), &[]), 429, "{path}");
    }
    assert_eq!(house.status("GET /public/other", &[]), 200);
}

#[test]
fn l9_a_limit_in_report_mode_records_and_never_refuses() {
    let report = LimitRule { mode: Mode::Report, ..limit("trial", "/**", KeyPart::Address, "1 per minute") };
    let house = house(vec![report]);
    for _ in 0..3 {
        assert_eq!(house.status("GET /public/status", &[]), 200);
    }
    assert_eq!(house.records.kinds(), [EventKind::LimitWouldHit, EventKind::LimitWouldHit]);
}

#[test]
fn l12_a_limit_may_let_pass_late_what_is_over_its_quota() {
    let waits = |wait, quota| LimitRule {
        mode: Mode::Delay(Duration::from_millis(wait)),
        ..limit(if wait > 500 { "slower" } else { "slow" }, "/**", KeyPart::Address, quota)
    };
    let house = house(vec![waits(500, "1 per minute"), waits(2_000, "2 per minute")]);
    let mut delays = Vec::new();
    for _ in 0..4 {
        let mut pass = passed(house.ask("GET /public/status", &[]));
        delays.push(pass.take_delay());
        assert!(pass.take_delay().is_none(), "it waits once");
    }
    let waits: Vec<u128> = delays.iter().map(|d| d.as_ref().map_or(0, |d| d.wait().as_millis())).collect();
    assert_eq!(waits, [0, 500, 2_000, 2_000], "the longest wait of several counts");
    assert_eq!(house.records.kinds().iter().filter(|kind| **kind == EventKind::LimitSlowed).count(), 5);
    assert_eq!(house.gate.waiting(), 3);
    drop(delays);
    assert_eq!(house.gate.waiting(), 0);
}

#[test]
fn l12_when_too_many_wait_the_next_is_refused_and_charged_nothing() {
    let slow = LimitRule {
        mode: Mode::Delay(Duration::from_secs(3)),
        ..limit("slow", "/**", KeyPart::Address, "1 per minute")
    };
    let hard = limit("hard", "/**", KeyPart::Address, "2000 per minute");
    let house = house(vec![slow, hard]);
    let mut waiting = Vec::new();
    let refusal = loop {
        match house.ask("GET /public/status", &[]) {
            Verdict::Pass(mut pass) => waiting.push(pass.take_delay()),
            Verdict::Refuse(refusal) => break refusal,
            Verdict::Answer(_) => panic!("answered"),
        }
        assert!(waiting.len() < 2_000, "so many cannot wait");
    };
    assert_eq!(refusal.problem().status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refusal.problem().headers["retry-after"], "3");
    assert_eq!(refusal.problem().headers["x-ratelimit-remaining"], "0");
    assert!(refusal.problem().headers["ratelimit"].to_str().unwrap().ends_with(";r=0;t=3"), "as Retry-After says");
    let held = waiting.len();
    waiting.clear();
    let mut pass = passed(house.ask("GET /public/status", &[]));
    let mut headers = http::HeaderMap::new();
    pass.shape_response(StatusCode::OK, &mut headers);
    assert_eq!(
        headers["x-ratelimit-remaining"],
        (2_000 - held - 1).to_string().as_str(),
        "the refused one is not counted"
    );
    assert!(pass.take_delay().is_some());
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
fn a_limit_that_is_inserted_above_another_does_not_count_in_its_cells() {
    let narrow = limit("narrow", "/**", KeyPart::Address, "1 per minute");
    let house = house(vec![narrow.clone()]);
    assert_eq!(house.status("GET /public/status", &[]), 200);
    let wide = limit("wide", "/**", KeyPart::Address, "100 per minute");
    house.gate.reload(Policy::new(parts(&house.key, projects(), vec![wide, narrow])).unwrap());
    let refusal = refused(house.ask("GET /public/status", &[]));
    assert!(matches!(refusal.reason(), Reason::LimitReached(limited) if &*limited.limit == "narrow"));
}

/// Somebody as an operator describes them.
fn whom(address: Option<&str>, principal: Option<Arc<Principal>>) -> Whom {
    Whom { address: address.map(|text| text.parse().unwrap()), principal, ..Whom::default() }
}

#[test]
fn l6_an_operator_sees_and_resets_the_very_key_that_requests_are_counted_under() {
    let tenant = HeaderName::from_static("x-tenant");
    let parts = [
        KeyPart::Address,
        KeyPart::User,
        KeyPart::Plan,
        KeyPart::Role,
        KeyPart::Session,
        KeyPart::Route,
        KeyPart::Header(tenant.clone()),
    ];
    for part in parts {
        let house = house(vec![limit("x", "/**", part.clone(), "2 per minute")]);
        let asked = [house.bearer("viewer"), ("x-tenant", "acme".into())];
        let pass = passed(house.ask("GET /projects", &asked));
        let mut described = whom(Some("192.0.2.1"), pass.principal().cloned());
        described.headers.insert(tenant.clone(), HeaderValue::from_static("acme"));
        described.route = Some("GET /projects".into());
        let standing = now(house.gate.limit_standing("x", &described, NOW)).unwrap().unwrap();
        assert_eq!((standing.quota, standing.remaining), (2, 1), "{part}");
        assert_eq!(now(house.gate.reset_limit("x", &described)), Ok(true), "{part}");
        assert_eq!(now(house.gate.reset_limit("x", &described)), Ok(false), "{part}");
        assert_eq!(
            [house.status("GET /projects", &asked), house.status("GET /projects", &asked)],
            [200, 200],
            "{part}"
        );
        assert_eq!(house.status("GET /projects", &asked), 429, "{part}");
    }
}

#[test]
fn l6_an_operator_is_told_what_a_limit_needs_to_be_looked_at() {
    let key = vec![KeyPart::User, KeyPart::Route];
    let exempt = LimitRule { exempt: vec!["admin".into()], ..limit("free", "/**", KeyPart::User, "1 per minute") };
    let house = house(vec![LimitRule { key, ..limit("x", "/**", KeyPart::User, "2 per minute") }, exempt]);
    let told = |name: &str, whom: &Whom| now(house.gate.limit_standing(name, whom, NOW)).unwrap_err().to_string();
    assert_eq!(told("y", &Whom::default()), "there is no limit named \"y\"");
    assert_eq!(told("x", &Whom::default()), "this limit counts by user; say which");
    assert_eq!(told("x", &whom(Some("192.0.2.1"), None)), "this limit counts by route; say which");
    let admin = passed(house.ask("GET /analytics", &[house.bearer("admin")]));
    assert_eq!(now(house.gate.limit_standing("free", &whom(None, admin.principal().cloned()), NOW)), Ok(None));
    // A request without a user is counted by its address; that is what a description without one means.
    let mut stranger = whom(Some("192.0.2.1"), None);
    stranger.route = Some("GET /public/status".into());
    passed(house.ask("GET /public/status", &[]));
    assert_eq!(now(house.gate.limit_standing("x", &stranger, NOW)).unwrap().unwrap().remaining, 1);
}

/// What a future that never waits answers.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a store in memory answers at once"),
    }
}

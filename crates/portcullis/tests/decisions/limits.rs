//! Limits (L3 to L9) as a request meets them.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, StatusCode};
use portcullis::{Count, KeyPart, LimitRule, Outcome, Policy, QuotaChoice, Scope};
use portcullis_core::{EventKind, Reason};

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
    house.gate.forget_failures("ann");
    assert_eq!(house.status("GET /projects", &bearer("ben")), 429);
    fail("ann");
    house.gate.forget_failures("ann");
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
fn a_limit_that_is_inserted_above_another_does_not_count_in_its_cells() {
    let narrow = limit("narrow", "/**", KeyPart::Address, "1 per minute");
    let house = house(vec![narrow.clone()]);
    assert_eq!(house.status("GET /public/status", &[]), 200);
    let wide = limit("wide", "/**", KeyPart::Address, "100 per minute");
    house.gate.reload(Policy::new(parts(&house.key, projects(), vec![wide, narrow])).unwrap());
    let refusal = refused(house.ask("GET /public/status", &[]));
    assert!(matches!(refusal.reason(), Reason::LimitReached(limited) if &*limited.limit == "narrow"));
}

//! Rates of several windows in one limit: none of them begins another anew.

use std::sync::Arc;
use std::time::Duration;

use portcullis::{Count, KeyPart, LimitRule, Outcome, QuotaChoice, Whom};
use portcullis_core::{Principal, Timestamp};
use portcullis_limit::{Algorithm, Rate};

use crate::house::*;

fn by_plan(plans: &[(&str, Rate)], otherwise: Rate) -> QuotaChoice {
    QuotaChoice::ByPlan { plans: plans.iter().map(|(plan, rate)| ((*plan).into(), *rate)).collect(), otherwise }
}

fn kept(algorithm: Algorithm, quota: &str) -> Rate {
    Rate::new(quota.parse().unwrap(), algorithm, None).unwrap()
}

fn of_plan(house: &House, user: &str, plan: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {}", house.token(user, "viewer", plan, "s")))]
}

/// How many of each are admitted at one moment and one address when ten requests of the first take turns with one of the
/// second.
fn take_turns(
    house: &House,
    at: Timestamp,
    first: &[(&'static str, String)],
    second: &[(&'static str, String)],
) -> [u32; 2] {
    let mut admitted = [0; 2];
    for n in 0..330 {
        let (which, who) = if n % 11 < 10 { (0, first) } else { (1, second) };
        admitted[which] += u32::from(status(&house.ask_at(at, "192.0.2.1", "GET /projects", who)) == 200);
    }
    admitted
}

#[test]
fn l4_plans_with_several_windows_never_begin_each_other_anew_at_one_address() {
    let windows = [
        (Algorithm::TokenBucket, "10 per hour", "20 per minute"),
        (Algorithm::FixedWindow, "10 per hour", "20 per minute"),
        (Algorithm::SlidingWindowCounter, "10 per hour", "20 per minute"),
        (Algorithm::SlidingWindowLog, "10 per hour", "20 per minute"),
        (Algorithm::Calendar, "10 per month", "20 per day"),
    ];
    for (algorithm, free, pro) in windows {
        let [free, pro] = [free, pro].map(|quota| kept(algorithm, quota));
        // Whichever of the two is the one of those without a plan.
        for otherwise in [free, pro] {
            let quota = by_plan(&[("free", free), ("pro", pro)], otherwise);
            let house = house(vec![LimitRule { quota, ..limit("l", "/**", KeyPart::Address, "1 per minute") }]);
            let admitted = take_turns(
                &house,
                NOW.after(Duration::from_secs(605)),
                &of_plan(&house, "ann", "free"),
                &of_plan(&house, "ben", "pro"),
            );
            assert_eq!(admitted, [10, 20], "{algorithm}");
        }
    }
}

#[test]
fn l4_plans_with_one_window_count_on_when_the_plan_changes() {
    let (free, pro) = (rate("10 per minute"), rate("20 per minute"));
    let quota = by_plan(&[("free", free), ("pro", pro)], free);
    let house = house(vec![LimitRule { quota, ..limit("l", "/**", KeyPart::User, "1 per minute") }]);
    let [free, pro] = ["free", "pro"].map(|plan| of_plan(&house, "ann", plan));
    assert_eq!(take_turns(&house, NOW, &free, &pro), [10, 10], "twenty in all, and ten of them by the smaller plan");
}

#[test]
fn l5_a_ceiling_with_another_window_begins_nobodys_quota_anew() {
    let exempt = LimitRule {
        exempt: vec!["admin".into()],
        ceiling: Some(rate("20 per minute")),
        ..limit("l", "/**", KeyPart::Address, "10 per hour")
    };
    let house = house(vec![exempt]);
    assert_eq!(take_turns(&house, NOW, &[house.bearer("viewer")], &[house.bearer("admin")]), [10, 20]);
}

fn whom(principal: Option<Arc<Principal>>) -> Whom {
    Whom { address: Some("192.0.2.1".parse().unwrap()), principal, ..Whom::default() }
}

#[test]
fn l6_an_operator_reaches_somebody_whatever_their_plan_was_when_they_were_counted() {
    let (free, pro) = (rate("1 per hour"), rate("2 per minute"));
    let quota = by_plan(&[("free", free), ("pro", pro)], free);
    let house = house(vec![LimitRule { quota, ..limit("l", "/**", KeyPart::User, "1 per minute") }]);
    let tokens = ["free", "pro"].map(|plan| of_plan(&house, "ann", plan));
    let ask = || tokens.each_ref().map(|token| house.status("GET /projects", token));
    let described = tokens.each_ref().map(|token| whom(passed(house.ask("GET /projects", token)).principal().cloned()));
    let remaining =
        |whom: &Whom| futures_executor(house.gate.limit_standing("l", whom, NOW)).unwrap().unwrap().remaining;
    assert_eq!(described.each_ref().map(remaining), [0, 1], "each sees its own");
    for whom in &described {
        assert_eq!(futures_executor(house.gate.reset_limit("l", whom)), Ok(true));
        assert_eq!(described.each_ref().map(remaining), [1, 2]);
        assert_eq!(futures_executor(house.gate.reset_limit("l", whom)), Ok(false));
        futures_executor(house.gate.block_limit("l", whom, Duration::from_secs(60), NOW)).unwrap();
        assert_eq!(ask(), [429, 429], "another plan is no way around a block");
        assert_eq!(futures_executor(house.gate.unblock_limit("l", whom, NOW)), Ok(true));
        assert_eq!(ask(), [200, 200]);
    }
}

#[test]
fn l6_a_users_failures_are_forgotten_whatever_their_plan_was() {
    let (free, pro) = (rate("1 per hour"), rate("1 per minute"));
    let quota = by_plan(&[("free", free), ("pro", pro)], free);
    let failures = LimitRule { count: Count::Denials, quota, ..limit("l", "/**", KeyPart::User, "1 per minute") };
    let house = house(vec![failures]);
    for plan in ["free", "pro"] {
        let token = of_plan(&house, "ann", plan);
        let fail = || {
            let mut pass = passed(house.ask("GET /projects", &token));
            house.gate.settle(&mut pass, Outcome::Denied(http::StatusCode::FORBIDDEN), NOW);
        };
        fail();
        assert_eq!(house.status("GET /projects", &token), 429, "{plan}");
        futures_executor(house.gate.forget_failures("ann")).unwrap();
        fail();
    }
}

#[test]
fn l6_a_users_failures_are_forgotten_at_exempt_addresses_too() {
    let failures = LimitRule {
        count: Count::Denials,
        exempt_addresses: vec!["192.0.2.0/24".parse().unwrap()],
        ceiling: Some(rate("1 per minute")),
        ..limit("auth", "/**", KeyPart::User, "1 per minute")
    };
    let house = house(vec![failures]);
    let viewer = [house.bearer("viewer")];
    let places = ["192.0.2.1", "198.51.100.1"];
    let ask = || places.map(|peer| status(&house.ask_from(peer, "GET /projects", &viewer)));
    for peer in places {
        let mut pass = passed(house.ask_from(peer, "GET /projects", &viewer));
        house.gate.settle(&mut pass, Outcome::Denied(http::StatusCode::FORBIDDEN), NOW);
    }
    assert_eq!(ask(), [429, 429]);
    futures_executor(house.gate.forget_failures("the-viewer")).unwrap();
    assert_eq!(ask(), [200, 200]);
}

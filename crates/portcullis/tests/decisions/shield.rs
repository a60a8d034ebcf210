//! What shields the dear look-up of a credential (L4), and what a request costs it that another limit refuses.

use portcullis::{Count, KeyPart, LimitRule, Scope, Verdict, Whom};
use portcullis_core::Reason;

use crate::house::*;

/// The limit that refused, or the kind of the refusal.
fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refuse(refusal) => match refusal.reason() {
            Reason::LimitReached(limited) => limited.limit.to_string(),
            other => other.slug().to_owned(),
        },
        Verdict::Pass(_) | Verdict::Answer(_) => "pass".to_owned(),
    }
}

fn remaining(house: &House, limit: &str) -> u64 {
    let whom = Whom { address: Some("192.0.2.1".parse().unwrap()), ..Whom::default() };
    futures_executor(house.gate.limit_standing(limit, &whom, NOW)).unwrap().unwrap().remaining
}

/// A shield of five a minute and by count, and a later limit that lets nobody in particular in once.
fn shielded(count: Count) -> House {
    let shield = LimitRule { count, ..limit("shield", "/**", KeyPart::Address, "5 per minute") };
    let anonymous =
        LimitRule { scope: Scope::Anonymous, ..limit("anonymous", "/**", KeyPart::Address, "1 per minute") };
    house(vec![shield, anonymous])
}

#[test]
fn l4_a_later_limit_that_refuses_does_not_make_guessing_free() {
    let stranger = house(Vec::new());
    let forged = |number: usize| stranger.token(&format!("u{number}"), "viewer", "free", "s");
    // A wrong bearer token; and on a public route a wrong cookie, which counts as nobody.
    for (request, header, before) in
        [("GET /projects", "authorization", "Bearer "), ("GET /public/status", "cookie", "__Host-portcullis_access=")]
    {
        let presented = |number| (header, format!("{before}{}", forged(number)));
        for count in [Count::All, Count::Failures] {
            let house = shielded(count);
            let said: Vec<String> = (0..30).map(|number| told(&house.ask(request, &[presented(number)]))).collect();
            let by = |limit: &str| said.iter().filter(|said| *said == limit).count();
            assert_eq!((by("anonymous"), by("shield")), (4, 25), "{request} {count:?}: {said:?}");
            assert_eq!(remaining(&house, "shield"), 0, "{request} {count:?}");
        }
    }
    // What counts successes counts none of these.
    let house = shielded(Count::Successes);
    for number in 0..30 {
        house.ask("GET /projects", &[("authorization", format!("Bearer {}", forged(number)))]);
    }
    assert_eq!(remaining(&house, "shield"), 5);
}

#[test]
fn l4_who_presents_nothing_gets_back_what_a_later_limit_refuses() {
    let house = shielded(Count::All);
    let said: Vec<String> = (0..30).map(|_| told(&house.ask("GET /public/status", &[]))).collect();
    assert_eq!(said[0], "pass");
    assert!(said[1..].iter().all(|said| said == "anonymous"), "{said:?}");
    assert_eq!(remaining(&house, "shield"), 4);
}

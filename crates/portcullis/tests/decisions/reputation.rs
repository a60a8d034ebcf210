//! Limits by address reputation, and the lower limit of who was just challenged (L12).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use portcullis::{
    ByRepute, Class, KeyPart, LimitRule, Outcome, Policy, PolicyParts, QuotaChoice, ReputationRules, RouteRule, Scope,
    Target, Whom,
};
use portcullis_auth::access::Requirement;
use portcullis_core::{EventKind, ForwardHeader, Principal, Timestamp, TrustedHops};

use crate::house::*;

const MINUTE: Duration = Duration::from_secs(60);
/// Several people are behind it, and one of them attacks.
const OFFICE: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.9";
const FORGED: [(&str, &str); 1] = [("authorization", "Bearer forged")];

fn by_reputation() -> QuotaChoice {
    QuotaChoice::ByReputation(Box::new(ByRepute {
        good: rate("100 per hour"),
        suspect: rate("30 per hour"),
        bad: rate("5 per hour"),
        challenged: rate("20 per hour"),
    }))
}

fn limited() -> LimitRule {
    LimitRule { quota: by_reputation(), ..limit("calm", "/**", KeyPart::Address, "1 per hour") }
}

fn quiet() -> House {
    let refresh = RouteRule {
        target: Target::Identity,
        ignores_credentials: true,
        renews: true,
        ..route("POST /auth/refresh", Requirement::Public)
    };
    house_with(projects().into_iter().chain([refresh]).collect(), vec![limited()], portcullis::Otherwise::Refuse)
}

impl House {
    fn send(&self, peer: &str, request: &str, headers: &[(&'static str, &str)], after: Duration) -> u16 {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        status(&self.ask_at(NOW.after(after), peer, request, &headers))
    }

    fn class(&self, peer: &str, after: Duration) -> Class {
        self.gate.repute(peer.parse().unwrap(), NOW.after(after)).class
    }

    fn score(&self, peer: &str) -> f32 {
        self.gate.repute(peer.parse().unwrap(), NOW).score
    }

    /// How many requests without a credential pass.
    fn passes(&self, peer: &str, after: Duration) -> usize {
        (0..200).take_while(|_| self.send(peer, "GET /public/status", &[], after) == 200).count()
    }
}

#[test]
fn l12_an_address_that_scans_is_held_to_less_and_comes_back_by_itself() {
    let house = quiet();
    // Twenty requests for what is not there.
    for number in 0..19 {
        assert_eq!(house.send(OFFICE, &format!("GET /wp-admin/{number}"), &[], Duration::ZERO), 404);
        assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Good, "{number}");
    }
    house.send(OFFICE, "GET /.env", &[], Duration::ZERO);
    assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Suspect);
    assert_eq!(house.passes(OFFICE, Duration::ZERO), 30, "what has no route was not charged");
    assert_eq!(house.passes(ELSEWHERE, Duration::ZERO), 100, "nobody else is");
    // A path that leaves its folder weighs more.
    for _ in 0..4 {
        assert_eq!(house.send(OFFICE, "GET /public/%2e%2e%2f%2e%2e/etc/passwd", &[], Duration::ZERO), 400);
    }
    assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Bad);
    assert_eq!(house.send(OFFICE, "GET /public/status", &[], Duration::ZERO), 429);
    assert_eq!(house.class(OFFICE, 10 * MINUTE), Class::Suspect, "half of 300");
    assert_eq!(house.class(OFFICE, 20 * MINUTE), Class::Good);
    assert_eq!(house.passes(OFFICE, 20 * MINUTE), 70, "thirty of a hundred were spent in this hour");
    let told: Vec<_> = house.records.kinds();
    let changes = told.into_iter().filter(|kind| matches!(kind, EventKind::AddressSuspect | EventKind::AddressBad));
    assert_eq!(changes.collect::<Vec<_>>(), [EventKind::AddressSuspect, EventKind::AddressBad]);
}

#[test]
fn l12_whoever_presents_a_wrong_credential_is_held_to_less_for_a_while() {
    let house = quiet();
    assert_eq!(house.send(OFFICE, "GET /public/status", &FORGED, Duration::ZERO), 401);
    assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Good, "one alone makes no bad name");
    assert_eq!(house.passes(OFFICE, Duration::ZERO), 19, "twenty, and one was the forged");
    assert_eq!(house.passes(OFFICE, 5 * MINUTE), 80, "a hundred, of which twenty are spent");

    // Others who can tell that somebody must prove something say so themselves.
    house.gate.note_challenged(ELSEWHERE.parse().unwrap(), NOW);
    assert_eq!(house.score(ELSEWHERE), 0.0);
    assert_eq!(house.passes(ELSEWHERE, Duration::ZERO), 20);
    // Who is bad already is not helped by a challenge.
    for _ in 0..15 {
        house.send("203.0.113.5", "GET /public/status", &FORGED, Duration::ZERO);
    }
    assert_eq!(house.class("203.0.113.5", Duration::ZERO), Class::Bad);
    assert_eq!(house.passes("203.0.113.5", Duration::ZERO), 0);
}

#[test]
fn l12_one_attacker_behind_an_office_locks_nobody_out_who_proves_an_identity() {
    let house = quiet();
    for number in 0..100 {
        house.send(OFFICE, &format!("GET /scan/{number}"), &[], Duration::ZERO);
        house.send(OFFICE, "GET /projects", &FORGED, Duration::ZERO);
    }
    assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Bad);
    assert_eq!(house.send(OFFICE, "GET /public/status", &[], Duration::ZERO), 429);
    let admitted = 100 - 20;
    for number in 0..admitted {
        let token = format!("Bearer {}", house.token(&format!("u{}", number % 7), "viewer", "free", "s"));
        assert_eq!(house.send(OFFICE, "GET /projects", &[("authorization", &token)], Duration::ZERO), 200, "{number}");
        // The attacker goes on between them, and gets nothing of what is theirs.
        assert_eq!(house.send(OFFICE, "GET /public/status", &[], Duration::ZERO), 429);
    }
    // Who only renews what was proven is not judged either, and an old session that has ended is no offence.
    let fresh = quiet();
    for _ in 0..100 {
        fresh.send(OFFICE, "GET /projects", &FORGED, Duration::ZERO);
    }
    let before = fresh.score(OFFICE);
    for _ in 0..20 {
        let mut pass = passed(fresh.ask_from(OFFICE, "POST /auth/refresh", &[]));
        fresh.gate.settle(&mut pass, Outcome::Answered(StatusCode::UNAUTHORIZED), NOW);
    }
    assert_eq!(fresh.score(OFFICE), before);
}

#[test]
fn l12_what_a_proven_user_does_is_not_their_addresss_doing() {
    let house = quiet();
    let viewer = [house.bearer("viewer")];
    let (name, token) = (viewer[0].0, viewer[0].1.as_str());
    for number in 0..100 {
        // No role for it, nothing there, or refused: none of it makes a bad name for the neighbours.
        assert_eq!(house.send(OFFICE, "GET /analytics", &[(name, token)], Duration::ZERO) / 100, 4, "{number}");
    }
    let mut pass = passed(house.ask_from(ELSEWHERE, "GET /projects", &viewer));
    house.gate.settle(&mut pass, Outcome::Answered(StatusCode::NOT_FOUND), NOW);
    house.gate.settle(&mut pass, Outcome::Denied(StatusCode::BAD_REQUEST), NOW);
    for _ in 0..50 {
        assert_eq!(house.send(OFFICE, "GET /analytics", &[(name, token)], Duration::ZERO), 429);
    }
    assert_eq!((house.score(OFFICE), house.score(ELSEWHERE)), (0.0, 0.0));
}

#[test]
fn l12_a_token_that_was_good_once_is_no_offence() {
    let house = quiet();
    let token = |session| format!("Bearer {}", house.token("ann", "viewer", "free", session));
    let (old, revoked) = (token("s"), token("revoked"));
    assert_eq!(house.send(OFFICE, "GET /projects", &[("authorization", &old)], 60 * MINUTE), 401);
    assert_eq!(house.send(OFFICE, "GET /projects", &[("authorization", &revoked)], Duration::ZERO), 401);
    assert_eq!(house.gate.repute(OFFICE.parse().unwrap(), NOW), portcullis::Repute::default());
    // Nor does a cookie that a browser sends by itself to a public route make one, and elsewhere it is as good as none.
    let cookie = ("cookie", "__Host-portcullis_access=nonsense");
    assert_eq!(house.send(OFFICE, "GET /public/status", &[cookie], Duration::ZERO), 200);
    assert_eq!(house.score(OFFICE), 0.0);
    assert_eq!(house.send(OFFICE, "GET /projects", &[cookie], Duration::ZERO), 401);
    let repute = house.gate.repute(OFFICE.parse().unwrap(), NOW);
    assert_eq!((repute.score, repute.challenged_until), (1.0, None));
}

#[test]
fn l12_each_offence_weighs_what_it_should() {
    let score_after = |deed: &dyn Fn(&House)| {
        let house = quiet();
        deed(&house);
        house.score(OFFICE)
    };
    let send =
        |request: &'static str| move |house: &House| assert!(house.send(OFFICE, request, &[], Duration::ZERO) > 0);
    let settled = |request: &'static str, outcome: Outcome| {
        move |house: &House| house.gate.settle(&mut passed(house.ask_from(OFFICE, request, &[])), outcome, NOW)
    };
    assert_eq!(score_after(&send("GET /nowhere")), 5.0);
    assert_eq!(score_after(&send("GET /a/%2e%2e/b")), 50.0);
    assert_eq!(score_after(&send("GET /projects")), 1.0, "asked to log in");
    assert_eq!(score_after(&send("GET /public/status")), 0.0);
    assert_eq!(score_after(&settled("GET /public/status", Outcome::Answered(StatusCode::NOT_FOUND))), 5.0);
    assert_eq!(score_after(&settled("GET /public/status", Outcome::Answered(StatusCode::UNAUTHORIZED))), 0.0);
    assert_eq!(score_after(&settled("GET /public/status", Outcome::NotForwarded)), 0.0);
    assert_eq!(score_after(&settled("POST /auth/login", Outcome::Answered(StatusCode::UNAUTHORIZED))), 20.0);
    assert_eq!(score_after(&settled("POST /auth/login", Outcome::Denied(StatusCode::BAD_REQUEST))), 20.0);
    assert_eq!(score_after(&settled("POST /auth/login", Outcome::Answered(StatusCode::OK))), 0.0);
    // Who is blocked and comes again anyway.
    let house = quiet();
    assert_eq!(house.send("192.0.2.66", "GET /public/status", &[], Duration::ZERO), 403);
    assert_eq!(house.score("192.0.2.66"), 2.0);
    // What the door finds wrong with a head counts too.
    let house = quiet();
    house.refuse_at_the_door(OFFICE, portcullis_core::Reason::Malformed("two lengths"));
    assert_eq!(house.score(OFFICE), 50.0);
}

#[test]
fn l12_a_refusal_by_the_lower_limit_feeds_no_bad_name_and_one_by_the_ordinary_does() {
    let house = quiet();
    assert_eq!(house.passes(OFFICE, Duration::ZERO), 100);
    for _ in 0..48 {
        assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Good);
        house.send(OFFICE, "GET /public/status", &[], Duration::ZERO);
    }
    // 1 + 48 refusals at 2 each, and none of whoever proves an identity.
    assert_eq!(house.score(OFFICE), 98.0);
    let token = house.bearer("viewer");
    assert_eq!(house.send(OFFICE, "GET /projects", &[(token.0, &token.1)], Duration::ZERO), 429);
    assert_eq!(house.score(OFFICE), 98.0);
    house.send(OFFICE, "GET /public/status", &[], Duration::ZERO);
    assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Suspect);
    for _ in 0..1_000 {
        assert_eq!(house.send(OFFICE, "GET /public/status", &[], Duration::ZERO), 429);
    }
    assert_eq!(house.score(OFFICE), 100.0, "or nobody who keeps trying would ever come back");
}

#[test]
fn l12_changing_classes_opens_no_fresh_quota() {
    let house = quiet();
    let mut admitted = 0;
    for round in 0..30 {
        admitted += house.passes(OFFICE, Duration::ZERO);
        // Bad, and good again by an operator's word: over and over in one window.
        for _ in 0..6 {
            house.send(OFFICE, "GET /a/%2e%2e/b", &[], Duration::ZERO);
        }
        assert_eq!(house.passes(OFFICE, Duration::ZERO), 0, "round {round}");
        assert!(house.gate.forget_address(OFFICE.parse().unwrap()));
    }
    assert_eq!(admitted, 100);
}

#[test]
fn l12_an_ipv6_network_has_one_name_and_trusted_networks_have_none() {
    let house = quiet();
    for number in 0..60 {
        house.send(&format!("2001:db8::{number:x}"), "GET /nowhere", &[], Duration::ZERO);
    }
    assert_eq!(house.class("2001:db8::ffff", Duration::ZERO), Class::Bad);
    assert_eq!(house.class("2001:db8:0:1::1", Duration::ZERO), Class::Good);

    let rules = ReputationRules { trusted: vec!["10.0.0.0/8".parse().unwrap()], ..ReputationRules::default() };
    let parts = parts(&house.key, projects(), vec![limited()]);
    house.gate.reload(Policy::new(PolicyParts { reputation: rules, ..parts }).unwrap());
    for _ in 0..100 {
        house.send("10.1.2.3", "GET /nowhere", &[], Duration::ZERO);
        house.send("::ffff:10.1.2.4", "GET /nowhere", &[], Duration::ZERO);
        house.send("11.1.2.3", "GET /nowhere", &[], Duration::ZERO);
    }
    house.gate.note_challenged("10.1.2.3".parse().unwrap(), NOW);
    assert_eq!((house.passes("10.1.2.3", Duration::ZERO), house.passes("11.1.2.3", Duration::ZERO)), (100, 5));
    assert_eq!(house.class("2001:db8::1", Duration::ZERO), Class::Bad, "a reload forgets nothing");
    let worst = house.gate.worst_addresses(10, NOW);
    assert!(worst.iter().all(|known| !known.address.to_string().starts_with("10.")), "{worst:?}");
    // An address that became trusted while it was bad is judged no more.
    let rules = ReputationRules { trusted: vec!["2001:db8::/32".parse().unwrap()], ..ReputationRules::default() };
    let parts = self::parts(&house.key, projects(), vec![limited()]);
    house.gate.reload(Policy::new(PolicyParts { reputation: rules, ..parts }).unwrap());
    assert_eq!(house.class("2001:db8::1", Duration::ZERO), Class::Good);
}

#[test]
fn l12_nothing_is_remembered_where_no_limit_goes_by_it() {
    let house = house(vec![limit("plain", "/**", KeyPart::Address, "1000 per hour")]);
    for _ in 0..200 {
        house.send(OFFICE, "GET /nowhere", &FORGED, Duration::ZERO);
        house.send(OFFICE, "GET /a/%2e%2e/b", &[], Duration::ZERO);
    }
    house.gate.note_challenged(OFFICE.parse().unwrap(), NOW);
    assert_eq!(house.gate.reputation_figures(NOW), portcullis::ReputationFigures::default());
}

#[test]
fn l12_before_it_is_known_who_asks_nobody_is_held_to_less() {
    // A limit that shields signature checks is charged before anybody is proven: there a bad name would lock out the proven.
    let verify = LimitRule { scope: Scope::Verification, ..limited() };
    let house = house(vec![verify]);
    for _ in 0..50 {
        house.send(OFFICE, "GET /a/%2e%2e/b", &[], Duration::ZERO);
    }
    assert_eq!(house.class(OFFICE, Duration::ZERO), Class::Bad);
    for number in 0..100 {
        let token = format!("Bearer {}", house.token(&format!("u{number}"), "viewer", "free", "s"));
        assert_eq!(house.send(OFFICE, "GET /projects", &[("authorization", &token)], Duration::ZERO), 200, "{number}");
    }
}

#[test]
fn l12_many_cores_raise_one_score_and_lose_nothing() {
    let house = Arc::new(quiet());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let house = Arc::clone(&house);
            scope.spawn(move || {
                (0..10).for_each(|_| assert_eq!(house.send(OFFICE, "GET /nowhere", &[], Duration::ZERO), 404))
            });
        }
    });
    assert_eq!(house.score(OFFICE), 400.0);
    let bad = house.records.kinds().into_iter().filter(|kind| *kind == EventKind::AddressBad).count();
    assert_eq!(bad, 1, "a change is told once");
    assert_eq!(house.gate.repute(OFFICE.parse().unwrap(), Timestamp::MAX).class, Class::Good);
}

#[test]
fn l12_an_operator_is_told_the_rate_that_requests_are_held_to() {
    let house = quiet();
    for _ in 0..6 {
        house.send(OFFICE, "GET /a/%2e%2e/b", &[], Duration::ZERO);
    }
    let pass = passed(house.ask_from(OFFICE, "GET /projects", &[house.bearer("viewer")]));
    let quota = |address: &str, principal: Option<&Arc<Principal>>| {
        let whom = Whom { address: address.parse().ok(), principal: principal.cloned(), ..Whom::default() };
        futures_executor(house.gate.limit_standing("calm", &whom, NOW)).unwrap().unwrap().quota
    };
    assert_eq!(quota(OFFICE, None), 5);
    assert_eq!(quota(OFFICE, pass.principal()), 100, "whoever proves an identity there");
    assert_eq!(quota(ELSEWHERE, None), 100);
}

#[test]
fn l12_a_refusal_before_the_credential_was_looked_at_blames_nobody_who_brought_one() {
    let house = house(vec![limit("flood", "/**", KeyPart::Address, "1 per hour"), limited()]);
    let viewer = house.bearer("viewer");
    assert_eq!(house.send(OFFICE, "GET /projects", &[(viewer.0, &viewer.1)], Duration::ZERO), 200);
    for _ in 0..60 {
        assert_eq!(house.send(OFFICE, "GET /projects", &[(viewer.0, &viewer.1)], Duration::ZERO), 429);
    }
    assert_eq!(house.score(OFFICE), 0.0);
    assert_eq!(house.send(OFFICE, "GET /public/status", &[], Duration::ZERO), 429);
    assert_eq!(house.score(OFFICE), 2.0);
}

#[test]
fn l12_what_somebody_known_does_where_nobody_is_asked_who_they_are_is_not_their_addresss_doing() {
    let house = quiet();
    let token = |session: &str| format!("Bearer {}", house.token("ann", "viewer", "free", session));
    let (good, revoked) = (token("s"), token("revoked"));
    let send = |request: &str, token: &str| house.send(OFFICE, request, &[("authorization", token)], Duration::ZERO);
    // Before it was ever verified here it proves nothing, and it is not verified for this.
    assert_eq!((send("GET /favicon.ico", &good), house.score(OFFICE)), (404, 5.0));
    assert_eq!(send("GET /projects", &good), 200);
    for _ in 0..30 {
        assert_eq!((send("GET /favicon.ico", &good), send("GET /a%2fb", &good)), (404, 400));
    }
    assert_eq!(house.score(OFFICE), 5.0);
    // One that is revoked proves nothing however well it is known; nor does one whose time is over, or that is another's.
    assert_eq!((send("GET /projects", &revoked), send("GET /favicon.ico", &revoked)), (401, 404));
    assert_eq!(house.score(OFFICE), 10.0);
    let forged = format!("{good}x");
    assert_eq!((send("GET /favicon.ico", &forged), house.score(OFFICE)), (404, 15.0));
    let late = Duration::from_secs(900);
    assert_eq!(house.send(ELSEWHERE, "GET /favicon.ico", &[("authorization", &good)], late), 404);
    assert_eq!(house.gate.repute(ELSEWHERE.parse().unwrap(), NOW.after(late)).score, 5.0);
}

#[test]
fn l12_a_page_of_another_site_does_not_spoil_the_name_of_its_visitors() {
    let house = quiet();
    let site = |site: &'static str| [("sec-fetch-site", site)];
    for _ in 0..6 {
        assert_eq!(house.send(OFFICE, "GET /a%2fb", &site("cross-site"), Duration::ZERO), 400);
        assert_eq!(house.send(OFFICE, "GET /nowhere", &site("cross-site"), Duration::ZERO), 404);
        let mut pass = passed(house.ask_from(OFFICE, "GET /public/status", &[("sec-fetch-site", "cross-site".into())]));
        house.gate.settle(&mut pass, Outcome::Answered(StatusCode::NOT_FOUND), NOW);
    }
    assert_eq!((house.score(OFFICE), house.class(OFFICE, Duration::ZERO)), (18.0, Class::Good));
    // Whoever claims it to guess credentials gains nothing by it, and what our own pages ask for counts in full.
    let forged = [FORGED[0], site("cross-site")[0]];
    assert_eq!(house.send(OFFICE, "GET /projects", &forged, Duration::ZERO), 401);
    assert_eq!(house.score(OFFICE), 38.0);
    for (number, other) in (1..).zip(["same-origin", "same-site", "none", "Cross-Site"]) {
        house.send(ELSEWHERE, "GET /a%2fb", &site(other), Duration::ZERO);
        assert_eq!(house.score(ELSEWHERE), 50.0 * number as f32, "{other}");
    }
    // A scan that hides so is slower to be seen, and is seen.
    for _ in 0..100 {
        house.send("203.0.113.5", "GET /nowhere", &site("cross-site"), Duration::ZERO);
    }
    assert_eq!(house.class("203.0.113.5", Duration::ZERO), Class::Suspect);
}

#[test]
fn l12_behind_a_proxy_a_path_that_is_refused_is_its_clients_doing() {
    let house = quiet();
    let proxy = TrustedHops::new(vec!["10.0.0.0/8".parse().unwrap()], ForwardHeader::default());
    let parts = parts(&house.key, projects(), vec![limited()]);
    house.gate.reload(Policy::new(PolicyParts { trusted_hops: proxy, ..parts }).unwrap());
    assert_eq!(house.send("10.0.0.1", "GET /a%2fb", &[("x-forwarded-for", OFFICE)], Duration::ZERO), 400);
    assert_eq!((house.score(OFFICE), house.score("10.0.0.1")), (50.0, 0.0));
}

#[test]
fn l12_a_connection_that_floods_is_an_offence_of_its_address_and_an_event() {
    let house = quiet();
    let score = house.score(OFFICE);
    house.gate.note_flood(OFFICE.parse().unwrap(), "rapid_reset", NOW);
    assert!(house.score(OFFICE) > score, "it counts");
    assert_eq!(house.score(ELSEWHERE), 0.0);
    assert!(house.records.kinds().contains(&EventKind::Http2Flood));
}

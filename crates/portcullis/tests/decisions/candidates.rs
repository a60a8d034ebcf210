//! A limit that only reports, judged in the place of one that refuses (L9).

use std::time::Duration;

use portcullis::{Comparison, Count, KeyPart, LimitRule, Mode, Policy, QuotaChoice, Scope, Verdict, Whom};
use portcullis_core::{EventKind, Reason, Timestamp};
use portcullis_limit::{Algorithm, Rate};

use crate::house::*;
use crate::shared::sharing_house;

fn candidate(name: &str, live: &str, pattern: &str, key: KeyPart, quota: &str) -> LimitRule {
    LimitRule { mode: Mode::Report, replaces: Some(live.into()), ..limit(name, pattern, key, quota) }
}

fn by(algorithm: Algorithm, rule: LimitRule) -> LimitRule {
    let QuotaChoice::Fixed(rate) = rule.quota else { panic!("a quota for everyone") };
    let burst = (algorithm == Algorithm::LeakyBucket).then(|| rate.quota().count());
    LimitRule { quota: QuotaChoice::Fixed(Rate::new(rate.quota(), algorithm, burst).unwrap()), ..rule }
}

/// Both admit, both refuse, only the live one refuses, only the candidate.
fn numbers(pair: &Comparison) -> [u64; 4] {
    [pair.both_admit, pair.both_refuse, pair.only_limit_refuses, pair.only_candidate_refuses]
}

fn refused_by(verdict: &Verdict) -> Option<(String, Duration)> {
    match verdict {
        Verdict::Refuse(refusal) => match refusal.reason() {
            Reason::LimitReached(limited) => Some((limited.limit.to_string(), limited.retry_after)),
            other => panic!("{other:?}"),
        },
        Verdict::Pass(_) | Verdict::Answer(_) => None,
    }
}

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The same traffic three times: with the candidate, without it, and to the candidate alone where it is enforced and no
/// other limit refuses.
fn compare(seed: u64, part: &KeyPart, live: &LimitRule, next: &LimitRule) -> [u64; 4] {
    let other = limit("other", "/**", part.clone(), "9 per minute");
    let with = house(vec![next.clone(), other.clone(), live.clone()]);
    let without = house(vec![other.clone(), live.clone()]);
    let only_others = |now: Timestamp, whom: &Whom| {
        !futures_executor(without.gate.limit_standing("other", whom, now)).unwrap().unwrap().remaining.eq(&0)
    };
    let alone = house(vec![LimitRule { mode: Mode::Enforce, replaces: None, ..next.clone() }]);
    let people = [&with, &without, &alone].map(|house| ["ann", "ben"].map(|user| bearer(house, user, "viewer")));
    let principals = ["ann", "ben"].map(|user| {
        // What no limit here is asked for, so that nothing is charged.
        match alone.ask_from("192.0.2.9", "GET /analytics", &[bearer(&alone, user, "admin")]) {
            Verdict::Pass(pass) => pass.principal().cloned(),
            other => panic!("{other:?}"),
        }
    });
    let (mut dice, mut now, mut model) = (Dice(seed), NOW, [0; 4]);
    for step in 0..400 {
        now = now.after(Duration::from_millis([0, 40, 900, 2_500][dice.below(4) as usize]));
        let peer = ["192.0.2.1", "192.0.2.2"][dice.below(2) as usize];
        let request = ["GET /public/status", "GET /projects", "GET /projects"][dice.below(3) as usize];
        let user = dice.below(2) as usize;
        let asked = |house: &House, which: usize| house.ask_at(now, peer, request, &people[which][user..=user]);
        let principal = principals[user].clone();
        let whom = Whom { address: Some(peer.parse().unwrap()), principal, ..Whom::default() };
        let others_admit = only_others(now, &whom);
        let said = refused_by(&asked(&with, 0));
        let context = format!("seed {seed}, step {step}: {peer} {user} {request}: {said:?}");
        assert_eq!(said, refused_by(&asked(&without, 1)), "{context}: a limit that reports changes nothing");
        if !others_admit {
            assert!(said.is_some(), "{context}");
        } else {
            let would_refuse = refused_by(&asked(&alone, 2)).is_some();
            // What neither of the two covers is not compared.
            let compared = request == "GET /projects";
            model[match (said.is_some(), would_refuse) {
                (false, false) => 0,
                (true, true) => 1,
                (true, false) => 2,
                (false, true) => 3,
            }] += u64::from(compared);
        }
        // The candidate's count is that of the same limit alone, to the unit.
        let [ours, theirs] = [&with, &alone]
            .map(|house| futures_executor(house.gate.limit_standing("next", &whom, now)).unwrap().unwrap());
        assert_eq!((ours.remaining, ours.reset_at), (theirs.remaining, theirs.reset_at), "{context}");
        assert_eq!(numbers(&with.gate.comparisons()[0]), model, "{context}");
    }
    model
}

fn bearer(house: &House, user: &str, role: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", house.token(user, role, "free", "s")))
}

#[test]
fn l9_a_candidates_count_is_that_of_the_same_limit_alone_on_the_same_traffic() {
    let mut sum = [0; 4];
    for (seed, algorithm) in (1..).zip(Algorithm::ALL) {
        let quota = |count: u64| {
            let window = if algorithm == Algorithm::Calendar { "day" } else { "20s" };
            format!("{count} per {window}")
        };
        for part in [KeyPart::Address, KeyPart::User] {
            for count in [2, 5] {
                let live = limit("live", "GET /projects", part.clone(), "3 per 20s");
                let next = candidate("next", "live", "GET /projects", part.clone(), &quota(count));
                let told = compare(seed * 7919 + count, &part, &live, &by(algorithm, next));
                sum = std::array::from_fn(|at| sum[at] + told[at]);
            }
        }
    }
    assert!(sum.iter().all(|count| *count > 100), "each of the four happens: {sum:?}");
}

#[test]
fn l9_whoever_only_one_of_two_limits_counts_is_admitted_by_the_other() {
    let live = limit("live", "GET /public/**", KeyPart::Address, "1 per minute");
    let next = candidate("next", "live", "GET /projects", KeyPart::Address, "1 per minute");
    let house = house(vec![live, next]);
    let viewer = [house.bearer("viewer")];
    let statuses = |request: &str| [house.status(request, &viewer), house.status(request, &viewer)];
    assert_eq!(statuses("GET /public/status"), [200, 429]);
    assert_eq!(numbers(&house.gate.comparisons()[0]), [1, 0, 1, 0]);
    assert_eq!(statuses("GET /projects"), [200, 200]);
    assert_eq!(numbers(&house.gate.comparisons()[0]), [2, 0, 1, 1]);
    assert_eq!(house.status("GET /analytics", &[house.bearer("admin")]), 200);
    let told = house.gate.comparisons();
    assert_eq!(numbers(&told[0]), [2, 0, 1, 1], "neither counts it");
    assert_eq!(told[0].since, Some(NOW));
}

#[test]
fn l9_where_two_limits_disagree_there_is_an_event() {
    let live = limit("live", "GET /public/**", KeyPart::Address, "2 per minute");
    let next = candidate("next", "live", "GET /public/**", KeyPart::Address, "1 per minute");
    let looser = candidate("looser", "live", "GET /public/**", KeyPart::Address, "3 per minute");
    let house = house(vec![live, next, looser]);
    for _ in 0..4 {
        house.ask("GET /public/status", &[]);
    }
    let told = house.records.limits(EventKind::LimitsDisagree);
    assert_eq!(
        told,
        [("next".to_owned(), Some("candidate_refuses")), ("looser".to_owned(), Some("candidate_admits"))],
        "the second and the third request"
    );
    // What it would have refused in the other's place, it says as any limit that reports.
    let would: Vec<String> =
        house.records.limits(EventKind::LimitWouldHit).into_iter().map(|(limit, _)| limit).collect();
    assert_eq!(would, ["next", "next", "next", "looser"]);
    let pairs = house.gate.comparisons();
    assert_eq!(pairs.iter().map(|pair| &*pair.candidate).collect::<Vec<_>>(), ["next", "looser"]);
    assert_eq!([numbers(&pairs[0]), numbers(&pairs[1])], [[1, 2, 0, 1], [2, 1, 1, 0]]);
}

#[test]
fn l9_a_comparison_goes_on_over_a_reload_until_one_of_the_two_changes() {
    let live = limit("live", "/**", KeyPart::Address, "2 per minute");
    let next = candidate("next", "live", "/**", KeyPart::Address, "3 per minute");
    let house = house(vec![live.clone(), next.clone()]);
    let reload = |limits: Vec<LimitRule>| {
        house.gate.reload(Policy::new(parts(&house.key, projects(), limits)).unwrap());
        let told = house.gate.comparisons();
        told.iter().map(|pair| (numbers(pair), pair.since.is_some())).collect::<Vec<_>>()
    };
    house.status("GET /public/status", &[]);
    let above = limit("above", "/**", KeyPart::Address, "100 per minute");
    assert_eq!(reload(vec![above, live.clone(), next.clone()]), [([1, 0, 0, 0], true)]);
    house.status("GET /public/status", &[]);
    let wider = LimitRule { quota: QuotaChoice::Fixed(rate("5 per minute")), ..live };
    assert_eq!(reload(vec![wider.clone(), next.clone()]), [([0; 4], false)]);
    assert_eq!(reload(vec![wider, LimitRule { replaces: None, ..next }]), []);
}

#[test]
fn l9_what_counts_by_its_outcome_counts_a_refused_request_as_it_was_answered() {
    for (count, remaining) in [(Count::All, 8), (Count::Failures, 8), (Count::Denials, 9), (Count::Successes, 9)] {
        let live = limit("live", "/**", KeyPart::Address, "1 per minute");
        let next = LimitRule { count, ..candidate("next", "live", "/**", KeyPart::Address, "10 per minute") };
        let house = house(vec![live, next]);
        // The first is not settled here and stays; the second is answered with 429.
        assert_eq!([house.status("GET /public/status", &[]), house.status("GET /public/status", &[])], [200, 429]);
        let whom = Whom { address: Some("192.0.2.1".parse().unwrap()), ..Whom::default() };
        let standing = futures_executor(house.gate.limit_standing("next", &whom, NOW)).unwrap().unwrap();
        assert_eq!(standing.remaining, remaining, "{count:?}");
    }
}

#[test]
fn l9_what_cannot_stand_in_anothers_place_is_told_and_is_compared_with_nothing() {
    let live = limit("live", "/**", KeyPart::Address, "1 per minute");
    let good = candidate("next", "live", "/**", KeyPart::Address, "2 per minute");
    let later = LimitRule { key: vec![KeyPart::User], ..good.clone() };
    let verification = LimitRule { scope: Scope::Verification, ..good.clone() };
    let refusing = LimitRule { mode: Mode::Enforce, ..good.clone() };
    let stranger = LimitRule { replaces: Some("nobody".into()), ..good.clone() };
    let itself = LimitRule { replaces: Some("next".into()), ..good.clone() };
    assert_eq!(good.can_replace(&live), Ok(()));
    for wrong in [later, verification, refusing, itself.clone()] {
        let other = if wrong == itself { &wrong } else { &live };
        assert!(wrong.can_replace(other).is_err(), "{wrong:?}");
        assert_eq!(house(vec![live.clone(), wrong]).gate.comparisons(), []);
    }
    assert_eq!(house(vec![live, stranger]).gate.comparisons(), []);
}

#[test]
fn l9_a_blocked_key_is_compared_too_and_its_candidate_is_not_blocked() {
    let live = limit("live", "/**", KeyPart::Address, "5 per minute");
    let next = candidate("next", "live", "/**", KeyPart::Address, "5 per minute");
    let house = house(vec![live, next]);
    let whom = Whom { address: Some("192.0.2.1".parse().unwrap()), principal: None, ..Whom::default() };
    let until = futures_executor(house.gate.block_limit("live", &whom, Duration::from_secs(60), NOW)).unwrap();
    assert_eq!(until, NOW.after(Duration::from_secs(60)));
    assert_eq!(house.status("GET /public/status", &[]), 429);
    assert_eq!(numbers(&house.gate.comparisons()[0]), [0, 0, 1, 0]);
}

#[tokio::test]
async fn l9_a_request_that_the_shield_of_a_shared_store_refuses_is_judged_once() {
    let live = limit("live", "/**", KeyPart::Address, "1 per minute");
    let next = candidate("next", "live", "/**", KeyPart::Address, "100 per minute");
    let (house, store) = sharing_house(vec![live, next]);
    assert!(house.gate.limits_are_shared());
    let stranger = crate::house::house(Vec::new());
    let mut said = Vec::new();
    for number in 0..3 {
        let forged = bearer(&stranger, &format!("u{number}"), "viewer");
        said.push(house.status("GET /projects", &[forged]));
    }
    assert_eq!(said, [401, 429, 429]);
    assert_eq!(numbers(&house.gate.comparisons()[0]), [1, 0, 2, 0], "each of the three once");
    assert_eq!(store.questions(), 5, "a charge each, and one of the candidate for each refused");
    let whom = Whom { address: Some("192.0.2.1".parse().unwrap()), ..Whom::default() };
    let standing = house.gate.limit_standing("next", &whom, NOW).await.unwrap().unwrap();
    assert_eq!(standing.remaining, 97);
}

#[tokio::test]
async fn l9_a_flood_of_refused_requests_costs_a_shared_store_a_bounded_number_of_comparisons() {
    let live = limit("live", "/**", KeyPart::Address, "1 per minute");
    let next = candidate("next", "live", "/**", KeyPart::Address, "100000 per minute");
    let (house, store) = sharing_house(vec![live.clone(), next.clone()]);
    let flood = |house: &House, at: Timestamp| {
        let statuses = (0..1_501).map(|_| status(&house.ask_at(at, "192.0.2.1", "GET /public/status", &[])));
        statuses.filter(|status| *status == 429).count()
    };
    assert_eq!(flood(&house, NOW), 1_500);
    let told = || {
        let pair = house.gate.comparisons().remove(0);
        (numbers(&pair), pair.not_compared)
    };
    assert_eq!(told(), ([1, 0, 1_000, 0], 500));
    assert_eq!(store.questions(), 1_501 + 1_000, "one for each request, and the comparisons");
    let whom = Whom { address: Some("192.0.2.1".parse().unwrap()), ..Whom::default() };
    let standing = house.gate.limit_standing("next", &whom, NOW).await.unwrap().unwrap();
    assert_eq!(standing.remaining, 100_000 - 1_001, "what is not compared is not charged");
    // One that tells the time a little late has no second of its own; the next second has.
    house.ask_at(NOW.before(Duration::from_millis(1)), "192.0.2.1", "GET /public/status", &[]);
    assert_eq!(told(), ([1, 0, 1_000, 0], 501));
    house.ask_at(NOW.after(Duration::from_secs(1)), "192.0.2.1", "GET /public/status", &[]);
    assert_eq!(told(), ([1, 0, 1_001, 0], 501));

    // In memory a comparison costs no question, and all are made.
    let alone = crate::house::house(vec![live, next]);
    assert_eq!(flood(&alone, NOW), 1_500);
    let pair = alone.gate.comparisons().remove(0);
    assert_eq!((numbers(&pair), pair.not_compared), ([1, 0, 1_500, 0], 0));
}

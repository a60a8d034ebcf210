use portcullis_core::ClientAddress;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn v4(number: u32) -> AddressKey {
    ClientAddress::new(IpAddr::from(number.to_be_bytes())).key(64)
}

fn raise(table: &Reputation, address: AddressKey, by: f32, now: Timestamp) -> Change {
    table.raise(address, by, None, &Rules::default(), now)
}

#[test]
fn l12_a_score_lies_in_32_bytes() {
    assert_eq!(size_of::<Cell>(), 32);
}

#[test]
fn l12_a_score_is_halved_by_each_half_life_and_classes_follow() {
    let (table, rules) = (Reputation::default(), Rules::default());
    let of = |after: Duration| table.of(v4(1), &rules, NOW.after(after));
    assert_eq!(of(Duration::ZERO), Repute::default());
    assert_eq!(raise(&table, v4(1), 99.0, NOW), Change { before: Class::Good, after: Class::Good });
    assert_eq!(raise(&table, v4(1), 1.0, NOW), Change { before: Class::Good, after: Class::Suspect });
    assert_eq!(raise(&table, v4(1), 300.0, NOW), Change { before: Class::Suspect, after: Class::Bad });
    assert_eq!((of(Duration::ZERO).score, of(Duration::ZERO).class), (400.0, Class::Bad));
    assert_eq!((of(10 * MINUTE).score, of(10 * MINUTE).class), (200.0, Class::Suspect));
    assert_eq!((of(20 * MINUTE).score, of(20 * MINUTE).class), (100.0, Class::Suspect));
    assert_eq!((of(30 * MINUTE).score, of(30 * MINUTE).class), (50.0, Class::Good));
    assert_eq!(table.of(v4(2), &rules, NOW), Repute::default(), "another address");
}

#[test]
fn l12_however_much_an_address_does_it_is_bad_for_one_half_life_after_the_last() {
    let (table, rules) = (Reputation::default(), Rules::default());
    for second in 0..10_000 {
        raise(&table, v4(1), 50.0, NOW.after(Duration::from_secs(second)));
    }
    let last = NOW.after(Duration::from_secs(9_999));
    assert_eq!(table.of(v4(1), &rules, last).score, rules.highest());
    assert_eq!(table.of(v4(1), &rules, last.after(rules.half_life)).class, Class::Bad);
    let after = |millis| table.of(v4(1), &rules, last.after(rules.half_life + Duration::from_millis(millis))).class;
    assert_eq!(after(1_000), Class::Suspect);
    // log2(600 / 100) half-lives.
    assert_eq!(table.of(v4(1), &rules, last.after(Duration::from_secs(1_550))).class, Class::Suspect);
    assert_eq!(table.of(v4(1), &rules, last.after(Duration::from_secs(1_552))).class, Class::Good);
}

#[test]
fn l12_a_challenge_lasts_as_long_as_it_was_given_for_and_outlives_no_shorter_rule() {
    let (table, rules) = (Reputation::default(), Rules::default());
    let until = NOW.after(rules.challenged_for);
    table.raise(v4(1), 0.0, Some(until), &rules, NOW);
    let of = |after: u64| table.of(v4(1), &rules, NOW.after(Duration::from_secs(after)));
    assert_eq!((of(0).challenged_until, of(0).class), (Some(until), Class::Good));
    assert!(of(299).challenged_until.is_some() && of(300).challenged_until.is_none());
    // An offence beside it shortens nothing.
    raise(&table, v4(1), 5.0, NOW.after(Duration::from_secs(10)));
    assert_eq!(of(20).challenged_until, Some(until));
    let shorter = Rules { challenged_for: Duration::from_secs(10), ..rules };
    let held = table.of(v4(1), &shorter, NOW).challenged_until.unwrap();
    assert!(held <= NOW.after(Duration::from_secs(11)), "{held:?}");
}

#[test]
fn l12_a_network_of_ipv6_is_one_address_and_addresses_come_back_as_they_were() {
    let (table, rules) = (Reputation::default(), Rules::default());
    let v6 = |text: &str| ClientAddress::new(text.parse().unwrap()).key(64);
    raise(&table, v6("2001:db8::1"), 150.0, NOW);
    assert_eq!(table.of(v6("2001:db8::ffff:2"), &rules, NOW).class, Class::Suspect);
    assert_eq!(table.of(v6("2001:db8:0:1::1"), &rules, NOW).class, Class::Good);
    raise(&table, v4(0xc000_0207), 400.0, NOW);
    let worst: Vec<String> = table.worst(9, &rules, NOW).iter().map(|known| known.address.to_string()).collect();
    assert_eq!(worst, ["192.0.2.7", "2001:db8::"]);
    let expected = ReputationFigures { known: 2, suspect: 1, bad: 1, ..ReputationFigures::default() };
    assert_eq!(table.figures(&rules, NOW), expected);
    assert!(table.forget(v6("2001:db8::3")) && !table.forget(v6("2001:db8::3")));
    assert_eq!(table.worst(9, &rules, NOW).len(), 1);
    // Hours later nothing is left, though nobody tidied up.
    assert!(table.worst(9, &rules, NOW.after(100 * MINUTE + 100 * MINUTE)).is_empty());
}

/// 300,000 addresses, and each offends as gravely as one request can: far more than there are places.
#[test]
fn l12_an_attacker_with_many_addresses_makes_nobody_who_is_suspect_forgotten() {
    let (table, rules) = (Reputation::default(), Rules::default());
    let suspects = 0..1_000;
    for number in suspects.clone() {
        table.raise(v4(number), 105.0, None, &rules, NOW);
    }
    let until = Some(NOW.after(rules.challenged_for));
    for number in 0..300_000 {
        table.raise(v4(0x0a00_0000 + number), 50.0, until, &rules, NOW);
    }
    for number in suspects {
        assert_eq!(table.of(v4(number), &rules, NOW).class, Class::Suspect, "{number}");
    }
    let figures = table.figures(&rules, NOW);
    assert_eq!(figures.known, (SHARDS * GROUPS * WAYS) as u64, "full, and no fuller");
    assert!(figures.forgotten > 200_000, "{figures:?}");
}

#[test]
fn l12_a_full_table_takes_no_newcomer_that_is_less_suspicious_and_says_so() {
    let (table, rules) = (Reputation::default(), Rules::default());
    // Enough that every place is taken, whatever the secret.
    for number in 0..200_000 {
        raise(&table, v4(number), 100.0, NOW);
    }
    let held = table.figures(&rules, NOW);
    assert_eq!(held.known, (SHARDS * GROUPS * WAYS) as u64);
    let change = raise(&table, v4(0x0a00_0001), 50.0, NOW);
    assert_eq!(change, Change { before: Class::Good, after: Class::Good });
    assert_eq!(table.of(v4(0x0a00_0001), &rules, NOW), Repute::default());
    assert_eq!(table.figures(&rules, NOW).unheard, held.unheard + 1);
    // As soon as the others' scores have gone down far enough there is room.
    let later = NOW.after(20 * MINUTE);
    raise(&table, v4(0x0a00_0001), 50.0, later);
    assert_eq!(table.of(v4(0x0a00_0001), &rules, later).score, 50.0);
}

/// One step of a random life.
#[derive(Clone, Debug)]
enum Step {
    Raise(u32, u16),
    Challenge(u32),
    Forget(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..4, 0_u16..100).prop_map(|(address, by)| Step::Raise(address, by)),
        1 => (0_u32..4).prop_map(Step::Challenge),
        1 => (0_u32..4).prop_map(Step::Forget),
        3 => (0_u64..2_000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Against a model that keeps every offence and adds up what is left of each.
    #[test]
    fn l12_a_score_is_the_sum_of_what_is_left_of_each_offence(steps in prop::collection::vec(step(), 1..60)) {
        let (table, rules) = (Reputation::default(), Rules::default());
        let mut now = NOW;
        let mut scores = [0.0_f64; 4];
        let mut challenged = [Timestamp::EPOCH; 4];
        for step in steps {
            match step {
                Step::Raise(address, by) => {
                    table.raise(v4(address), f32::from(by), None, &rules, now);
                    let score = &mut scores[address as usize];
                    *score = (*score + f64::from(by)).min(600.0);
                }
                Step::Challenge(address) => {
                    let until = now.after(rules.challenged_for);
                    table.raise(v4(address), 0.0, Some(until), &rules, now);
                    challenged[address as usize] = until;
                }
                Step::Forget(address) => {
                    table.forget(v4(address));
                    (scores[address as usize], challenged[address as usize]) = (0.0, Timestamp::EPOCH);
                }
                Step::Wait(seconds) => {
                    now = now.after(Duration::from_secs(seconds));
                    scores = scores.map(|score| score * (-(seconds as f64) / 600.0).exp2());
                }
            }
            for (number, score) in (0..).zip(scores) {
                let repute = table.of(v4(number), &rules, now);
                prop_assert!((f64::from(repute.score) - score).abs() < 0.01 * score.max(1.0), "{repute:?} {score}");
                prop_assert!(repute.score <= rules.highest());
                prop_assert_eq!(repute.challenged_until.is_some(), challenged[number as usize] > now);
            }
        }
    }

    /// No moment, however strange, makes a score grow, or more than it can be.
    #[test]
    fn l12_no_clock_makes_a_score_grow(at in any::<u64>(), then in any::<u64>(), by in 0_u16..1_000) {
        let (table, rules) = (Reputation::default(), Rules::default());
        let (at, then) = (Timestamp::from_nanos(at), Timestamp::from_nanos(then));
        table.raise(v4(1), f32::from(by), Some(at.after(rules.challenged_for)), &rules, at);
        let repute = table.of(v4(1), &rules, then);
        prop_assert!(repute.score >= 0.0 && repute.score <= f32::from(by).min(rules.highest()), "{repute:?}");
        if let Some(until) = repute.challenged_until {
            prop_assert!(until.since(then) <= rules.challenged_for + Duration::from_secs(1));
        }
    }
}

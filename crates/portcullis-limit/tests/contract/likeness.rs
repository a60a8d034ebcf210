//! The same random load on a store and on memory: the same answers, to the last number.

use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_limit::{Algorithm, Ask, Charge, Denied, Limiter, Quota, Rate, Receipt, Standing};

use super::{Case, START, ask};

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

pub(crate) fn l2_every_store_answers_as_memory_does(case: &Case<'_>) {
    let algorithms = case.algorithms();
    for (seed, algorithm) in (1..3).flat_map(|seed| algorithms.iter().map(move |algorithm| (seed, *algorithm))) {
        let (case, memory) = (case.anew(), Limiter::default());
        let memory = Case { subject: &memory, id: case.id };
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed << 32 ^ algorithm as u64);
        let rates: Vec<Rate> = (0..3).map(|_| any_rate(&case, algorithm, &mut dice)).collect();
        let mut now = START.after(Duration::from_micros(dice.below(1_000_000)));
        let mut receipts: Vec<[Receipt; 2]> = Vec::new();
        for step in 0..150 {
            let window = rates[0].quota().window();
            now = match dice.below(8) {
                0 => now.after(window / 4),
                1 => now.after(window + Duration::from_micros(dice.below(3))),
                2..5 => now.after(Duration::from_micros(dice.below(2_000_000))),
                _ => now,
            };
            let asks: Vec<Ask<'_>> = (0..=dice.below(3))
                .map(|_| {
                    let index = dice.below(3) as usize;
                    let (rate, key) = (&rates[index], case.key(index as u32, "u"));
                    let most = if dice.below(2) == 0 { rate.capacity() / 3 } else { rate.capacity().min(6) };
                    let cost = dice.below(most + 2);
                    Ask { enforce: dice.below(4) > 0, ..ask(rate, &key, cost) }
                })
                .collect();
            let context = format!("seed {seed}, step {step}, at {now}: {asks:?}");
            let [ours, theirs] = [&case, &memory].map(|case| case.peek(&asks[0], now));
            assert_eq!(told(ours), told(theirs), "{context}");
            match [&case, &memory].map(|case| case.charge(&asks, now)) {
                [Ok(ours), Ok(theirs)] => {
                    assert_eq!(standings(&ours), standings(&theirs), "{context}");
                    assert_eq!(ours.delay(), theirs.delay(), "{context}");
                    assert_eq!(ours.receipts().len(), theirs.receipts().len(), "{context}");
                    let pairs = ours.receipts().iter().zip(theirs.receipts());
                    receipts.extend(pairs.map(|(ours, theirs)| [ours.clone(), theirs.clone()]));
                }
                [Err(ours), Err(theirs)] => assert_eq!(refusal(ours), refusal(theirs), "{context}"),
                [ours, theirs] => panic!("{context}: {ours:?}, but in memory {theirs:?}"),
            }
            if dice.below(3) == 0 && !receipts.is_empty() {
                let [ours, theirs] = receipts.swap_remove(dice.below(receipts.len() as u64) as usize);
                let part = if dice.below(2) == 0 { ours.cost() } else { dice.below(ours.cost() + 1) };
                case.give_back(&ours.part(part), now);
                memory.give_back(&theirs.part(part), now);
            }
            let cases = [&case, &memory];
            match dice.below(24) {
                0..3 => cases.map(|case| case.reward(&asks[0], now)).into_iter().collect(),
                3 => {
                    let how_long = Duration::from_micros(1 + dice.below(3_000_000));
                    let [ours, theirs] = cases.map(|case| case.block(&asks[0], how_long, now));
                    assert_eq!(ours, Timestamp::from_nanos(theirs.as_nanos().div_ceil(1000) * 1000), "{context}");
                }
                4 => {
                    let [ours, theirs] = cases.map(|case| case.unblock(&asks[0].key, now));
                    assert_eq!(ours, theirs, "{context}");
                }
                5 => {
                    let [ours, theirs] = cases.map(|case| case.take(&asks[0], now));
                    assert_eq!(ours, theirs, "{context}");
                }
                _ => {}
            }
        }
    }
}

/// A rate that may be as large or as small as rates can be.
fn any_rate(case: &Case<'_>, algorithm: Algorithm, dice: &mut Dice) -> Rate {
    loop {
        let window = match algorithm {
            Algorithm::Calendar => Duration::from_secs(86_400),
            _ => Duration::from_millis([1, 60_000, 100_000, 3_600_000, 366 * 86_400_000][dice.below(5) as usize]),
        };
        let count = [1, 3, 10, 97, 10_000, 999_999_937, 1_000_000_000][dice.below(7) as usize];
        let burst = algorithm.has_burst().then(|| [1 + dice.below(20), count][dice.below(2) as usize]);
        // Most combinations go together; a log of a billion does not.
        let Ok(rate) = Rate::new(Quota::new(count, window).expect("a quota"), algorithm, burst) else { continue };
        if !case.subject.carries(&rate) {
            continue;
        }
        return match algorithm {
            Algorithm::LeakyBucket => rate.with_max_delay(Duration::from_millis(dice.below(20_000))).expect("a queue"),
            Algorithm::Calendar => rate.in_time_zone(["UTC", "Asia/Tokyo"][dice.below(2) as usize]).expect("a zone"),
            _ => rate,
        };
    }
}

/// A store that tells microseconds tells when a request will be admitted rounded up to one.
fn told(standing: Standing) -> Standing {
    let micros =
        |at: Timestamp| Timestamp::from_nanos(at.as_nanos().checked_next_multiple_of(1000).unwrap_or(u64::MAX));
    if standing.would_refuse { Standing { reset_at: micros(standing.reset_at), ..standing } } else { standing }
}

fn standings(charge: &Charge) -> Vec<Standing> {
    charge.standings().iter().cloned().map(told).collect()
}

fn refusal(denied: Denied) -> (Standing, u128) {
    (told(denied.standing), denied.retry_after.as_nanos().div_ceil(1000))
}

//! How often the sliding window counter decides otherwise than a log would (L14), on generated traces that are the same every
//! time.
//!
//! Each client of a trace asks a counter and a log of its own, side by side. A decision is wrong if they differ. Ordinary
//! clients stay below their limit but for a rare moment: how widely their paces spread was chosen for that, and the bound of
//! one in ten thousand holds for such clients and not for the counter as such (with σ 1.0 in place of 0.65 a log refuses some
//! percent, and about as many decisions differ). Crowded traces have one client in a hundred that sends twice what
//! it may. There the two take turns at admitting it: one of them admits a request a moment sooner, so it refuses the next one
//! that the other admits, and so on. What they differ in is which requests they admit, hardly how many.

use portcullis_core::Timestamp;

use super::Cell;
use crate::rate::{Algorithm, Rate};

const START: u64 = 1_795_219_200_000_000_000;
const SECOND: f64 = 1e9;
const WINDOW: f64 = 60.0 * SECOND;
const QUOTA: u64 = 100;

/// A seeded source of chance: xorshift64*.
struct Chance(u64);

impl Chance {
    /// Evenly from 0 up to 1.
    fn even(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A wait for what comes at random, this long on average.
    fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.even()).ln()
    }

    /// How many requests in a window an ordinary client sends: six in the middle, a few send ten times that.
    fn pace(&mut self) -> f64 {
        let bell = (-2.0 * (1.0 - self.even()).ln()).sqrt() * (std::f64::consts::TAU * self.even()).cos();
        (6_f64.ln() + 0.65 * bell).exp()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Each client at its own pace, a fifth sooner or later.
    Steady,
    /// Five to twenty requests at once, as a page loads, then a pause.
    Bursty,
    /// At random, at a pace that goes up and down with the day.
    Diurnal,
}

/// The moments at which one client sends, in nanoseconds; `scale` times as many as an ordinary one.
fn client(kind: Kind, chance: &mut Chance, windows: f64, greedy: bool) -> Vec<u64> {
    let length = windows * WINDOW;
    // Twice the quota in every window is what a greedy client sends, whatever its kind.
    let pace = if greedy { 2.0 * QUOTA as f64 } else { chance.pace() };
    let mut at = chance.even() * WINDOW;
    let mut moments = Vec::new();
    while at < length {
        match kind {
            Kind::Steady => {
                moments.push(at);
                at += WINDOW / pace * (0.8 + 0.4 * chance.even());
            }
            Kind::Bursty => {
                let burst = 5 + (16.0 * chance.even()) as u32;
                for _ in 0..burst {
                    moments.push(at);
                    at += chance.wait(0.1 * SECOND);
                }
                at += chance.wait(if greedy { WINDOW * f64::from(burst) / pace } else { 1.5 * WINDOW });
            }
            Kind::Diurnal => {
                let hour = (at / length * std::f64::consts::TAU).cos();
                if chance.even() < 0.55 - 0.45 * hour {
                    moments.push(at);
                }
                at += chance.wait(WINDOW / pace);
            }
        }
    }
    moments.into_iter().map(|at| START + at as u64).collect()
}

/// What came of a trace.
#[derive(Debug, Default)]
struct Outcome {
    requests: u64,
    wrong: u64,
    /// What a counter that weighs the whole previous window would get wrong: that a trace is worth asking.
    naive_wrong: u64,
    by_counter: u64,
    by_log: u64,
}

impl Outcome {
    fn share(&self) -> f64 {
        self.wrong as f64 / self.requests as f64
    }

    fn ask(&mut self, moments: &[u64]) {
        let rates = [Algorithm::SlidingWindowCounter, Algorithm::SlidingWindowLog]
            .map(|algorithm| Rate::new("100 per minute".parse().unwrap(), algorithm, None).unwrap());
        let mut cells = rates.map(|rate| Cell::new(rate.algorithm()));
        let mut windows = (0, 0, 0);
        for moment in moments {
            let mut admits = [false; 2];
            for ((cell, rate), admits) in cells.iter_mut().zip(&rates).zip(&mut admits) {
                let at = cell.advance(rate, Timestamp::from_nanos(*moment));
                *admits = cell.assess(rate, 1, at).retry_at.is_none();
                if *admits {
                    cell.charge(rate, 1, at);
                }
            }
            let window = moment / WINDOW as u64;
            if window != windows.0 {
                windows = (window, 0, if window == windows.0 + 1 { windows.1 } else { 0 });
            }
            let naive = windows.1 + windows.2 < QUOTA;
            windows.1 += u64::from(naive);
            self.requests += 1;
            self.wrong += u64::from(admits[0] != admits[1]);
            self.naive_wrong += u64::from(naive != admits[1]);
            self.by_counter += u64::from(admits[0]);
            self.by_log += u64::from(admits[1]);
        }
    }
}

/// So many clients for so many windows, of whom one in a hundred may be greedy.
fn trace(kind: Kind, clients: u32, greedy: bool) -> Outcome {
    let mut chance = Chance(0x5eed_0005);
    let mut outcome = Outcome::default();
    for number in 0..clients {
        outcome.ask(&client(kind, &mut chance, 30.0, greedy && number % 100 == 0));
    }
    outcome
}

#[test]
fn l14_the_counter_is_wrong_for_less_than_one_request_in_ten_thousand_of_clients_that_keep_to_their_limit() {
    for kind in [Kind::Steady, Kind::Bursty, Kind::Diurnal] {
        let outcome = trace(kind, 2_000, false);
        let naive = outcome.naive_wrong as f64 / outcome.requests as f64;
        println!(
            "{kind:?}, ordinary: {:.4} % of {} wrong; with the whole previous window {:.4} %",
            100.0 * outcome.share(),
            outcome.requests,
            100.0 * naive
        );
        assert!(outcome.share() < 0.000_1, "{kind:?}: {outcome:?}");
        // The trace asks for something: a counter that is less careful fails.
        assert!(naive > 0.000_1, "{kind:?}: {outcome:?}");
    }
}

#[test]
fn l14_with_one_greedy_client_in_a_hundred_the_counter_errs_about_which_requests_not_about_how_many() {
    for (kind, bound) in [(Kind::Steady, 0.12), (Kind::Bursty, 0.08), (Kind::Diurnal, 0.07)] {
        let outcome = trace(kind, 500, true);
        let admitted = outcome.by_counter as f64 / outcome.by_log as f64 - 1.0;
        println!(
            "{kind:?}, crowded: {:.2} % of {} wrong, {:+.2} % admitted",
            100.0 * outcome.share(),
            outcome.requests,
            100.0 * admitted
        );
        assert!(admitted.abs() < 0.005, "{kind:?}: {outcome:?}");
        assert!(outcome.share() < bound, "{kind:?}: {outcome:?}");
    }
}

#[test]
fn l14_against_who_knows_where_windows_end_the_counter_errs_as_much_as_its_bound_says() {
    // All of the quota at the very end of a window, and in the next one a request every thirty milliseconds; again and again.
    let mut moments = Vec::new();
    for turn in 0..20 {
        let end = START as f64 + WINDOW * (2.0 * f64::from(turn) + 1.0);
        moments.extend((0..100).map(|step| (end - SECOND + 0.01 * SECOND * f64::from(step)) as u64));
        moments.extend((0..2_000).map(|step| (end + 0.03 * SECOND * f64::from(step)) as u64));
    }
    let mut outcome = Outcome::default();
    outcome.ask(&moments);
    println!(
        "at the edge: {:.2} % of {} wrong, {} admitted where the log admits {}",
        100.0 * outcome.share(),
        outcome.requests,
        outcome.by_counter,
        outcome.by_log
    );
    assert!(outcome.share() < 0.07, "{outcome:?}");
    // Two windows' quota in hardly more than one, as the bound says; a log admits one.
    assert!(outcome.by_counter < 2 * outcome.by_log && outcome.by_counter > outcome.by_log, "{outcome:?}");
}

//! Requests at a pace that a gateway can keep, and how long each was waited for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::bench::client::Client;

/// Connections, each with a thread that rests until its next request is due.
const CONNECTIONS: u64 = 16;

/// What a run at a pace met with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced {
    /// Half of the answers took no longer, in microseconds.
    pub(super) p50: f64,
    pub(super) per_second: f64,
}

/// Sends so many requests a second, at moments that are as random as those of many clients (exponential gaps), and reads every
/// answer.
pub(super) fn run(gateway: SocketAddr, bearers: &[String], per_second: f64, length: Duration) -> Result<Paced, String> {
    let began = Instant::now();
    let gap = CONNECTIONS as f64 / per_second;
    let connection = |number: u64| -> Result<Vec<f64>, String> {
        let mut client = Client::new(gateway);
        let mut random = Random(number + 1);
        let (mut due, mut times) = (gap * random.exponential(), Vec::new());
        let turns = bearers.iter().cycle().skip(number as usize * 7);
        for bearer in turns {
            let request =
                format!("GET /api/item HTTP/1.1\r\nHost: {gateway}\r\nAuthorization: Bearer {bearer}\r\n\r\n");
            let now = began.elapsed().as_secs_f64();
            if now > length.as_secs_f64() {
                break;
            }
            if due > now {
                std::thread::sleep(Duration::from_secs_f64(due - now));
            }
            let sent = Instant::now();
            let answer = client.ask(&request)?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
            if answer.status != 200 {
                return Err(format!("a request at a pace was answered with {}", answer.status));
            }
            due += gap * random.exponential();
        }
        Ok(times)
    };
    let connection = &connection;
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || connection(number))).collect();
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| "a client of the bench panicked".to_owned())??);
        }
        Ok::<_, String>(times)
    });
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    let p50 = times.get(times.len() / 2).copied().ok_or("nothing was measured")?;
    Ok(Paced { p50, per_second: times.len() as f64 / began.elapsed().as_secs_f64() })
}

/// xorshift64*, seeded: every run sends at the same moments.
struct Random(u64);

impl Random {
    /// With a mean of one.
    fn exponential(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        -((bits as f64 + 1.0) / (1_u64 << 53) as f64).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_a_mean_of_one() {
        let mut random = Random(1);
        let mean = (0..100_000).map(|_| random.exponential()).sum::<f64>() / 100_000.0;
        assert!((0.98..1.02).contains(&mean), "{mean}");
    }
}

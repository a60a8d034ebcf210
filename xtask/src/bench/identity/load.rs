//! What is measured of accounts: how many logins and refreshes a second, and how long an ordinary request takes meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::stage::{ACCOUNTS, login};
use crate::bench::client::Client;

/// Clients that log in at once.
const LOGINS: usize = 4;
/// Clients that send requests while the others flood.
const READERS: usize = 4;
/// How long a reader rests between two requests, so that the machine is not busy with them alone.
const REST: Duration = Duration::from_millis(4);
/// Clients that try passwords in a flood.
const FLOOD: usize = 32;
/// How long one of them rests after an answer: what is told "503, try again later" at once would otherwise be a flood of
/// cheap requests.
const PAUSE: Duration = Duration::from_millis(20);

/// Different accounts log in one after the other; acknowledged logins in a second.
pub(super) fn logins(address: SocketAddr, length: Duration) -> Result<f64, String> {
    let next = AtomicUsize::new(1_000);
    let mut clients: Vec<Client> = (0..LOGINS).map(|_| Client::new(address)).collect();
    per_second(&mut clients, length, |client| {
        let index = next.fetch_add(1, Ordering::Relaxed) % ACCOUNTS;
        let answer = client.post("/auth/login", &login(index))?;
        if answer.status == 200 { Ok(()) } else { Err(format!("a login was answered with {}", answer.status)) }
    })
}

/// Every session refreshes as fast as it is answered; acknowledged refreshes in a second. The sessions go on.
pub(super) fn refreshes(sessions: &mut [(Client, String)], length: Duration) -> Result<f64, String> {
    per_second(sessions, length, |(client, token)| {
        *token = client.post("/auth/refresh", &json!({ "refreshToken": token }))?.member("refreshToken")?;
        Ok(())
    })
}

/// Each of them asks again and again, all at once; how often a second.
fn per_second<T: Send>(
    clients: &mut [T],
    length: Duration,
    ask: impl Fn(&mut T) -> Result<(), String> + Sync,
) -> Result<f64, String> {
    let (done, began, ask) = (AtomicU64::new(0), Instant::now(), &ask);
    let one = |client: &mut T| {
        while began.elapsed() < length {
            ask(client)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let one = &one;
    std::thread::scope(|scope| {
        let threads: Vec<_> = clients.iter_mut().map(|client| scope.spawn(move || one(client))).collect();
        threads.into_iter().try_for_each(joined)
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Result<(), String>>) -> Result<(), String> {
    thread.join().map_err(|_| "a client of the bench panicked".to_owned())?
}

/// How long ordinary requests took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// What a flood of logins was told meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// Wrong passwords that were hashed and refused, in a second.
    pub(super) hashed: f64,
    /// Refusals because too many waited, in a second.
    pub(super) overloaded: f64,
}

/// Measures an ordinary authenticated request, which the upstream answers at once, with or without a flood of logins.
pub(super) fn latency(
    address: SocketAddr,
    access: &str,
    length: Duration,
    flood: bool,
) -> Result<(Latency, Told), String> {
    let request = format!("GET /api/x HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {access}\r\n\r\n");
    let (stop, hashed, overloaded) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let reader = || -> Result<Vec<Duration>, String> {
        let mut client = Client::new(address);
        let mut times = Vec::new();
        let began = Instant::now();
        while began.elapsed() < length {
            let asked = Instant::now();
            let answer = client.ask(&request)?;
            times.push(asked.elapsed());
            if answer.status != 200 {
                return Err(format!("an ordinary request was answered with {}", answer.status));
            }
            std::thread::sleep(REST);
        }
        Ok(times)
    };
    let attacker = |index: usize| -> Result<(), String> {
        let mut client = Client::new(address);
        let mut turn = index;
        while !stop.load(Ordering::Relaxed) {
            turn += FLOOD;
            let body = json!({ "email": super::stage::email(turn % ACCOUNTS), "password": "Wrong-password-1" });
            match client.post("/auth/login", &body)?.status {
                401 => hashed.fetch_add(1, Ordering::Relaxed),
                503 => overloaded.fetch_add(1, Ordering::Relaxed),
                other => return Err(format!("a wrong password was answered with {other}")),
            };
            std::thread::sleep(PAUSE);
        }
        Ok(())
    };
    let (reader, attacker) = (&reader, &attacker);
    let times = std::thread::scope(|scope| {
        let attackers: Vec<_> =
            (0..if flood { FLOOD } else { 0 }).map(|index| scope.spawn(move || attacker(index))).collect();
        // The flood is in full swing before anybody measures.
        std::thread::sleep(Duration::from_millis(500));
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(reader)).collect();
        let mut times = Vec::new();
        for reader in readers {
            times.extend(reader.join().map_err(|_| "a client of the bench panicked".to_owned())??);
        }
        stop.store(true, Ordering::Relaxed);
        attackers.into_iter().try_for_each(joined)?;
        Ok::<_, String>(times)
    });
    let mut times = times?;
    times.sort_unstable();
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().ok_or("nothing was measured");
    let per_second = |count: AtomicU64| count.into_inner() as f64 / (length.as_secs_f64() + 0.5);
    let told = Told { hashed: per_second(hashed), overloaded: per_second(overloaded) };
    Ok((Latency { median: at(0.5)?, p99: at(0.99)? }, told))
}

//! The servers: how they are reached, which one has which key, and what time it is there.

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::Timestamp;
use siphasher::sip::SipHasher13;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::clock::{Run, ServerClock};
use super::options::MemcachedOptions;
use super::wire::{Command, Said};
use crate::store::StoreError;
use crate::store::net::{Address, Dialer, Lane, Question as _, Stream, Target, exchange, in_time};

/// The first version whose meta commands answer as they are read here.
const OLDEST: [u32; 3] = [1, 6, 10];

/// One server.
#[derive(Debug)]
pub(super) struct Host {
    /// How it is named in messages.
    pub(super) name: Box<str>,
    /// As it is written in the URL, by which it gets its share of the keys.
    address: String,
    pub(super) lane: Lane<Command>,
    clock: Arc<ServerClock>,
    /// How many items it said that it has thrown away to make room.
    evictions: AtomicU64,
}

/// Where a server is, and the clock that is set with each connection.
#[derive(Debug)]
struct Place {
    address: Address,
    dialer: Dialer,
    clock: Arc<ServerClock>,
}

impl Target for Place {
    fn name(&self) -> Box<str> {
        format!("memcached at {}", self.address).into()
    }

    async fn connect(&self) -> Result<Stream, StoreError> {
        let store = Target::name(self);
        let connecting = async {
            let mut stream = self.dialer.dial(&store, &self.address).await?;
            let mut bytes = Vec::new();
            Command::Stats.write(true, &mut bytes);
            let asked = Instant::now();
            // A server that hangs accepts connections all the same.
            let said = exchange(&mut stream, &store, &bytes, Command::read).await?.or_error(&store)?;
            learn(&self.clock, &store, &said, asked, Instant::now())?;
            Ok(stream)
        };
        in_time(&store, connecting).await
    }
}

impl Host {
    /// A lane to each server of the options.
    pub(super) fn all(options: &MemcachedOptions, runtime: &Handle) -> Result<Vec<Self>, StoreError> {
        let dialer = Dialer::new("memcached", options.tls, options.ca_file.as_deref())?;
        let host = |address: &Address| {
            let clock = Arc::new(ServerClock::default());
            let place = Place { address: address.clone(), dialer: dialer.clone(), clock: Arc::clone(&clock) };
            Self {
                name: Target::name(&place),
                address: address.to_string(),
                lane: Lane::new(place, options.timeout, runtime),
                clock,
                evictions: AtomicU64::new(0),
            }
        };
        Ok(options.hosts.iter().map(host).collect())
    }

    /// The server's time. Where none was told yet, it is waited for.
    pub(super) async fn now(&self, deadline: Instant) -> Result<Timestamp, StoreError> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        self.lane.call(Command::Nothing, deadline).await?.or_error(&self.name)?;
        self.clock.now().ok_or_else(|| self.protocol("no time"))
    }

    /// Asks for the server's figures; tells its run, and keeps the rest.
    pub(super) async fn pulse(&self, deadline: Instant) -> Result<Run, StoreError> {
        let asked = Instant::now();
        let said = self.lane.call(Command::Stats, deadline).await?;
        let told = Instant::now();
        let said = said.or_error(&self.name)?;
        let run = learn(&self.clock, &self.name, &said, asked, told)?;
        let evictions = said.figure("evictions").and_then(|figure| figure.parse().ok()).unwrap_or_default();
        self.evictions.store(evictions, Ordering::Relaxed);
        Ok(run)
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// The moment that an item holds, if there is one.
    pub(super) fn moment(&self, said: &Said) -> Result<Option<Timestamp>, StoreError> {
        let Said::Value(text) = said else { return Ok(None) };
        let moment = text
            .parse()
            .map(Timestamp::from_nanos)
            .map_err(|_| StoreError::Foreign { store: self.name.clone(), answer: "a block that is no moment".into() });
        moment.map(Some)
    }

    pub(super) fn no_word_for_the_end(&self) -> StoreError {
        StoreError::NotReady {
            store: self.name.clone(),
            answer: "it has no word for the end of this, as its moments end in January 2038".into(),
        }
    }

    pub(super) fn protocol(&self, answer: &str) -> StoreError {
        StoreError::Protocol { store: self.name.clone(), answer: answer.chars().take(200).collect::<String>().into() }
    }
}

/// Which of the servers has a key: that with the largest weight for it. A server that is added or goes takes or leaves only
/// its own share.
pub(super) fn place(hosts: &[Host], name: &str) -> usize {
    if hosts.len() == 1 {
        return 0;
    }
    let weight = |host: &Host| {
        // The same on every instance: what hides keys from the others is no secret.
        let mut hasher = SipHasher13::new();
        hasher.write(host.address.as_bytes());
        hasher.write_u8(0);
        hasher.write(name.as_bytes());
        hasher.finish()
    };
    let largest = hosts.iter().enumerate().max_by_key(|(_, host)| weight(host));
    largest.map_or(0, |(place, _)| place)
}

/// Sets the clock by a server's figures.
fn learn(clock: &ServerClock, store: &str, said: &Said, asked: Instant, told: Instant) -> Result<Run, StoreError> {
    let not = |what: &str| StoreError::Protocol { store: store.into(), answer: what.into() };
    let version = said.figure("version").ok_or_else(|| not("figures without a version"))?;
    if !is_new_enough(version) {
        return Err(not(&format!("version {}", version.chars().take(40).collect::<String>().escape_default())));
    }
    let number = |name: &str| said.figure(name).and_then(|figure| figure.parse::<u64>().ok());
    let (Some(pid), Some(time), Some(uptime)) = (number("pid"), number("time"), number("uptime")) else {
        return Err(not("figures without its process, its time or since when it runs"));
    };
    let run = Run { pid, since: time.saturating_sub(uptime) };
    clock.learn(run.clone(), time, asked, told);
    Ok(run)
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '_']).map(|digits| digits.parse::<u32>().unwrap_or_default());
    let version: [u32; 3] = std::array::from_fn(|_| numbers.next().unwrap_or_default());
    version >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_a_server_without_the_meta_commands_is_told_by_its_version() {
        for version in ["1.6.10", "1.6.18", "1.7", "2.0.0-beta1", "1.6.21_1"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["1.6.9", "1.5.22", "1", "", "x"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }

    #[tokio::test]
    async fn l2_keys_are_spread_over_all_servers_and_stay_when_one_is_added() {
        let hosts = |list: &str| Host::all(&MemcachedOptions::parse(list).unwrap(), &Handle::current()).unwrap();
        let (three, four) = (hosts("memcached://a,b,c"), hosts("memcached://c,a,d,b"));
        let mut shares = [0; 3];
        for n in 0..3000 {
            let name = format!("rl:a:{n}");
            let (before, after) = (place(&three, &name), place(&four, &name));
            shares[before] += 1;
            let moved = three[before].address != four[after].address;
            assert!(!moved || four[after].address.starts_with("d:"), "{name}");
        }
        assert!(shares.iter().all(|share| (850..1150).contains(share)), "{shares:?}");
    }
}

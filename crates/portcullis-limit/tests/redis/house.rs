//! One store over one server that things happen to.

use std::cell::Cell;
use std::time::{Duration, Instant};

use portcullis_limit::{Identity, Key, Rate, SharedStore, StoreError};
use tokio::runtime::Runtime;

use crate::contract::ask;
use crate::servers::{Server, wait_until};

/// How long these stores wait for an answer. Real ones wait less; here other tests run beside.
pub(crate) const WAIT: Duration = Duration::from_millis(300);
/// What may pass beyond that on a machine that is busy with other tests.
pub(crate) const SLACK: Duration = Duration::from_millis(500);

pub(crate) struct House<S> {
    pub(crate) server: Server,
    pub(crate) store: S,
    pub(crate) runtime: Runtime,
    /// Ten in a long time.
    pub(crate) rate: Rate,
    /// How many charges were asked for.
    pub(crate) asked: Cell<u64>,
}

impl<S: SharedStore> House<S> {
    pub(crate) fn over(server: Server, (store, runtime): (S, Runtime), rate: Rate) -> Self {
        wait_until("the store is connected", || runtime.block_on(store.ping()).is_ok());
        Self { server, store, runtime, rate, asked: Cell::new(0) }
    }

    pub(crate) fn charge(&self, key: &Key) -> Result<bool, StoreError> {
        self.asked.set(self.asked.get() + 1);
        let began = Instant::now();
        let answer = self.runtime.block_on(self.store.charge(&[ask(&self.rate, key, 1)]));
        assert!(began.elapsed() < WAIT + SLACK, "{:?} until {answer:?}", began.elapsed());
        answer.map(|answer| answer.is_ok())
    }

    pub(crate) fn error(&self, key: &Key) -> StoreError {
        self.charge(key).expect_err("the store cannot answer")
    }

    pub(crate) fn used(&self, key: &Key) -> u64 {
        let ask = ask(&self.rate, key, 0);
        10 - self.runtime.block_on(self.store.peek(&ask)).expect("the store answers").remaining
    }

    pub(crate) fn identity(&self) -> Identity {
        self.runtime.block_on(self.store.ping()).expect("the server is there")
    }

    /// Waits until charges are answered again; tells how long that took.
    pub(crate) fn back(&self) -> Duration {
        let began = Instant::now();
        wait_until("the store answers again", || self.charge(&key("back")).is_ok());
        began.elapsed()
    }

    /// Killed, it is an error at once; started again, it is found within two seconds, as another store.
    pub(crate) fn is_killed_and_found_again(&mut self) {
        assert_eq!(self.charge(&key("u")), Ok(true));
        let before = self.identity();
        assert_eq!(before, self.identity(), "it stays who it is");
        self.server.kill();
        wait_until("the loss is known", || self.error(&key("u")).kind() == "unavailable");
        let began = Instant::now();
        for _ in 0..1000 {
            assert_eq!(self.error(&key("u")).kind(), "unavailable");
        }
        assert!(began.elapsed() < SLACK, "a thousand errors took {:?}", began.elapsed());
        let message = self.error(&key("u")).to_string();
        assert!(
            message.contains(&format!("127.0.0.1:{}", self.server.port)) && message.contains("check that"),
            "{message}"
        );
        self.server.run();
        let took = self.back();
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_ne!(before, self.identity(), "what it had counted is gone, and so it is another store");
    }
}

pub(crate) fn key(text: &str) -> Key {
    let mut key = Key::new(0);
    key.push_text('u', text);
    key
}

//! A store over a network, played by a memory that counts what it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis::{LimitRule, Otherwise};
use portcullis_limit::{
    Answer, Ask, BoxFuture, Identity, Key, Limiter, Patience, Receipt, Refused, SharedStore, Standing, StoreError,
};

use crate::house::*;

/// What is given back to it is forgotten, and so stays charged.
#[derive(Debug, Default)]
pub(crate) struct Played {
    memory: Limiter,
    questions: AtomicU64,
}

impl Played {
    /// How many charges and looks it was asked for.
    pub(crate) fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }
}

impl SharedStore for Played {
    fn charge<'a>(&'a self, asks: &'a [Ask<'a>]) -> BoxFuture<'a, Answer> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let answer = self.memory.charge(asks, NOW, &mut Patience::default()).await;
            Ok(answer.map_err(|refused| match refused {
                Refused::Denied(denied) => denied,
                Refused::Unavailable(_) => panic!("a memory is never away"),
            }))
        })
    }

    fn peek<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Standing, StoreError>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(self.memory.peek(ask, NOW)) })
    }

    fn give_back(&self, _: Receipt) {}

    fn reset<'a>(&'a self, _: &'a str, _: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<Identity, StoreError>> {
        Box::pin(async { Ok(Identity::new("played")) })
    }
}

/// A house whose limits are counted there. Ask it inside a runtime: the store is waited for so long and no longer.
pub(crate) fn sharing_house(limits: Vec<LimitRule>) -> (House, Arc<Played>) {
    let store = Arc::new(Played::default());
    let shared = Arc::clone(&store) as Arc<dyn SharedStore>;
    let limiter = Limiter::default().sharing(shared, Duration::from_secs(5), Arc::new(|_| {}));
    (house_on(limiter, projects(), limits, Otherwise::Refuse), store)
}

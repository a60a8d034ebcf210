//! What an operator does to one key: starting it anew, giving units back, blocking it; and to the mark, saying that nothing
//! was lost.
//!
//! All that is done to a key changes what instances may know of refusals, so that it moves the mark by which they forget them.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use portcullis_core::Timestamp;
use tokio::time::Instant;

use super::client::{Client, EPOCH_KEY, RESETS};
use super::request::Request;
use super::script::{self, BLOCK, REWARD, Script};
use super::wire::{Value, Words};
use crate::limiter::Ask;
use crate::store::StoreError;

impl Client {
    pub(super) async fn reset(&self, name: String) -> Result<bool, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let removed = self.command(self.servers.slot(&name), "DEL", &[&name], deadline).await;
        self.forget_everywhere(&name, deadline).await?;
        Ok(removed?.int() == Some(1))
    }

    pub(super) async fn reward(&self, ask: &Ask<'_>) -> Result<(), StoreError> {
        let name = ask.key.name(ask.limit);
        let words = script::reward_words(ask, &name, &self.moved());
        self.operate(&REWARD, &name, words).await.map(drop)
    }

    pub(super) async fn block(&self, name: String, how_long: Duration) -> Result<Timestamp, StoreError> {
        // Rounded up: a block of no time would be none.
        let micros = u64::try_from(how_long.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let until = self.operate(&BLOCK, &name, script::block_words(micros, &name, &self.moved())).await?;
        until.int().and_then(script::moment).ok_or_else(|| self.protocol(&until))
    }

    pub(super) async fn unblock(&self, name: String) -> Result<bool, StoreError> {
        let lifted = self.operate(&BLOCK, &name, script::block_words(0, &name, &self.moved())).await?;
        Ok(lifted.int() == Some(1))
    }

    /// Writes in place of the mark that nothing was lost; the next pulse makes a mark of that.
    pub(super) async fn reopen(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.timeout;
        let words = [EPOCH_KEY, "open", "PX", "86400000"];
        self.command(self.servers.slot(EPOCH_KEY), "SET", &words, deadline).await.map(drop)
    }

    async fn operate(&self, script: &'static Script, name: &str, words: Words) -> Result<Value, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let answer = self.servers.call(self.servers.slot(name), Request::script(script, words), deadline).await;
        self.forget_everywhere(name, deadline).await?;
        self.answer(answer)
    }

    /// Makes every instance forget what it knows of refusals, even if it is not known whether the key was changed, and after
    /// that: whoever reads the mark anew asks after the change.
    async fn forget_everywhere(&self, name: &str, deadline: Instant) -> Result<(), StoreError> {
        let mark = format!("{:016x}", RandomState::new().hash_one(name));
        let told = self.command(self.servers.slot(RESETS), "SET", &[RESETS, &mark, "PX", "86400000"], deadline).await;
        self.refusals.forget_all();
        told.map(drop)
    }
}

//! What an operator does to one key: a reset, a reward, a block.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use portcullis_core::Timestamp;
use tokio::time::Instant;

use super::client::{Client, DAY, RESETS};
use super::frame::{self, Frame};
use super::host::{Host, place};
use super::wire::{Command, Said};
use crate::key::Key;
use crate::limiter::Ask;
use crate::store::StoreError;
use crate::store::net::join;

impl Client {
    pub(super) async fn reset(&self, limit: &str, key: &Key) -> Result<bool, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let name = frame::name(key, limit);
        let host = &self.hosts[place(&self.hosts, &name)];
        let frames = self.frames.read().get(limit).cloned();
        let removed = self.remove(host, frames.as_deref().unwrap_or_default(), &name, deadline).await;
        let lifted = self.lift(host, &name, deadline).await;
        self.tell_of_resets(&name, deadline).await?;
        if frames.is_none() {
            return Err(StoreError::NotReady {
                store: host.name.clone(),
                answer: format!(
                    "nothing was counted here by the limit {limit:?} yet, so that its windows are not known"
                )
                .into(),
            });
        }
        Ok(removed? | lifted?)
    }

    pub(super) async fn reward(&self, ask: &Ask<'_>) -> Result<(), StoreError> {
        let (name, frame) = (frame::name(&ask.key, ask.limit), self.frame(ask)?);
        let deadline = Instant::now() + self.timeout;
        let host = &self.hosts[place(&self.hosts, &name)];
        // Beyond the capacity there is nothing that could lack. Under a block there is no count.
        let cost = ask.cost.min(ask.rate.capacity());
        if cost > 0 {
            let key = frame.item(&name, frame.around(self.now(host, deadline).await?));
            host.lane.call(Command::Release { key, cost }, deadline).await?.or_error(&host.name)?;
        }
        self.refusals.forget(&name);
        Ok(())
    }

    pub(super) async fn block(&self, limit: &str, key: &Key, how_long: Duration) -> Result<Timestamp, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let name = frame::name(key, limit);
        let host = &self.hosts[place(&self.hosts, &name)];
        let now = self.now(host, deadline).await?;
        let until = now.after(how_long);
        let expiry = self.expiry(now, until).ok_or_else(|| host.no_word_for_the_end())?;
        let block = Command::Set { key: frame::block(&name), value: until.as_nanos().to_string(), expiry };
        host.lane.call(block, deadline).await?.or_error(&host.name)?;
        // Later than the block: whoever counts in between is counted with what goes.
        let frames = self.frames.read().get(limit).cloned().unwrap_or_default();
        let removed = self.remove(host, &frames, &name, deadline).await;
        // Another block that was longer may be known.
        self.tell_of_resets(&name, deadline).await?;
        removed.map(|_| until)
    }

    pub(super) async fn unblock(&self, limit: &str, key: &Key) -> Result<bool, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let name = frame::name(key, limit);
        let host = &self.hosts[place(&self.hosts, &name)];
        let lifted = self.lift(host, &name, deadline).await;
        self.tell_of_resets(&name, deadline).await?;
        lifted
    }

    /// Removes the block of a key; `true` if there was one that was not over.
    async fn lift(&self, host: &Host, name: &str, deadline: Instant) -> Result<bool, StoreError> {
        let key = frame::block(name);
        let now = self.now(host, deadline).await?;
        let (held, removed) = tokio::join!(
            biased;
            host.lane.call(Command::Look { key: key.clone() }, deadline),
            host.lane.call(Command::Delete { key }, deadline),
        );
        let removed = removed?.or_error(&host.name)? == Said::Done;
        // Whatever it was that was removed, if it was no moment.
        let until = host.moment(&held?.or_error(&host.name)?).unwrap_or_default();
        Ok(removed && until.is_some_and(|until| until > now))
    }

    /// Removes the counts of a key in the present window of each kind, and in those beside it: another instance may take the
    /// present for one of them.
    async fn remove(&self, host: &Host, frames: &[Frame], name: &str, deadline: Instant) -> Result<bool, StoreError> {
        let now = self.now(host, deadline).await?;
        let moment = Duration::from_nanos(1);
        let windows = frames.iter().flat_map(|frame| {
            let present = frame.around(now);
            let beside = [frame.around(present.start.before(moment)), frame.around(present.end)];
            [present].into_iter().chain(beside).map(move |window| (*frame, window, window == present))
        });
        let removed = join(windows.map(|(frame, window, is_present)| async move {
            let said = host.lane.call(Command::Delete { key: frame.item(name, window) }, deadline).await?;
            Ok::<_, StoreError>(said.or_error(&host.name)? == Said::Done && is_present)
        }));
        let removed = removed.await.into_iter().collect::<Result<Vec<bool>, _>>()?;
        Ok(removed.contains(&true))
    }

    /// Lets all instances forget what they know of refusals. Told even if it is not known whether what it tells of was done,
    /// and after it: whoever reads the mark anew asks later than that.
    async fn tell_of_resets(&self, name: &str, deadline: Instant) -> Result<(), StoreError> {
        let value = format!("{:016x}", RandomState::new().hash_one(name));
        let host = &self.hosts[place(&self.hosts, RESETS)];
        let told = host.lane.call(Command::Set { key: RESETS.into(), value, expiry: DAY }, deadline).await;
        self.refusals.forget_all();
        told?.or_error(&host.name).map(drop)
    }
}

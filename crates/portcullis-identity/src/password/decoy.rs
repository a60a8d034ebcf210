//! What is verified for an address that has no account, so that the time of a failed login does not tell it from one that
//! was imported.
//!
//! An imported hash costs what another system chose until its owner logs in, and a dummy of our own cost would stand out
//! against it. So an address without an account is given one of the hashes that imported accounts have, as often as
//! accounts still have them, and always the same one: which one is a keyed digest of the address.

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;

use super::own::PasswordHash;
use super::stored::StoredHash;
use crate::store::{Store, StoreError, sql};

/// Imported hashes that are kept to choose from.
const KEPT: i64 = 256;

/// The stand-ins of one deployment.
#[derive(Debug)]
pub(crate) struct Decoys {
    key: hmac::Key,
    present: ArcSwap<Present>,
}

/// The imported hashes of the present.
#[derive(Debug, Default)]
struct Present {
    /// How many of 2³² addresses have one.
    share: u64,
    hashes: Vec<StoredHash>,
}

impl Decoys {
    /// The key has to be the same for every process, or an address would change its hash with a restart.
    pub(crate) fn new(key: hmac::Key) -> Self {
        Self { key, present: ArcSwap::default() }
    }

    /// Counts what accounts have.
    pub(crate) async fn catch_up(&self, store: &Store, own: PasswordHash) -> Result<(), StoreError> {
        let ours = format!("{}%", own.prefix());
        let (all,): (i64,) = sql("SELECT count(*) FROM account").fetch_one(store.read()).await?;
        let (imported,): (i64,) = sql("SELECT count(*) FROM account WHERE password NOT LIKE $1 AND password <> $2")
            .bind(&ours)
            .bind(super::NO_PASSWORD)
            .fetch_one(store.read())
            .await?;
        let hashes: Vec<(String,)> =
            sql("SELECT password FROM account WHERE password NOT LIKE $1 AND password <> $2 ORDER BY id LIMIT $3")
                .bind(&ours)
                .bind(super::NO_PASSWORD)
                .bind(KEPT)
                .fetch_all(store.read())
                .await?;
        let hashes =
            hashes.iter().filter_map(|(text,)| StoredHash::parse(text).ok()).map(StoredHash::of_nobody).collect();
        self.present.store(Present::new(all, imported, hashes).into());
        Ok(())
    }

    /// The hash that stands in for an account with this address; `None` for one of our own.
    pub(crate) fn stand_in(&self, email: &str) -> Option<StoredHash> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"decoy\0");
        context.update(email.as_bytes());
        self.present.load().choose(context.sign().as_ref())
    }
}

impl Present {
    fn new(all: i64, imported: i64, hashes: Vec<StoredHash>) -> Self {
        let (all, imported) = (u64::try_from(all).unwrap_or(0), u64::try_from(imported).unwrap_or(0));
        Self { share: (imported.min(all) << 32) / all.max(1), hashes }
    }

    fn choose(&self, digest: &[u8]) -> Option<StoredHash> {
        let word = |at: usize| Some(u32::from_be_bytes(digest.get(at..at + 4)?.try_into().ok()?));
        let count = u32::try_from(self.hashes.len()).ok().filter(|count| *count > 0)?;
        if u64::from(word(0)?) >= self.share {
            return None;
        }
        self.hashes.get(usize::try_from(word(4)? % count).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_as_many_addresses_without_an_account_cost_an_imported_hash_as_accounts_do() {
        let hash = StoredHash::parse("$2b$12$9MQDU5gA8vnKp1ab12TRoenMrr3aZe.T/xcnWgZ0r.tc/EQghN3qO").unwrap();
        for (imported, least, most) in [(0, 0, 0), (250, 400, 600), (1000, 2000, 2000)] {
            let decoys = Decoys::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
            decoys.present.store(Present::new(1000, imported, vec![hash.clone()]).into());
            let chosen = |n: i32| decoys.stand_in(&format!("user{n}@example.com")).is_some();
            let count = (0..2000).filter(|n| chosen(*n)).count();
            assert!((least..=most).contains(&count), "{imported}: {count}");
            assert!((0..50).all(|n| chosen(n) == chosen(n)), "always the same");
        }
        // When owners log in and fewer are imported, addresses only ever go from an imported hash to one of our own.
        let digests: Vec<_> =
            (0_u32..500).map(|n| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &n.to_be_bytes())).collect();
        let (more, fewer) = (Present::new(10, 6, vec![hash.clone()]), Present::new(10, 3, vec![hash]));
        assert!(digests.iter().all(|d| fewer.choose(d.as_ref()).is_none() || more.choose(d.as_ref()).is_some()));
    }
}

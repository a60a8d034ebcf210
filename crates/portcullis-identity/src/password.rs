//! Password hashing (A3) on a few threads of its own with a short queue, so that a flood of logins cannot take the
//! machine away from requests that need no hash.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use portcullis_core::Secret;
use tokio::sync::oneshot;

use crate::error::{IdentityError, OpenError};
use crate::token;

/// The parameters that OWASP's cheat sheet gives for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
/// How many passwords may wait; at some 30 ms for each hash, two for a failed login, a client waits for a second at most.
const QUEUE: usize = 16;

/// Hashes and verifies passwords on threads of its own.
#[derive(Debug)]
pub(crate) struct Hasher {
    queue: SyncSender<Job>,
    /// Verified against when there is nothing else, so that absence takes as long as presence.
    dummy: Arc<str>,
}

/// The hashes that a login may match; each is replaced by a dummy where it is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidates<'a> {
    /// That of the account.
    pub(crate) account: Option<&'a str>,
    /// That of the newest pending registration of the address.
    pub(crate) pending: Option<&'a str>,
}

/// What a password is the password of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proven {
    /// The account.
    Account,
    /// The pending registration, and not the account.
    Pending,
    /// Neither.
    Nothing,
}

#[derive(Debug)]
enum Job {
    Hash(Secret<String>, oneshot::Sender<Result<String, IdentityError>>),
    /// The account's hash, then the pending registration's.
    Verify(Secret<String>, [Arc<str>; 2], oneshot::Sender<Result<Proven, IdentityError>>),
}

impl Hasher {
    /// Starts the threads; they end when the hasher is dropped.
    pub(crate) fn start(threads: usize) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for index in 0..threads.max(1) {
            let jobs = Arc::clone(&jobs);
            std::thread::Builder::new()
                .name(format!("hash-{index}"))
                .spawn(move || work(&jobs))
                .map_err(OpenError::Threads)?;
        }
        // Drawn, not written here: whoever logs in with the dummy's password would be done a hash sooner.
        let nobodys = token::random().map_err(|_| OpenError::Crypto)?;
        let dummy = hash(nobodys.expose()).map_err(|_| OpenError::Crypto)?.into();
        Ok(Self { queue, dummy })
    }

    /// The PHC string of a password.
    pub(crate) async fn hash(&self, password: &Secret<String>) -> Result<String, IdentityError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job::Hash(password.clone(), reply)).map_err(|_| IdentityError::Overloaded)?;
        answer.await.map_err(|_| IdentityError::Crypto)?
    }

    /// What the password is the password of.
    pub(crate) async fn verify(
        &self,
        password: &Secret<String>,
        candidates: Candidates<'_>,
    ) -> Result<Proven, IdentityError> {
        let or_dummy = |hash: Option<&str>| hash.map_or_else(|| Arc::clone(&self.dummy), Arc::from);
        let hashes = [or_dummy(candidates.account), or_dummy(candidates.pending)];
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job::Verify(password.clone(), hashes, reply)).map_err(|_| IdentityError::Overloaded)?;
        // A dummy proves nothing, even to whoever knew its password.
        Ok(match answer.await.map_err(|_| IdentityError::Crypto)?? {
            Proven::Account if candidates.account.is_none() => Proven::Nothing,
            Proven::Pending if candidates.pending.is_none() => Proven::Nothing,
            proven => proven,
        })
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().recv();
        match job {
            // Whoever asked may have gone away; there is nobody to tell then.
            Ok(Job::Hash(password, reply)) => drop(reply.send(hash(password.expose()))),
            Ok(Job::Verify(password, hashes, reply)) => {
                drop(reply.send(prove(&hashes, |hash| verify(password.expose(), hash))));
            }
            Err(_) => return,
        }
    }
}

/// A password that is the account's costs one hash. Any other costs two, whatever there is to compare it with: the time
/// says neither whether the address has an account nor whether somebody has registered it.
fn prove(
    [account, pending]: &[Arc<str>; 2],
    mut matches: impl FnMut(&str) -> Result<bool, IdentityError>,
) -> Result<Proven, IdentityError> {
    if matches(account)? {
        return Ok(Proven::Account);
    }
    Ok(if matches(pending)? { Proven::Pending } else { Proven::Nothing })
}

fn argon2() -> Result<Argon2<'static>, IdentityError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|_| IdentityError::Crypto)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, IdentityError> {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| IdentityError::Crypto)?;
    let hash: PasswordHash =
        argon2()?.hash_password_with_salt(password.as_bytes(), &salt).map_err(|_| IdentityError::Crypto)?;
    Ok(hash.to_string())
}

fn verify(password: &str, hash: &str) -> Result<bool, IdentityError> {
    let hash = PasswordHash::new(hash).map_err(|_| IdentityError::Crypto)?;
    Ok(argon2()?.verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a3_passwords_are_hashed_with_argon2id_at_owasps_parameters() {
        let hasher = Hasher::start(1).unwrap();
        let password = Secret::new("Str0ngEnough".to_owned());
        let hash = hasher.hash(&password).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }

    #[test]
    fn a6_every_failed_login_costs_two_hashes_and_the_right_password_one() {
        let hashes = ["account", "pending"].map(Arc::from);
        for (password, proven, cost) in
            [("account", Proven::Account, 1), ("pending", Proven::Pending, 2), ("other", Proven::Nothing, 2)]
        {
            let mut hashed = 0;
            let told = prove(&hashes, |hash| {
                hashed += 1;
                Ok(hash == password)
            });
            assert_eq!((told.unwrap(), hashed), (proven, cost), "{password}");
        }
    }

    #[tokio::test]
    async fn a6_a_password_proves_what_it_is_the_password_of_and_a_dummy_proves_nothing() {
        let hasher = Hasher::start(1).unwrap();
        let mine = Secret::new("Str0ngEnough".to_owned());
        let hash = hasher.hash(&mine).await.unwrap();
        let (text, hash) = (hash.as_str(), Some(hash.as_str()));
        for (account, pending, proven) in [
            (hash, None, Proven::Account),
            (hash, hash, Proven::Account),
            (None, hash, Proven::Pending),
            (None, None, Proven::Nothing),
        ] {
            assert_eq!(hasher.verify(&mine, Candidates { account, pending }).await.unwrap(), proven);
        }
        let known = Hasher { dummy: text.into(), ..hasher };
        assert_eq!(known.verify(&mine, Candidates::default()).await.unwrap(), Proven::Nothing);
    }

    #[tokio::test]
    async fn a_long_queue_is_refused_at_once() {
        let hasher = Arc::new(Hasher::start(1).unwrap());
        let password = Secret::new("x".to_owned());
        let jobs: Vec<_> = (0..60)
            .map(|_| {
                let (hasher, password) = (Arc::clone(&hasher), password.clone());
                tokio::spawn(async move { hasher.hash(&password).await })
            })
            .collect();
        let mut refused = 0;
        for job in jobs {
            refused += usize::from(matches!(job.await.unwrap(), Err(IdentityError::Overloaded)));
        }
        assert!((1..60).contains(&refused), "{refused}");
    }
}

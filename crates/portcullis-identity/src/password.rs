//! Password hashing (A3) on a few threads of its own with a short queue, so that a flood of logins cannot take the
//! machine away from requests that need no hash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use portcullis_core::Secret;
use tokio::sync::oneshot;

use crate::error::{IdentityError, OpenError};

/// The parameters that OWASP's cheat sheet gives for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
/// How many passwords may wait; at some 30 ms each a client waits for half a second at most.
const QUEUE: usize = 16;

/// Hashes and verifies passwords on threads of its own.
#[derive(Debug)]
pub(crate) struct Hasher {
    queue: SyncSender<Job>,
    /// Verified against when there is no account, so that its absence takes as long as its presence.
    dummy: Arc<str>,
    verified: AtomicU64,
}

#[derive(Debug)]
enum Job {
    Hash(Secret<String>, oneshot::Sender<Result<String, IdentityError>>),
    Verify(Secret<String>, Arc<str>, oneshot::Sender<Result<bool, IdentityError>>),
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
        let dummy = hash("a password that nobody has").map_err(|_| OpenError::Crypto)?.into();
        Ok(Self { queue, dummy, verified: AtomicU64::new(0) })
    }

    /// The PHC string of a password.
    pub(crate) async fn hash(&self, password: &Secret<String>) -> Result<String, IdentityError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job::Hash(password.clone(), reply)).map_err(|_| IdentityError::Overloaded)?;
        answer.await.map_err(|_| IdentityError::Crypto)?
    }

    /// Whether the password is the one that was hashed; without a hash, as slowly, that it is not.
    pub(crate) async fn verify(&self, password: &Secret<String>, hash: Option<&str>) -> Result<bool, IdentityError> {
        let known = hash.is_some();
        let hash = hash.map_or_else(|| Arc::clone(&self.dummy), Arc::from);
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job::Verify(password.clone(), hash, reply)).map_err(|_| IdentityError::Overloaded)?;
        self.verified.fetch_add(1, Ordering::Relaxed);
        Ok(answer.await.map_err(|_| IdentityError::Crypto)?? && known)
    }

    /// How many passwords were verified, dummies included.
    #[cfg(test)]
    pub(crate) fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().recv();
        match job {
            // Whoever asked may have gone away; there is nobody to tell then.
            Ok(Job::Hash(password, reply)) => drop(reply.send(hash(password.expose()))),
            Ok(Job::Verify(password, hash, reply)) => drop(reply.send(verify(password.expose(), &hash))),
            Err(_) => return,
        }
    }
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
        assert!(hasher.verify(&password, Some(&hash)).await.unwrap());
        assert!(!hasher.verify(&Secret::new("other".to_owned()), Some(&hash)).await.unwrap());
        assert!(!hasher.verify(&Secret::new("a password that nobody has".to_owned()), None).await.unwrap());
        assert_eq!(hasher.verified(), 3, "an unknown account costs a hash too");
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

//! Password hashing (A3) on a few threads of its own with a short queue, so that a flood of logins cannot take the
//! machine away from requests that need no hash.

mod argon;
mod bcrypt;
mod decoy;
mod form;
mod own;
mod pbkdf2;
mod scrypt;
mod stored;
#[cfg(test)]
mod vectors;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;
use portcullis_core::Secret;
use tokio::sync::oneshot;

use crate::error::{IdentityError, OpenError};
use crate::token;
pub(crate) use decoy::Decoys;
pub(crate) use form::one_spelling;
pub use own::PasswordHash;
pub use stored::HashRefused;
pub(crate) use stored::StoredHash;

/// How many passwords may wait; at some 30 ms for each hash, two for a failed login, a client waits for a second at most.
const QUEUE: usize = 16;

/// What stands in the place of a hash where an account has no password: no hash that can be read, so that nothing matches
/// it at the price of one.
pub(crate) const NO_PASSWORD: &str = "!";

/// Whether a hash can be stored and verified later.
pub(crate) fn is_known_hash(text: &str) -> Result<(), HashRefused> {
    StoredHash::parse(text).map(drop)
}

/// The algorithm of a stored hash, for an operator.
pub(crate) fn hash_name(text: &str) -> &'static str {
    match StoredHash::parse(text) {
        Ok(StoredHash::Argon(_)) => "argon2",
        Ok(StoredHash::Bcrypt(_)) => "bcrypt",
        Ok(StoredHash::Scrypt(_)) => "scrypt",
        Ok(StoredHash::Pbkdf2(_)) => "pbkdf2",
        Err(_) => "none",
    }
}

/// Hashes and verifies passwords on threads of its own.
#[derive(Debug)]
pub(crate) struct Hasher {
    queue: SyncSender<Job>,
    /// How many jobs wait in it.
    waiting: Arc<AtomicUsize>,
    /// Verified against when there is nothing else, so that absence takes as long as presence: a hash as they are made
    /// today.
    dummy: StoredHash,
}

/// The hashes that a login may match; each is replaced by a dummy where it is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidates<'a> {
    /// That of the account.
    pub(crate) account: Option<&'a str>,
    /// What stands in for it where there is none, instead of a hash as they are made today.
    pub(crate) stand_in: Option<&'a StoredHash>,
    /// That of the newest pending registration of the address.
    pub(crate) pending: Option<&'a str>,
}

/// What a password is the password of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proven {
    /// The account. Where its hash is not what would be made today, it is outdated and should be made again.
    Account {
        /// Whether another system or another configuration made the hash, or the password was hashed as it was typed.
        outdated: bool,
    },
    /// The pending registration, and not the account.
    Pending,
    /// Neither.
    Nothing,
}

#[derive(Debug)]
enum Job {
    Hash(Secret<String>, oneshot::Sender<Result<String, IdentityError>>),
    /// The account's hash, then the pending registration's.
    Verify(Secret<String>, Box<[StoredHash; 2]>, oneshot::Sender<Result<Proven, IdentityError>>),
}

impl Hasher {
    /// Starts the threads; they end when the hasher is dropped.
    pub(crate) fn start(threads: usize, own: PasswordHash) -> Result<Self, OpenError> {
        let (queue, jobs) = sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let waiting = Arc::new(AtomicUsize::new(0));
        for index in 0..threads.max(1) {
            let (jobs, waiting) = (Arc::clone(&jobs), Arc::clone(&waiting));
            std::thread::Builder::new()
                .name(format!("hash-{index}"))
                .spawn(move || {
                    yield_to_others();
                    work(&jobs, &waiting, own);
                })
                .map_err(OpenError::Threads)?;
        }
        // Drawn, not written here: whoever logs in with the dummy's password would be done a hash sooner.
        let nobodys = token::random().map_err(|_| OpenError::Crypto)?;
        let dummy = own.hash(nobodys.expose().as_bytes()).map_err(|_| OpenError::Crypto)?;
        let dummy = StoredHash::parse(&dummy).map_err(|_| OpenError::Crypto)?;
        Ok(Self { queue, waiting, dummy })
    }

    /// Whether another job would be taken at the moment. Asked before anything else is done for one: in a flood most are
    /// not, and what they cost is taken from everybody.
    ///
    /// # Errors
    /// [`IdentityError::Overloaded`] where too many wait already.
    pub(crate) fn has_room(&self) -> Result<(), IdentityError> {
        if self.waiting.load(Ordering::Relaxed) < QUEUE { Ok(()) } else { Err(IdentityError::Overloaded) }
    }

    fn submit(&self, job: Job) -> Result<(), IdentityError> {
        // Counted before it can be taken, so that the count never falls below zero.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            IdentityError::Overloaded
        })
    }

    /// The hash of a password, as text.
    pub(crate) async fn hash(&self, password: &Secret<String>) -> Result<String, IdentityError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Hash(password.clone(), reply))?;
        answer.await.map_err(|_| IdentityError::Crypto)?
    }

    /// What the password is the password of.
    pub(crate) async fn verify(
        &self,
        password: &Secret<String>,
        candidates: Candidates<'_>,
    ) -> Result<Proven, IdentityError> {
        // What cannot be read is nobody's password, at the price of one.
        let [account, pending] =
            [candidates.account, candidates.pending].map(|text| text.and_then(|text| StoredHash::parse(text).ok()));
        let (has_account, has_pending) = (account.is_some(), pending.is_some());
        let dummy = || self.dummy.clone();
        let hashes =
            [account.or_else(|| candidates.stand_in.cloned()).unwrap_or_else(dummy), pending.unwrap_or_else(dummy)];
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Verify(password.clone(), Box::new(hashes), reply))?;
        // A dummy proves nothing, even to whoever knew its password.
        Ok(match answer.await.map_err(|_| IdentityError::Crypto)?? {
            Proven::Account { .. } if !has_account => Proven::Nothing,
            Proven::Pending if !has_pending => Proven::Nothing,
            proven => proven,
        })
    }
}

/// How far a thread that hashes stands back (`nice`): far enough that a request which needs no hash takes the processor
/// from it at once, not so far that logins starve while everything else is busy.
const NICENESS: i32 = 10;

/// Lets every other thread go first. Linux keeps a niceness for each thread; where it cannot be set, hashing competes as
/// an equal, which costs others latency and nobody safety.
#[cfg(target_os = "linux")]
fn yield_to_others() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "threads that hash passwords keep their priority");
    }
}

/// Elsewhere a niceness is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn yield_to_others() {}

fn work(jobs: &Mutex<Receiver<Job>>, waiting: &AtomicUsize, own: PasswordHash) {
    loop {
        let Ok(job) = jobs.lock().recv() else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        match job {
            // Whoever asked may have gone away; there is nobody to tell then.
            Job::Hash(password, reply) => {
                drop(reply.send(own.hash(one_spelling(password.expose()).expose().as_bytes())));
            }
            Job::Verify(password, hashes, reply) => drop(reply.send(judge(&password, &hashes, own))),
        }
    }
}

/// Tries the password in its one spelling and, where that is another, as it was typed: another system may have hashed it
/// so. That is done for every hash and every dummy alike.
fn judge(password: &Secret<String>, hashes: &[StoredHash; 2], own: PasswordHash) -> Result<Proven, IdentityError> {
    let spelled = one_spelling(password.expose());
    let as_typed = (spelled != *password).then_some(password);
    let mut typed_matched = false;
    let proven = prove(hashes, |hash| {
        if hash.matches(spelled.expose().as_bytes())? {
            return Ok(true);
        }
        typed_matched = as_typed.map_or(Ok(false), |typed| hash.matches(typed.expose().as_bytes()))?;
        Ok(typed_matched)
    })?;
    Ok(match proven {
        Proven::Account { .. } => Proven::Account { outdated: typed_matched || !hashes[0].is_as_configured(own) },
        other => other,
    })
}

/// A password that is the account's costs one hash. Any other costs two, whatever there is to compare it with: the time
/// says neither whether the address has an account nor whether somebody has registered it.
fn prove<H>(
    [account, pending]: &[H; 2],
    mut matches: impl FnMut(&H) -> Result<bool, IdentityError>,
) -> Result<Proven, IdentityError> {
    if matches(account)? {
        return Ok(Proven::Account { outdated: false });
    }
    Ok(if matches(pending)? { Proven::Pending } else { Proven::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: Proven = Proven::Account { outdated: false };

    fn start() -> Hasher {
        Hasher::start(1, PasswordHash::Argon2id).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hashing_stands_back_for_whatever_needs_no_hash() {
        let hasher = start();
        // Its threads have begun to work once one has answered.
        hasher.hash(&Secret::new("a password".to_owned())).await.unwrap();
        let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
        let mut seen = 0;
        for stat in std::fs::read_dir("/proc/self/task").unwrap().filter_map(|entry| stat(entry.unwrap())) {
            let (head, fields) = stat.rsplit_once(") ").unwrap();
            // proc_pid_stat(5): the niceness is the 19th field, and the state, the first after the name, the third.
            let nice: i32 = fields.split(' ').nth(16).unwrap().parse().unwrap();
            let hashes = head.contains("(hash-");
            // The threads of a hasher that another test has just started may not have stood back yet.
            assert!(hashes || nice != NICENESS, "only hashing stands back: {stat}");
            seen += usize::from(hashes && nice == NICENESS);
        }
        assert!(seen > 0, "the thread that hashes stands back");
    }

    #[test]
    fn a6_every_failed_login_costs_two_hashes_and_the_right_password_one() {
        let hashes = ["account", "pending"];
        for (password, proven, cost) in
            [("account", CURRENT, 1), ("pending", Proven::Pending, 2), ("other", Proven::Nothing, 2)]
        {
            let mut hashed = 0;
            let told = prove(&hashes, |hash| {
                hashed += 1;
                Ok(*hash == password)
            });
            assert_eq!((told.unwrap(), hashed), (proven, cost), "{password}");
        }
    }

    #[tokio::test]
    async fn a6_a_password_proves_what_it_is_the_password_of_and_a_dummy_proves_nothing() {
        let hasher = start();
        let mine = Secret::new("Str0ngEnough".to_owned());
        let hash = hasher.hash(&mine).await.unwrap();
        let (text, hash) = (hash.as_str(), Some(hash.as_str()));
        for (account, pending, proven) in
            [(hash, None, CURRENT), (hash, hash, CURRENT), (None, hash, Proven::Pending), (None, None, Proven::Nothing)]
        {
            assert_eq!(hasher.verify(&mine, Candidates { account, pending, stand_in: None }).await.unwrap(), proven);
        }
        // A hash that cannot be read is nobody's; so is the mark of an account without a password.
        for account in [Some("!"), Some("another hash")] {
            assert_eq!(
                hasher.verify(&mine, Candidates { account, ..Candidates::default() }).await.unwrap(),
                Proven::Nothing
            );
        }
        let known = Hasher { dummy: StoredHash::parse(text).unwrap(), ..hasher };
        assert_eq!(known.verify(&mine, Candidates::default()).await.unwrap(), Proven::Nothing);
        let stand_in = StoredHash::parse(text).unwrap();
        let candidates = Candidates { stand_in: Some(&stand_in), ..Candidates::default() };
        assert_eq!(known.verify(&mine, candidates).await.unwrap(), Proven::Nothing);
    }

    #[tokio::test]
    async fn a_long_queue_is_refused_at_once() {
        let hasher = Arc::new(start());
        let password = Secret::new("x".to_owned());
        let jobs: Vec<_> = (0..60)
            .map(|_| {
                let (hasher, password) = (Arc::clone(&hasher), password.clone());
                tokio::spawn(async move { hasher.hash(&password).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(matches!(hasher.has_room(), Err(IdentityError::Overloaded)), "and is told before anything is asked");
        let mut refused = 0;
        for job in jobs {
            refused += usize::from(matches!(job.await.unwrap(), Err(IdentityError::Overloaded)));
        }
        assert!((1..60).contains(&refused), "{refused}");
        assert!(hasher.has_room().is_ok());
    }
}

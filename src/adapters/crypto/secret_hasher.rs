//! Hashing of client secrets with bcrypt, once for each secret.
//!
//! `bcrypt(secret) == hash` is a pure function, so its positive results are kept, as an HMAC of hash and secret: in this
//! process, and in the store, where the next process finds it. The key of the HMAC is derived from the signing key and
//! is in no store, so that a copy of a store checks no guess faster than bcrypt does. The result belongs to the hash that
//! it was made with, so a rotated secret needs no invalidation. Whether the hash is still that of a live credential is
//! for the store to say. Results that are not known are computed on dedicated threads behind a bounded queue, once for
//! all concurrent callers with the same question.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use moka::sync::Cache;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::hasher_metrics::{Found, HasherMetrics};
use domain::credential::StoredSecret;
use domain::id::OrganizationId;
use domain::secret::{ClientSecret, SecretDigest, SecretHash};
use ports::secret_hasher::{HasherError, SecretHasher, Verification};
use shares::{Place, Shares};

/// Maximum number of hashes that wait for a thread.
///
/// At 66 ms each, a full queue takes two seconds on two idle cores, and about eight seconds on two cores that other
/// work keeps busy.
const MAX_WAITING: usize = 64;
/// Maximum number of unfinished hashes of new secrets.
///
/// Lower than the queue, because creating credentials must not keep other agents from their first login.
const MAX_NEW: usize = 16;
/// Maximum number of secrets of one organization that are checked for the first time concurrently.
///
/// For new secrets an organization can use half of the threads, so that there is always a thread that other
/// organizations wait for no longer than for one hash.
const MAX_CHECKED_OF_ONE: usize = 8;
/// Maximum time that a new secret waits for a place.
const WAIT_FOR_NEW: Duration = Duration::from_secs(2);
/// Maximum time that a secret to be checked waits for a place.
const WAIT_FOR_CHECK: Duration = Duration::from_secs(3);
/// Maximum number of correct secrets cached.
const MAX_REMEMBERED: u64 = 100_000;

/// `nice` value added to the threads: on a contended core they get a quarter of the time.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

type Question = [u8; 32];
type Answer = Result<bool, Arc<bcrypt::BcryptError>>;
type Job = Box<dyn FnOnce() + Send>;

/// Hashes secrets with bcrypt, and caches correct ones.
pub struct BcryptHasher {
    cost: u32,
    jobs: SyncSender<Job>,
    new: Arc<Semaphore>,
    new_shares: Shares,
    checked_shares: Shares,
    keys: RwLock<Arc<DigestKeys>>,
    remembered: Cache<Question, ()>,
    flights: Arc<Mutex<Flights>>,
    metrics: HasherMetrics,
}

/// Keys of digests: that of the current signing key, and that of the one before it.
struct DigestKeys {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

#[derive(Default)]
struct Flights(HashMap<Question, Vec<oneshot::Sender<Answer>>>);

impl BcryptHasher {
    /// Creates a hasher of this cost (4 to 14), whose digests have this key.
    pub fn new(cost: u32, digest_key: &[u8; 32]) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads() {
            let waiting = waiting.clone();
            std::thread::Builder::new().name("bcrypt".to_owned()).spawn(move || {
                yield_to_others();
                work(&waiting);
            })?;
        }
        let current = hmac::Key::new(hmac::HMAC_SHA256, digest_key);
        Ok(Self {
            cost,
            jobs,
            new: Arc::new(Semaphore::new(MAX_NEW)),
            new_shares: Shares::of(threads() / 2),
            checked_shares: Shares::of(MAX_CHECKED_OF_ONE),
            keys: RwLock::new(Arc::new(DigestKeys { current, previous: None })),
            remembered: Cache::new(MAX_REMEMBERED),
            flights: Arc::default(),
            metrics: HasherMetrics::new(),
        })
    }

    /// Replaces the key of digests. Digests of the key before it are still recognized, and replaced.
    pub fn reload(&self, digest_key: &[u8; 32]) {
        let current = hmac::Key::new(hmac::HMAC_SHA256, digest_key);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let sample = |key| hmac::sign(key, b"");
        if sample(&current).as_ref() != sample(&keys.current).as_ref() {
            *keys = Arc::new(DigestKeys { current, previous: Some(keys.current.clone()) });
        }
    }

    fn keys(&self) -> Arc<DigestKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the secret with this digest is known to be right.
    fn is_known(&self, digest: &Question, stored: &StoredSecret) -> bool {
        if self.remembered.contains_key(digest) {
            self.metrics.found(Found::InMemory);
            return true;
        }
        // Kept here too, because a rotation removes the digest while the secret has its grace period.
        let is_stored = stored.digest.is_some_and(|it| verify_slices_are_equal(&it.0, digest).is_ok());
        if is_stored {
            self.metrics.found(Found::InStore);
            self.remembered.insert(*digest, ());
        }
        is_stored
    }

    fn submit(&self, job: Job) -> Result<(), HasherError> {
        self.jobs.try_send(self.metrics.measured(job)).map_err(|refused| {
            self.metrics.refused();
            match refused {
                TrySendError::Full(_) => HasherError::Overloaded,
                TrySendError::Disconnected(_) => HasherError::Broken("its threads have stopped".into()),
            }
        })
    }

    /// Joins the flight for this question, or starts one. Returns whether it started one.
    fn ask(
        &self,
        question: Question,
        secret: &ClientSecret,
        hash: &SecretHash,
        place: Option<Place>,
    ) -> Result<(oneshot::Receiver<Answer>, bool), HasherError> {
        let (sender, answer) = oneshot::channel();
        let mut flights = lock(&self.flights);
        if let Some(passengers) = flights.0.get_mut(&question) {
            passengers.push(sender);
            return Ok((answer, false));
        }
        let (secret, hash, all) = (secret.clone(), hash.clone(), self.flights.clone());
        let remembered = self.remembered.clone();
        self.submit(Box::new(move || {
            let _place = place;
            // Even after a panic, dropping the flight ends it and gives the waiting callers an error.
            let flight = Flight { question, all, has_landed: false };
            let outcome = bcrypt::non_truncating_verify(secret.expose(), &hash.0).map_err(Arc::new);
            if matches!(outcome, Ok(true)) {
                remembered.insert(question, ());
            }
            for passenger in flight.land() {
                // The caller may have stopped waiting; that is not an error.
                let _ = passenger.send(outcome.clone());
            }
        }))?;
        flights.0.insert(question, vec![sender]);
        Ok((answer, true))
    }
}

/// A running check that all concurrent callers with the same question wait for.
struct Flight {
    question: Question,
    all: Arc<Mutex<Flights>>,
    has_landed: bool,
}

impl Flight {
    /// Ends the flight, and returns its waiting callers.
    ///
    /// From then on the same question starts another flight.
    fn land(mut self) -> Vec<oneshot::Sender<Answer>> {
        self.has_landed = true;
        lock(&self.all).0.remove(&self.question).unwrap_or_default()
    }
}

impl Drop for Flight {
    /// Releases the callers that wait for an unfinished check.
    ///
    /// A finished check removes nothing, because another check of the same secret may have begun.
    fn drop(&mut self) {
        if !self.has_landed {
            lock(&self.all).0.remove(&self.question);
        }
    }
}

#[async_trait]
impl SecretHasher for BcryptHasher {
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<StoredSecret, HasherError> {
        let place = async { (self.new_shares.enter(whose.0).await, self.new.clone().acquire_owned().await) };
        let place = timeout(WAIT_FOR_NEW, place).await.map_err(|_| HasherError::Overloaded)?;
        let (sender, answer) = oneshot::channel();
        let (own, cost) = (secret.clone(), self.cost);
        self.submit(Box::new(move || {
            let _place = place;
            // The caller may have stopped waiting; that is not an error.
            let _ = sender.send(bcrypt::non_truncating_hash(own.expose(), cost));
        }))?;
        let outcome = answer.await.map_err(|gone| HasherError::Broken(Box::new(gone)))?;
        let hash = SecretHash(outcome.map_err(|fault| HasherError::Broken(Box::new(fault)))?);
        let digest = Some(SecretDigest(digest(&self.keys().current, secret, &hash)));
        Ok(StoredSecret { fingerprint: secret.fingerprint(), hash, digest })
    }

    async fn verify(
        &self,
        secret: &ClientSecret,
        stored: &StoredSecret,
        whose: OrganizationId,
    ) -> Result<Verification, HasherError> {
        let keys = self.keys();
        let question = digest(&keys.current, secret, &stored.hash);
        if self.is_known(&question, stored) {
            return Ok(Verification::Right { new_digest: None });
        }
        if let Some(previous) = &keys.previous
            && self.is_known(&digest(previous, secret, &stored.hash), stored)
        {
            self.remembered.insert(question, ());
            return Ok(Verification::Right { new_digest: Some(SecretDigest(question)) });
        }
        self.metrics.found(Found::Nowhere);
        let place = timeout(WAIT_FOR_CHECK, self.checked_shares.enter(whose.0)).await;
        let place = place.map_err(|_| HasherError::Overloaded)?;
        if self.remembered.contains_key(&question) {
            return Ok(Verification::Right { new_digest: None });
        }
        let (answer, is_first) = self.ask(question, secret, &stored.hash, Some(place))?;
        let outcome = answer.await.map_err(|gone| HasherError::Broken(Box::new(gone)))?;
        match outcome.map_err(|fault| HasherError::Broken(Box::new(fault)))? {
            true => Ok(Verification::Right { new_digest: is_first.then_some(SecretDigest(question)) }),
            false => Ok(Verification::Wrong),
        }
    }
}

fn digest(key: &hmac::Key, secret: &ClientSecret, hash: &SecretHash) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(hash.0.as_bytes());
    context.update(&[0]);
    context.update(secret.expose().as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

fn lock(flights: &Mutex<Flights>) -> MutexGuard<'_, Flights> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the number of hashing threads.
///
/// There is one per core if threads with a low priority yield to others; otherwise one fewer, but at least one. A
/// CPU quota, as containers have it, ignores priorities: threads that use it up stop all others.
fn threads() -> usize {
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_os = "linux")]
    let has_priorities =
        rustix::thread::sched_getaffinity(None).is_ok_and(|cores| cores.count() as usize <= parallel);
    #[cfg(not(target_os = "linux"))]
    let has_priorities = false;
    if has_priorities { parallel } else { (parallel - 1).max(1) }
}

/// Lowers the thread's priority, so that a burst of logins does not starve request handling.
fn yield_to_others() {
    // On Linux each thread has its own priority; elsewhere this would lower that of the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "cannot lower the priority of the bcrypt threads");
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // A panic must not end the thread. The callers get an error when the job is dropped.
            Ok(job) => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use tokio::task::JoinSet;

    use uuid::Uuid;

    use super::*;
    use domain::secret::RANDOM_BYTES;

    const OWNER: OrganizationId = OrganizationId(Uuid::from_u128(1));

    #[tokio::test]
    async fn the_right_secret_passes_remembered_or_not_and_no_other_does() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let other = ClientSecret::from_random([2; RANDOM_BYTES]);
        let stored = without_digest(&secret).await;
        let hasher = hasher();
        for is_first in [true, false] {
            let right = hasher.verify(&secret, &stored, OWNER).await.expect("an answer");
            let Verification::Right { new_digest } = right else { panic!("it is right") };
            assert_eq!(new_digest.is_some(), is_first, "offered once");
            assert_eq!(hasher.verify(&other, &stored, OWNER).await.expect("an answer"), Verification::Wrong);
        }
    }

    #[tokio::test]
    async fn a_digest_spares_the_hash_to_who_has_its_key_and_to_nobody_else() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let wrong = ClientSecret::from_random([2; RANDOM_BYTES]);
        let stored = hasher().hash(&secret, OWNER).await.expect("a hash");
        let same_key = hasher();
        let gate = hold_every_thread(&same_key);
        let known = same_key.verify(&secret, &stored, OWNER).await.expect("an answer");
        assert_eq!(known, Verification::Right { new_digest: None });
        gate.wait();
        assert_eq!(same_key.verify(&wrong, &stored, OWNER).await.expect("an answer"), Verification::Wrong);

        let other_key = BcryptHasher::new(4, &[8; 32]).expect("threads");
        let unknown = other_key.verify(&secret, &stored, OWNER).await.expect("an answer");
        let Verification::Right { new_digest: Some(digest) } = unknown else { panic!("hashed: {unknown:?}") };
        assert_ne!(Some(digest), stored.digest);
        let other_hash = StoredSecret { hash: without_digest(&wrong).await.hash, ..stored };
        let moved = hasher().verify(&secret, &other_hash, OWNER).await.expect("an answer");
        assert_eq!(moved, Verification::Wrong, "a digest is that of one hash");
    }

    #[tokio::test]
    async fn what_was_known_by_the_key_before_is_known_by_the_new_key_without_a_hash() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let hasher = hasher();
        let stored = hasher.hash(&secret, OWNER).await.expect("a hash");
        let gate = hold_every_thread(&hasher);
        // Loading the same key again does not forget the key before it.
        for key in [[8; 32], [8; 32]] {
            hasher.reload(&key);
        }
        let known = hasher.verify(&secret, &stored, OWNER).await.expect("an answer");
        let Verification::Right { new_digest: Some(digest) } = known else { panic!("known: {known:?}") };
        let stored = StoredSecret { digest: Some(digest), ..stored };
        let known = hasher.verify(&secret, &stored, OWNER).await.expect("an answer");
        assert_eq!(known, Verification::Right { new_digest: None });
        gate.wait();
    }

    #[tokio::test]
    async fn a_wrong_secret_that_is_tried_again_at_once_is_answered_each_time() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let wrong = ClientSecret::from_random([2; RANDOM_BYTES]);
        let hasher = hasher();
        let stored = hasher.hash(&secret, OWNER).await.expect("a hash");
        for attempt in 0..300 {
            let answer = hasher.verify(&wrong, &stored, OWNER).await;
            assert!(matches!(answer, Ok(Verification::Wrong)), "attempt {attempt}: {answer:?}");
        }
    }

    fn hasher() -> BcryptHasher {
        BcryptHasher::new(4, &[7; 32]).expect("threads")
    }

    async fn without_digest(secret: &ClientSecret) -> StoredSecret {
        StoredSecret { digest: None, ..hasher().hash(secret, OWNER).await.expect("a hash") }
    }

    /// Keeps every thread busy until the test waits on the returned barrier.
    fn hold_every_thread(hasher: &BcryptHasher) -> Arc<Barrier> {
        let gate = Arc::new(Barrier::new(threads() + 1));
        for _ in 0..threads() {
            let gate = gate.clone();
            let wait = move || {
                gate.wait();
            };
            hasher.submit(Box::new(wait)).expect("room");
        }
        gate
    }

    #[tokio::test]
    async fn one_question_asked_by_many_at_once_is_one_flight() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let hash = without_digest(&secret).await.hash;
        let hasher = hasher();
        let gate = hold_every_thread(&hasher);
        let question = digest(&hasher.keys().current, &secret, &hash);
        // More than the queue holds: if each were a job, the queue would be full.
        let asked: Vec<_> = (0..3 * MAX_WAITING)
            .map(|_| hasher.ask(question, &secret, &hash, None).expect("one job"))
            .collect();
        assert_eq!(asked.iter().filter(|(_, is_first)| *is_first).count(), 1);
        gate.wait();
        for (answer, _) in asked {
            assert!(answer.await.expect("an answer").expect("a hash"));
        }
    }

    #[tokio::test]
    async fn new_secrets_of_one_organization_leave_places_to_others_and_all_leave_room_to_log_in() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let hash = without_digest(&secret).await.hash;
        let hasher = Arc::new(hasher());
        let gate = hold_every_thread(&hasher);
        let mut made = JoinSet::new();
        let mut make = |whose: OrganizationId| {
            let (hasher, secret) = (hasher.clone(), secret.clone());
            made.spawn(async move { (whose, hasher.hash(&secret, whose).await.is_ok()) });
        };
        for _ in 0..4 * MAX_NEW {
            make(OWNER);
        }
        let other = OrganizationId(Uuid::from_u128(2));
        make(other);
        // All without a place are refused after their wait; the others wait for the barrier.
        let share = (threads() / 2).max(1);
        for _ in 0..4 * MAX_NEW - share {
            let refused = made.join_next().await.expect("an answer").expect("no panic");
            assert_eq!(refused, (OWNER, false));
        }
        let question = digest(&hasher.keys().current, &secret, &hash);
        let (asked, _) = hasher.ask(question, &secret, &hash, None).expect("there is room");
        gate.wait();
        assert!(asked.await.expect("an answer").expect("a hash"));
        let mut hashed = Vec::new();
        while let Some(one) = made.join_next().await {
            hashed.push(one.expect("no panic"));
        }
        assert_eq!(hashed.len(), share + 1);
        assert!(hashed.contains(&(other, true)) && hashed.iter().all(|(_, is_made)| *is_made));
        hasher.hash(&secret, OWNER).await.expect("a place is free again");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_stand_back_behind_others() {
        let niceness = || rustix::process::getpriority_process(None).expect("a priority");
        let hasher = hasher();
        let (sender, answer) = oneshot::channel();
        hasher.submit(Box::new(move || sender.send(niceness()).expect("it is waited for"))).expect("room");
        let theirs = answer.await.expect("an answer");
        assert_eq!(theirs, (niceness() + NICENESS).min(19), "19 is the most there is");
    }

    #[tokio::test]
    async fn a_full_queue_is_told_and_nothing_grows() {
        let hasher = hasher();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut refused = None;
        for _ in 0..MAX_WAITING + threads() + 8 {
            let gate = gate.clone();
            let job: Job = Box::new(move || {
                let _ = gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
            });
            if let Err(error) = hasher.submit(job) {
                refused = Some(error);
                break;
            }
        }
        assert!(matches!(refused, Some(HasherError::Overloaded)));
        drop(open);
    }
}

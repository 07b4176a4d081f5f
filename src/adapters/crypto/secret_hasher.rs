//! bcrypt, once for each secret.
//!
//! `bcrypt(secret) == hash` is a pure function, so its *true* answers are remembered, under an HMAC of hash
//! and secret by a key that lives and dies with the process. The hash comes from the store each time, so a
//! rotated or revoked secret needs no invalidation. What is not remembered is computed on threads of its own,
//! one flight for each question, behind a bounded queue.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::{hmac, rand::SystemRandom};
use moka::sync::Cache;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::domain::id::OrganizationId;
use crate::domain::secret::{ClientSecret, SecretHash};
use crate::ports::secret_hasher::{HasherError, SecretHasher};
use crate::shares::{Place, Shares};

/// How many hashes may wait for a thread. At 66 ms each, a full queue is two seconds on two idle cores, and some eight on
/// two that others keep busy.
const MAX_WAITING: usize = 64;
/// How many of them may be of new secrets: whoever makes credentials must not keep others from their first login.
const MAX_NEW: usize = 16;
/// How many of its secrets one organization may have checked for the first time at once. Of new ones it has half of the
/// threads, so that there is always one that others wait for no longer than for one hash.
const MAX_CHECKED_OF_ONE: usize = 8;
/// How long one waits for a place among the new ones, and among those that are checked.
const WAIT_FOR_NEW: Duration = Duration::from_secs(2);
const WAIT_FOR_CHECK: Duration = Duration::from_secs(3);
/// How many right secrets are remembered.
const MAX_REMEMBERED: u64 = 100_000;

/// How far the threads stand back, as `nice` counts it: on a core that another thread wants too they get a quarter.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

type Question = [u8; 32];
type Answer = Result<bool, Arc<bcrypt::BcryptError>>;
type Job = Box<dyn FnOnce() + Send>;

/// Hashes by bcrypt and remembers what was right.
pub struct BcryptHasher {
    cost: u32,
    jobs: SyncSender<Job>,
    new: Arc<Semaphore>,
    new_shares: Shares,
    checked_shares: Shares,
    key: hmac::Key,
    remembered: Cache<Question, ()>,
    flights: Arc<Mutex<Flights>>,
}

#[derive(Default)]
struct Flights(HashMap<Question, Vec<oneshot::Sender<Answer>>>);

impl BcryptHasher {
    /// A hasher of that cost (4 to 14).
    pub fn new(cost: u32) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(MAX_WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads() {
            let waiting = waiting.clone();
            std::thread::Builder::new().name("bcrypt".to_owned()).spawn(move || {
                yield_to_others();
                work(&waiting);
            })?;
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            cost,
            jobs,
            new: Arc::new(Semaphore::new(MAX_NEW)),
            new_shares: Shares::of(threads() / 2),
            checked_shares: Shares::of(MAX_CHECKED_OF_ONE),
            key: key.map_err(std::io::Error::other)?,
            remembered: Cache::new(MAX_REMEMBERED),
            flights: Arc::default(),
        })
    }

    fn question(&self, secret: &ClientSecret, hash: &SecretHash) -> Question {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.0.as_bytes());
        context.update(&[0]);
        context.update(secret.expose().as_bytes());
        let mut question = [0; 32];
        question.copy_from_slice(context.sign().as_ref());
        question
    }

    fn submit(&self, job: Job) -> Result<(), HasherError> {
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => HasherError::Overloaded,
            TrySendError::Disconnected(_) => HasherError::Broken("its threads have stopped".into()),
        })
    }

    /// Joins the flight that answers this question, or starts it.
    fn ask(
        &self,
        question: Question,
        secret: &ClientSecret,
        hash: &SecretHash,
        place: Option<Place>,
    ) -> Result<oneshot::Receiver<Answer>, HasherError> {
        let (sender, answer) = oneshot::channel();
        let mut flights = lock(&self.flights);
        if let Some(passengers) = flights.0.get_mut(&question) {
            passengers.push(sender);
            return Ok(answer);
        }
        let (secret, hash, all) = (secret.clone(), hash.clone(), self.flights.clone());
        let remembered = self.remembered.clone();
        self.submit(Box::new(move || {
            let _place = place;
            metrics::counter!("agentidp_bcrypt_total", "operation" => "verify").increment(1);
            // Whatever happens here, the flight ends, and its passengers are told.
            let flight = Flight { question, all, has_landed: false };
            let outcome = bcrypt::non_truncating_verify(secret.expose(), &hash.0).map_err(Arc::new);
            if matches!(outcome, Ok(true)) {
                remembered.insert(question, ());
            }
            for passenger in flight.land() {
                // Whoever no longer waits has gone away; that is no fault.
                let _ = passenger.send(outcome.clone());
            }
        }))?;
        flights.0.insert(question, vec![sender]);
        Ok(answer)
    }
}

/// A question on its way to an answer.
struct Flight {
    question: Question,
    all: Arc<Mutex<Flights>>,
    has_landed: bool,
}

impl Flight {
    /// Ends the flight. From then on the same question starts another one.
    fn land(mut self) -> Vec<oneshot::Sender<Answer>> {
        self.has_landed = true;
        lock(&self.all).0.remove(&self.question).unwrap_or_default()
    }
}

impl Drop for Flight {
    /// One that never landed lets its passengers go; after a landing there may be another of the same question.
    fn drop(&mut self) {
        if !self.has_landed {
            lock(&self.all).0.remove(&self.question);
        }
    }
}

#[async_trait]
impl SecretHasher for BcryptHasher {
    async fn hash(&self, secret: &ClientSecret, whose: OrganizationId) -> Result<SecretHash, HasherError> {
        let place = async { (self.new_shares.enter(whose.0).await, self.new.clone().acquire_owned().await) };
        let place = timeout(WAIT_FOR_NEW, place).await.map_err(|_| HasherError::Overloaded)?;
        let (sender, answer) = oneshot::channel();
        let (own, cost) = (secret.clone(), self.cost);
        self.submit(Box::new(move || {
            let _place = place;
            metrics::counter!("agentidp_bcrypt_total", "operation" => "hash").increment(1);
            // Whoever no longer waits has gone away; that is no fault.
            let _ = sender.send(bcrypt::non_truncating_hash(own.expose(), cost));
        }))?;
        let outcome = answer.await.map_err(|gone| HasherError::Broken(Box::new(gone)))?;
        let hash = SecretHash(outcome.map_err(|fault| HasherError::Broken(Box::new(fault)))?);
        self.remembered.insert(self.question(secret, &hash), ());
        Ok(hash)
    }

    async fn verify(
        &self,
        secret: &ClientSecret,
        hash: &SecretHash,
        whose: OrganizationId,
    ) -> Result<bool, HasherError> {
        let question = self.question(secret, hash);
        if self.remembered.contains_key(&question) {
            return Ok(true);
        }
        let place = timeout(WAIT_FOR_CHECK, self.checked_shares.enter(whose.0)).await;
        let place = place.map_err(|_| HasherError::Overloaded)?;
        if self.remembered.contains_key(&question) {
            return Ok(true);
        }
        let answer = self.ask(question, secret, hash, Some(place))?;
        let outcome = answer.await.map_err(|gone| HasherError::Broken(Box::new(gone)))?;
        outcome.map_err(|fault| HasherError::Broken(Box::new(fault)))
    }
}

fn lock(flights: &Mutex<Flights>) -> MutexGuard<'_, Flights> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many hash at once: as many as there are cores, where they can stand back behind others; else all but one. A quota of
/// processor time, as containers have it, knows no priorities: who uses it up stops all others.
fn threads() -> usize {
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_os = "linux")]
    let has_priorities =
        rustix::thread::sched_getaffinity(None).is_ok_and(|cores| cores.count() as usize <= parallel);
    #[cfg(not(target_os = "linux"))]
    let has_priorities = false;
    if has_priorities { parallel } else { (parallel - 1).max(1) }
}

/// Lets other threads go first: a thousand agents that come back at once may have what these leave of the machine, and a
/// quarter of what they want too.
fn yield_to_others() {
    // On Linux a thread has a priority of its own; elsewhere this would be that of the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "cannot lower the priority of the bcrypt threads");
    }
}

fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // A job that panics must not take its thread with it; those who wait for it are told by its end.
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
    use crate::domain::secret::RANDOM_BYTES;

    const OWNER: OrganizationId = OrganizationId(Uuid::from_u128(1));

    #[tokio::test]
    async fn the_right_secret_passes_remembered_or_not_and_no_other_does() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let other = ClientSecret::from_random([2; RANDOM_BYTES]);
        let hash = BcryptHasher::new(4).expect("threads").hash(&secret, OWNER).await.expect("a hash");
        let hasher = BcryptHasher::new(4).expect("threads");
        for _ in 0..2 {
            assert!(hasher.verify(&secret, &hash, OWNER).await.expect("an answer"));
            assert!(!hasher.verify(&other, &hash, OWNER).await.expect("an answer"));
        }
    }

    #[tokio::test]
    async fn a_wrong_secret_that_is_tried_again_at_once_is_answered_each_time() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let wrong = ClientSecret::from_random([2; RANDOM_BYTES]);
        let hasher = BcryptHasher::new(4).expect("threads");
        let hash = hasher.hash(&secret, OWNER).await.expect("a hash");
        for attempt in 0..300 {
            let answer = hasher.verify(&wrong, &hash, OWNER).await;
            assert!(matches!(answer, Ok(false)), "attempt {attempt}: {answer:?}");
        }
    }

    /// Keeps every thread busy until the gate is waited at.
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
        let hash = BcryptHasher::new(4).expect("threads").hash(&secret, OWNER).await.expect("a hash");
        let hasher = BcryptHasher::new(4).expect("threads");
        let gate = hold_every_thread(&hasher);
        let question = hasher.question(&secret, &hash);
        // More than the queue holds: were each of them a job, it would be full.
        let asked: Vec<_> = (0..3 * MAX_WAITING)
            .map(|_| hasher.ask(question, &secret, &hash, None).expect("one job"))
            .collect();
        gate.wait();
        for answer in asked {
            assert!(answer.await.expect("an answer").expect("a hash"));
        }
    }

    #[tokio::test]
    async fn new_secrets_of_one_organization_leave_places_to_others_and_all_leave_room_to_log_in() {
        let secret = ClientSecret::from_random([1; RANDOM_BYTES]);
        let hash = BcryptHasher::new(4).expect("threads").hash(&secret, OWNER).await.expect("a hash");
        let hasher = Arc::new(BcryptHasher::new(4).expect("threads"));
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
        // All but those that have a place are refused when they have waited; the others wait for the gate.
        let share = (threads() / 2).max(1);
        for _ in 0..4 * MAX_NEW - share {
            let refused = made.join_next().await.expect("an answer").expect("no panic");
            assert_eq!(refused, (OWNER, false));
        }
        let asked = hasher.ask(hasher.question(&secret, &hash), &secret, &hash, None).expect("there is room");
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
        let hasher = BcryptHasher::new(4).expect("threads");
        let (sender, answer) = oneshot::channel();
        hasher.submit(Box::new(move || sender.send(niceness()).expect("it is waited for"))).expect("room");
        let theirs = answer.await.expect("an answer");
        assert_eq!(theirs, (niceness() + NICENESS).min(19), "19 is the most there is");
    }

    #[tokio::test]
    async fn a_full_queue_is_told_and_nothing_grows() {
        let hasher = BcryptHasher::new(4).expect("threads");
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

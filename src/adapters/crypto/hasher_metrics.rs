//! Metrics of hashing secrets.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Where the answer to a question about a secret was found.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// This process knows the secret.
    InMemory,
    /// The store has its digest.
    InStore,
    /// Only bcrypt can answer it.
    Nowhere,
}

/// Durations and queue of bcrypt, and how often it is spared.
pub struct HasherMetrics {
    seconds: Histogram,
    waiting: Gauge,
    found: [Counter; 3],
}

impl HasherMetrics {
    /// Registers the metrics.
    pub fn new() -> Self {
        let waiting = gauge!("agentidp_bcrypt_queue_depth");
        waiting.set(0);
        let cache = |result| counter!("agentidp_secret_cache_total", "result" => result);
        Self {
            seconds: histogram!("agentidp_bcrypt_duration_seconds"),
            waiting,
            found: ["hit", "stored", "miss"].map(cache),
        }
    }

    /// Counts a question.
    pub fn found(&self, found: Found) {
        self.found[found as usize].increment(1);
    }

    /// Counts a job as waiting until it begins, and returns it so that its duration is measured.
    pub fn measured(&self, job: impl FnOnce() + Send + 'static) -> Box<dyn FnOnce() + Send> {
        let (waiting, seconds) = (self.waiting.clone(), self.seconds.clone());
        // Counted first, because a thread may take the job at once.
        waiting.increment(1);
        Box::new(move || {
            waiting.decrement(1);
            let began = Instant::now();
            job();
            seconds.record(began.elapsed());
        })
    }

    /// Counts a job no longer as waiting, because no thread will take it.
    pub fn refused(&self) {
        self.waiting.decrement(1);
    }
}

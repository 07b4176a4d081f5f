//! Requests that are done together by one of them, each group in a transaction of its own.
//!
//! While one group is being done, further requests wait, and the first of them that gets its turn does all of them.
//! Unlike a batch, a group is done by a request, so that it may use all that a request may use.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use instruments::{QueueMetrics, batch_span};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, Span};

use super::batcher::Pending;
use crate::pool::failure::{in_doubt, unavailable};
use ports::store_error::StoreError;

/// Maximum number of requests in one group.
const MAX_GROUP: usize = 64;

/// Maximum number of requests that wait. Further requests are refused as unavailable.
const MAX_WAITING: usize = 1_024;

/// Requests that wait to be done in a group.
pub struct Groups<Q, A> {
    /// First line of the statement, by which traces name a group.
    name: &'static str,
    waiting: Mutex<Queue<Q, A>>,
    turn: tokio::sync::Mutex<()>,
    metrics: QueueMetrics,
}

/// Requests in the order of their arrival, each with its number.
struct Queue<Q, A> {
    requests: VecDeque<(u64, Pending<Q, A>, Span)>,
    next: u64,
}

impl<Q, A> Groups<Q, A> {
    pub fn new(name: &'static str) -> Self {
        let waiting = Mutex::new(Queue { requests: VecDeque::new(), next: 0 });
        let turn = tokio::sync::Mutex::default();
        Self { name, waiting, turn, metrics: QueueMetrics::new(name) }
    }

    /// Returns the answer to a question, which `serve` answers for it or for a group that it is part of.
    ///
    /// `serve` must answer every question of a group. Returns [`StoreError::Unavailable`] if too many requests wait, or
    /// if no group has begun with it at `ends`, and [`StoreError::InDoubt`] if its group has no answer by then.
    pub async fn join<S, F>(&self, question: Q, ends: Instant, serve: S) -> Result<A, StoreError>
    where
        S: Fn(Vec<Pending<Q, A>>) -> F,
        F: Future<Output = ()>,
    {
        let (sender, mut answer) = oneshot::channel();
        let number = self.push((question, sender))?;
        let _turn = tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(lost),
            turn = self.turn.lock() => turn,
            () = deadline(ends) => return Err(self.give_up(number)),
        };
        loop {
            match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                answer => return answer.map_err(lost),
            }
            let group = self.next_group();
            let span = batch_span(self.name, group.iter().map(|(_, _, span)| span));
            // A caller that has gone before anything was sent needs nothing done.
            let group = group.into_iter().map(|(_, pending, _)| pending);
            let group: Vec<_> = group.filter(|(_, reply)| !reply.is_closed()).collect();
            if !group.is_empty() {
                self.metrics.batch(group.len());
                serve(group).instrument(span).await;
            }
        }
    }

    fn push(&self, pending: Pending<Q, A>) -> Result<u64, StoreError> {
        let mut queue = self.lock();
        if queue.requests.len() >= MAX_WAITING {
            return Err(unavailable("too many requests wait"));
        }
        let number = queue.next;
        queue.next += 1;
        queue.requests.push_back((number, pending, Span::current()));
        self.metrics.joined();
        Ok(number)
    }

    fn next_group(&self) -> Vec<(u64, Pending<Q, A>, Span)> {
        let mut queue = self.lock();
        let size = queue.requests.len().min(MAX_GROUP);
        self.metrics.left(size);
        queue.requests.drain(..size).collect()
    }

    /// Takes a request out of the queue, and returns its error.
    fn give_up(&self, number: u64) -> StoreError {
        let mut queue = self.lock();
        match queue.requests.iter().position(|(waiting, ..)| *waiting == number) {
            Some(place) => {
                queue.requests.remove(place);
                self.metrics.left(1);
                unavailable("it waited too long for its group")
            }
            None => in_doubt("its group takes too long"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<Q, A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until then, as the deadline of what it is selected with.
async fn deadline(ends: Instant) {
    let _ = timeout_at(ends, std::future::pending::<()>()).await;
}

fn lost(_: impl std::error::Error) -> StoreError {
    in_doubt("the request that did this together with others has ended")
}

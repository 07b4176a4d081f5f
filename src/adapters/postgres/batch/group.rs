//! Requests that are done together by one of them, each group in a transaction of its own.
//!
//! While one group is being done, further requests wait, and the first of them that gets its turn does all of them.
//! Unlike a batch, a group is done by a request, so that it may use all that a request may use.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::batcher::{Pending, batch_span};
use crate::pool::failure::in_doubt;
use ports::store_error::StoreError;

/// Maximum number of requests in one group.
const MAX_GROUP: usize = 64;

/// Requests that wait to be done in a group.
pub struct Groups<Q, A> {
    /// First line of the statement, by which traces name a group.
    name: &'static str,
    waiting: Mutex<VecDeque<(Pending<Q, A>, Span)>>,
    turn: tokio::sync::Mutex<()>,
}

impl<Q, A> Groups<Q, A> {
    pub fn new(name: &'static str) -> Self {
        Self { name, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Returns the answer to a question, which `serve` answers for it or for a group that it is part of.
    ///
    /// `serve` must answer every question of a group. Returns [`StoreError::InDoubt`] if it has not.
    pub async fn join<S, F>(&self, question: Q, serve: S) -> Result<A, StoreError>
    where
        S: Fn(Vec<Pending<Q, A>>) -> F,
        F: Future<Output = ()>,
    {
        let (sender, mut answer) = oneshot::channel();
        self.lock().push_back(((question, sender), Span::current()));
        let _turn = tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(lost),
            turn = self.turn.lock() => turn,
        };
        loop {
            match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                answer => return answer.map_err(lost),
            }
            let group: Vec<_> = {
                let mut waiting = self.lock();
                let size = waiting.len().min(MAX_GROUP);
                waiting.drain(..size).collect()
            };
            let span = batch_span(self.name, group.iter().map(|(_, span)| span));
            // A caller that has gone before anything was sent needs nothing done.
            let group = group.into_iter().map(|(pending, _)| pending).filter(|(_, reply)| !reply.is_closed());
            serve(group.collect()).instrument(span).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Pending<Q, A>, Span)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost(_: impl std::error::Error) -> StoreError {
    in_doubt("the request that did this together with others has ended")
}

//! Queue of token requests that wait for a lock, separate from all other requests.
//!
//! One statement runs per organization, so that no organization waits for another's lock. An organization is
//! identified by its gate, the key of its advisory lock.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use super::batcher::{BatchConnection, BatchHandler, Batchers, Pending, Statements};
use crate::pool::connect::Connector;
use crate::pool::failure::unavailable;
use ports::token_store::{IssueError, TokenIssue};

/// Maximum number of organizations waited for at once, each on its own connection.
const MAX_LINES: usize = 4;
/// Capacity of the channel into the queue.
const MAX_WAITING: usize = 4_096;
/// Maximum number of queued requests of one organization.
const MAX_OF_ONE: usize = 256;

/// Result of a request.
pub type Outcome = Result<(), IssueError>;
/// A request with the channel for its result.
pub type Request = Pending<TokenIssue, Outcome>;

/// Handle that submits requests to the queue.
pub struct LockWaiters(mpsc::Sender<(i32, Request)>);

impl LockWaiters {
    /// Creates a queue whose requests `handler` answers by this statement, waiting for locks.
    pub fn new<H>(connector: &Connector, batchers: &Batchers, statements: Statements, handler: H) -> Self
    where
        H: BatchHandler<TokenIssue, Outcome> + Clone,
    {
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        let connections =
            (0..MAX_LINES).map(|_| BatchConnection::without_timeouts(connector, statements)).collect();
        let connector = connector.clone();
        let room = LockQueue {
            connector,
            statements,
            handler,
            connections,
            served: HashMap::new(),
            queues: HashMap::new(),
            turns: VecDeque::new(),
        };
        batchers.tasks.spawn(room.keep(requests));
        Self(sender)
    }

    /// Queues a request, which is answered once its gate is free or the wait times out.
    pub fn wait(&self, gate: i32, request: Request) {
        if let Err(refused) = self.0.try_send((gate, request)) {
            let (_, (_, reply)) = refused.into_inner();
            let _ = reply.send(Err(unavailable("too many requests wait for a lock").into()));
        }
    }
}

/// Waiting requests, by the gate that they wait for.
struct LockQueue<H> {
    connector: Connector,
    statements: Statements,
    handler: H,
    /// Gates being served, by the task that serves each.
    served: HashMap<Id, i32>,
    /// Idle connections.
    connections: Vec<BatchConnection>,
    /// Requests not yet being served, by gate. A gate being served has an entry too, even if empty.
    queues: HashMap<i32, Vec<Request>>,
    /// Gates to serve next, in order. A gate being served is not among them.
    turns: VecDeque<i32>,
}

impl<H: BatchHandler<TokenIssue, Outcome> + Clone> LockQueue<H> {
    /// Serves requests until the channel is closed and no request is left.
    async fn keep(mut self, mut requests: mpsc::Receiver<(i32, Request)>) {
        let mut tasks = JoinSet::new();
        let mut is_open = true;
        while is_open || !tasks.is_empty() {
            tokio::select! {
                request = requests.recv(), if is_open => match request {
                    Some((gate, request)) => self.admit(gate, request),
                    None => is_open = false,
                },
                Some(done) = tasks.join_next_with_id() => {
                    let (id, connection) = match done {
                        Ok((id, connection)) => (id, connection),
                        Err(error) => {
                            tracing::error!(%error, "requests that waited for a lock were lost");
                            (error.id(), BatchConnection::without_timeouts(&self.connector, self.statements))
                        }
                    };
                    self.done(id, connection);
                }
            }
            while !self.turns.is_empty()
                && let Some(mut connection) = self.connections.pop()
            {
                let Some((gate, batch)) = self.next() else { break };
                let mut handler = self.handler.clone();
                let task = tasks.spawn(async move {
                    handler.serve(&mut connection, batch).await;
                    connection
                });
                self.served.insert(task.id(), gate);
            }
        }
    }

    fn admit(&mut self, gate: i32, request: Request) {
        let queue = self.queues.entry(gate).or_insert_with(|| {
            self.turns.push_back(gate);
            Vec::new()
        });
        if queue.len() < MAX_OF_ONE {
            queue.push(request);
        } else {
            let _ = request.1.send(Err(unavailable("too many requests wait for the same lock").into()));
        }
    }

    fn next(&mut self) -> Option<(i32, Vec<Request>)> {
        let gate = self.turns.pop_front()?;
        Some((gate, std::mem::take(self.queues.get_mut(&gate)?)))
    }

    /// Requeues the task's gate behind all others if more requests arrived for it meanwhile.
    fn done(&mut self, task: Id, connection: BatchConnection) {
        self.connections.push(connection);
        let Some(gate) = self.served.remove(&task) else { return };
        match self.queues.get(&gate).is_some_and(Vec::is_empty) {
            true => drop(self.queues.remove(&gate)),
            false => self.turns.push_back(gate),
        }
    }
}

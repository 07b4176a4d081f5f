//! A future that continues in a background task when its caller drops it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Runs a request in the task of its connection; if dropped early, continues in a task of its own.
///
/// A framework drops a handler when its connection is reset, between two awaits. With this wrapper, a change is
/// made completely or not at all.
pub struct DetachOnDrop<F: Future + Send + 'static> {
    future: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
}

/// The request panicked.
#[derive(Debug, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

impl<F: Future + Send + 'static> DetachOnDrop<F> {
    /// Wraps a future. If it is dropped before its end, the rest of it runs in `tasks`.
    pub fn new(future: F, tasks: TaskTracker) -> Self {
        Self { future: Some(Box::pin(future)), tasks }
    }
}

impl<F: Future + Send + 'static> Future for DetachOnDrop<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.future.as_mut() else { return Poll::Ready(Err(Panicked)) };
        let polled = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(_) => Err(Panicked),
        };
        self.future = None;
        Poll::Ready(polled)
    }
}

impl<F: Future + Send + 'static> Drop for DetachOnDrop<F> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.future.take(), Handle::try_current()) {
            self.tasks.spawn_on(async move { drop(rest.await) }, &runtime);
        }
    }
}

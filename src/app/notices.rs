//! Telling what kills tokens: from the outbox, where it was put with the change, to the board that all see.

use std::sync::Arc;

use crate::ports::noticeboard::Noticeboard;
use crate::ports::outbox::Outbox;
use crate::ports::store_error::StoreError;

/// How many notices go at once.
const BATCH: u32 = 200;

/// Relays notices.
#[derive(Clone)]
pub struct Notices {
    pub(super) outbox: Arc<dyn Outbox>,
    /// Where there is none, nobody needs to be told.
    pub(super) board: Option<Arc<dyn Noticeboard>>,
}

impl Notices {
    /// Tells what has not been told yet, and takes it out only then: told twice does no harm, never told would.
    pub async fn relay(&self) -> Result<(), StoreError> {
        let Some(board) = &self.board else { return Ok(()) };
        loop {
            let pending = self.outbox.pending(BATCH).await?;
            if pending.is_empty() {
                return Ok(());
            }
            board.post(&pending.iter().map(|pending| pending.notice).collect::<Vec<_>>()).await?;
            self.outbox.remove(&pending.iter().map(|pending| pending.id).collect::<Vec<_>>()).await?;
        }
    }
}

//! Telling what kills tokens: from the outbox, where it was put with the change, to the board that all see.

use std::sync::Arc;

use futures_util::future::join_all;

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
    /// One that the board does not take stays, and stops none of those behind it.
    pub async fn relay(&self) -> Result<(), StoreError> {
        let Some(board) = &self.board else { return Ok(()) };
        loop {
            let pending = self.outbox.pending(BATCH).await?;
            let outcomes = join_all(pending.iter().map(|pending| board.post(&pending.notice))).await;
            let told: Vec<_> = std::iter::zip(&pending, &outcomes)
                .filter(|(_, outcome)| outcome.is_ok())
                .map(|(pending, _)| pending.id)
                .collect();
            if !told.is_empty() {
                self.outbox.remove(&told).await?;
            }
            outcomes.into_iter().collect::<Result<(), _>>()?;
            if pending.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::{AgentId, TokenId};
    use crate::domain::time::Timestamp;
    use crate::domain::token::{Claims, Kill, Notice};
    use crate::ports::noticeboard::MonthlyUsage;
    use crate::ports::outbox::{NoticeId, PendingNotice};

    struct Pending(Mutex<Vec<PendingNotice>>);

    #[async_trait]
    impl Outbox for Pending {
        async fn pending(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError> {
            Ok(self.0.lock().expect("no panic").iter().take(limit as usize).cloned().collect())
        }

        async fn remove(&self, ids: &[NoticeId]) -> Result<(), StoreError> {
            self.0.lock().expect("no panic").retain(|pending| !ids.contains(&pending.id));
            Ok(())
        }
    }

    /// Takes tokens only.
    #[derive(Default)]
    struct Board(Mutex<Vec<Notice>>);

    #[async_trait]
    impl Noticeboard for Board {
        async fn post(&self, notice: &Notice) -> Result<(), StoreError> {
            match notice.kill {
                Kill::Token(_) => {
                    self.0.lock().expect("no panic").push(*notice);
                    Ok(())
                }
                _ => Err(StoreError::Unavailable { store: "board", source: "wrong type".into() }),
            }
        }

        async fn says_dead(&self, _: &Claims) -> Result<bool, StoreError> {
            Ok(false)
        }

        async fn show_usage(&self, _: &MonthlyUsage) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn notice(place: i64) -> PendingNotice {
        let kill = match place {
            0 => Kill::Agent(AgentId(Uuid::nil()), 1),
            _ => Kill::Token(TokenId(Uuid::from_u64_pair(0, place.unsigned_abs()))),
        };
        PendingNotice { id: NoticeId(place), notice: Notice { kill, until: Timestamp::from_millis(0) } }
    }

    #[tokio::test]
    async fn all_that_is_pending_is_told_and_then_it_is_over() {
        for many in [0, 1, BATCH, 2 * BATCH + 1].map(i64::from) {
            let outbox = Arc::new(Pending(Mutex::new((1..=many).map(notice).collect())));
            let board = Arc::new(Board::default());
            let notices = Notices { outbox: outbox.clone(), board: Some(board.clone()) };
            notices.relay().await.expect("told");
            assert_eq!(outbox.pending(1).await.expect("an answer"), []);
            assert_eq!(board.0.lock().expect("no panic").len() as i64, many);
        }
    }

    #[tokio::test]
    async fn a_notice_that_the_board_refuses_stays_and_the_others_are_told() {
        let many = i64::from(BATCH) + 5;
        let outbox = Arc::new(Pending(Mutex::new((0..many).map(notice).collect())));
        let board = Arc::new(Board::default());
        let notices = Notices { outbox: outbox.clone(), board: Some(board.clone()) };
        for _ in 0..2 {
            notices.relay().await.expect_err("one is refused");
        }
        assert_eq!(outbox.pending(BATCH).await.expect("an answer"), [notice(0)]);
        let told: Vec<_> = (1..many).map(|place| notice(place).notice).collect();
        assert_eq!(*board.0.lock().expect("no panic"), told);
    }
}

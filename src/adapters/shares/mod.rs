//! Limits how much of a shared resource one organization can use at a time.

#![warn(missing_docs)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// A limited number of places for each organization.
pub struct Shares {
    each: usize,
    /// Semaphores of the organizations that hold a place or wait for one.
    taken: Arc<Mutex<HashMap<Uuid, Arc<Semaphore>>>>,
}

impl Shares {
    /// Gives each organization this many places, at least one.
    pub fn of(each: usize) -> Self {
        Self { each: each.max(1), taken: Arc::default() }
    }

    /// Waits for a place of the organization. Waiters are served in order.
    pub async fn enter(&self, organization: Uuid) -> Place {
        let (semaphore, mut place) = self.ask(organization);
        place.permit = semaphore.acquire_owned().await.ok();
        place
    }

    /// Returns a place of the organization if one is free.
    pub fn try_enter(&self, organization: Uuid) -> Option<Place> {
        let (semaphore, mut place) = self.ask(organization);
        place.permit = Some(semaphore.try_acquire_owned().ok()?);
        Some(place)
    }

    /// Returns the semaphore of the organization, and a place without a permit.
    ///
    /// The place exists before the wait, so that its drop cleans up even if the waiter is dropped just as it gets its
    /// permit.
    fn ask(&self, organization: Uuid) -> (Arc<Semaphore>, Place) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let semaphore =
            taken.entry(organization).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone();
        (semaphore, Place { permit: None, organization, taken: self.taken.clone() })
    }
}

/// A place of one organization, held until dropped.
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    organization: Uuid,
    taken: Arc<Mutex<HashMap<Uuid, Arc<Semaphore>>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Every holder and every waiter has a reference to the semaphore; a single one left is the map's own.
        if taken.get(&self.organization).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            taken.remove(&self.organization);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn an_organization_has_its_places_and_no_more_whatever_others_do() {
        let shares = Shares::of(2);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = shares.enter(one).await;
        let _second = shares.enter(one).await;
        assert!(shares.enter(one).now_or_never().is_none(), "it has two");
        assert!(shares.try_enter(one).is_none(), "nor is one given without a wait");
        drop(shares.enter(other).now_or_never().expect("another has its own"));
        drop(first);
        drop(shares.enter(one).now_or_never().expect("one is free again"));
        drop(shares.try_enter(one).expect("and again"));
        assert_eq!(shares.taken.lock().expect("no panic").len(), 1, "who has none is forgotten");
    }
}

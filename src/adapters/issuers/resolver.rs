//! Looking up hosts.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use async_trait::async_trait;
use shares::Place;
use tokio::sync::Semaphore;

/// The most look-ups at a time.
///
/// The operating system may take much longer than a caller waits, and each look-up occupies a thread until then.
const MAX_LOOK_UPS: usize = 128;

/// Looks up hosts.
#[async_trait]
pub(crate) trait Resolver: Send + Sync {
    /// Returns the addresses of a name, in the order of preference.
    ///
    /// The place is held until the look-up has ended, even after the caller has stopped waiting.
    async fn addresses(&self, name: &str, place: Arc<Place>) -> io::Result<Vec<IpAddr>>;
}

/// Looks up hosts by the operating system.
pub(crate) struct SystemResolver {
    places: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_LOOK_UPS)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str, place: Arc<Place>) -> io::Result<Vec<IpAddr>> {
        let permit = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let look_up = move || {
            let _held = (place, permit);
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        };
        tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
    }
}

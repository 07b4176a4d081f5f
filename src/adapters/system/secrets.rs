//! Secrets from the operating system's random number generator.

use domain::secret::{ClientSecret, RANDOM_BYTES};
use ports::secrets::Secrets;

/// Generates client secrets.
pub struct SystemSecrets;

impl Secrets for SystemSecrets {
    #[expect(clippy::disallowed_methods, reason = "the one place where secrets are made")]
    fn client_secret(&self) -> ClientSecret {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).expect("an operating system without random numbers cannot be served");
        ClientSecret::from_random(bytes)
    }
}

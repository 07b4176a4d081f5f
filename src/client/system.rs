//! The environment, the files, the clock and the random number generator of this process.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::Failure;

/// Returns a variable of the environment, without white space around it; `None` if it is unset or empty.
#[expect(clippy::disallowed_methods, reason = "the client reads its environment here and nowhere else")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Reads a file. Returns [`Failure`] with its name if the file does not exist, or is no text.
pub fn read_file(path: impl AsRef<Path>) -> Result<String, Failure> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Failure::misused(match error.kind() {
            ErrorKind::NotFound => format!("{path}: no such file"),
            _ => format!("{path} cannot be read: {error}"),
        })
    })
}

/// Reads standard input to its end.
pub fn read_stdin() -> Result<String, Failure> {
    std::io::read_to_string(std::io::stdin())
        .map_err(|error| Failure::misused(format!("standard input cannot be read: {error}")))
}

/// Returns the time in seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "a client has no clock port")]
pub fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits, because the service has said when it accepts the next request or because an event is not there yet.
#[expect(clippy::disallowed_methods, reason = "the service names the time to wait for")]
pub async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Returns a value that no other assertion has.
#[expect(clippy::disallowed_methods, reason = "a client has no port of random numbers")]
pub fn unique() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::misused(format!("the system has no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

//! Why a command did not succeed, and the exit code that says so.

use std::error::Error;
use std::io::{self, ErrorKind};

/// Exit codes of a command that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The service refused the request.
    Refused = 1,
    /// The command was used wrongly.
    Misused = 2,
    /// The service could not be reached.
    Unreachable = 3,
    /// `apply --dry-run` found differences.
    Differs = 4,
    /// Ctrl-C ended `apply` before everything was done; the code that shells use for it.
    Interrupted = 130,
}

/// Why a command did not succeed. Its message contains no secret.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Exit code of the program.
    pub exit: Exit,
    /// Message for standard error; empty if everything has been said.
    pub message: String,
    /// Whether the same request may succeed later: the service, or a proxy in front of it, is not available.
    pub is_temporary: bool,
}

impl Failure {
    /// Returns the end of a command that has said everything.
    pub const fn silent(exit: Exit) -> Self {
        Self { exit, message: String::new(), is_temporary: false }
    }

    /// Returns a refusal by the service.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, message: message.into(), is_temporary: false }
    }

    /// Returns a wrong use of a command.
    pub fn misused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Misused, message: message.into(), is_temporary: false }
    }

    /// Returns that the service cannot be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, message: message.into(), is_temporary: true }
    }

    /// Returns that the service at this URL cannot be reached, why, and what to do about it.
    pub fn of_request(url: &str, error: &reqwest::Error) -> Self {
        let mut root: &(dyn Error + 'static) = error;
        loop {
            // An error inside of one of the system, such as that of TLS, is not its source.
            let inner = root.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| root.source()) {
                Some(next) => root = next,
                None => break,
            }
        }
        let kind = root.downcast_ref::<io::Error>().map(io::Error::kind);
        let is_plain = matches!(root.downcast_ref(), Some(rustls::Error::InvalidMessage(_)));
        let (reason, advice) = match root.to_string() {
            _ if error.is_timeout() => ("it did not answer in time".to_owned(), ""),
            _ if is_plain => ("it does not speak TLS".to_owned(), "; try http://"),
            reason if kind == Some(ErrorKind::ConnectionRefused) => {
                (reason, "; is the service running? agentidp serve starts it")
            }
            reason if reason.contains("certificate") => {
                (reason, "; SSL_CERT_FILE names the certificates of a private authority")
            }
            reason => (reason, ""),
        };
        Self::unreachable(format!("{url} cannot be reached: {reason}{advice}"))
    }
}

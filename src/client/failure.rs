//! Why a command did not succeed, and the exit code that says so.

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
}

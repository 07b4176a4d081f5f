//! The right of one instance to serve a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A lock that ends with the process that holds it, however that ends.
///
/// It is on a file of its own, because closing the database a second time within a process would give SQLite's own locks
/// free.
pub struct FileLock {
    _held: File,
}

/// Error of [`FileLock::take`].
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance has the lock.
    #[error("another instance has it open")]
    Taken,
    /// The file system grants a lock twice.
    #[error("its file system does not lock files reliably")]
    Unreliable,
    /// The lock cannot be asked for.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileLock {
    /// Takes the lock of a database file: that on the file with `.lock` after its name.
    ///
    /// Returns [`LockError`] if it is taken, or if nothing can be relied upon.
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let path = with_suffix(database, ".lock");
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = open()?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Taken),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // A second lock must be refused, even to the same process.
        match open()?.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(Self { _held: lock }),
            _ => Err(LockError::Unreliable),
        }
    }
}

/// Returns the path of a file with something after its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

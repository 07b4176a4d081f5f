//! The right of one instance to serve a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Maximum number of symbolic links that lead to a file, as in Linux.
const MAX_LINKS: usize = 40;

/// A lock that ends with the process that holds it, however that ends.
///
/// It is on a file of its own, because closing the database a second time within a process would release SQLite's own
/// locks.
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
    /// Returns whether the lock of a database file is taken, without taking it.
    pub fn is_taken(database: &Path) -> bool {
        let lock = File::open(with_suffix(database, ".lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Takes the lock of a database file: that on the file with `.lock` after its name.
    ///
    /// Returns [`LockError`] if it is taken, or if nothing can be relied upon.
    pub fn take(database: &Path) -> Result<Self, LockError> {
        let path = with_suffix(database, ".lock");
        // A user who can open the file could take the lock.
        let open = || OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
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

/// Returns the path with all symbolic links resolved, so that a file has one name, one lock and one key.
///
/// A link may point to a file that does not exist yet.
pub fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match path.read_link() {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    match (folder_of(&path).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Returns the folder that a file or folder is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Returns the path of a file with something after its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

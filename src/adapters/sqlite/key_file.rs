//! The signing key next to the file, so that tokens stay valid over a restart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::file_lock::{folder_of, resolved, with_suffix};

/// Error of [`signing_key`]. Its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is data, and no key.
    #[error("{path} is missing, which has the signing key of the data. Restore it, or set JWT_PRIVATE_KEY")]
    Missing {
        /// Path of the key.
        path: PathBuf,
    },
    /// The key cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// Path of the key.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

/// Returns the path of the signing key of a database file.
pub fn key_path(database: &Path) -> PathBuf {
    with_suffix(&resolved(database), ".key")
}

/// Returns the signing key of a database file, in PEM: the content of the file with `.key` after its name.
///
/// If there is neither a key nor data, stores the one that `make` returns, readable for the owner alone. The key is on the
/// disk before there is data. Returns [`KeyFileError`] if there is data without a key.
pub fn signing_key<E>(database: &Path, make: impl FnOnce() -> Result<String, E>) -> Result<String, E>
where
    E: From<KeyFileError>,
{
    let database = &*resolved(database);
    let path = key_path(database);
    let failed = |reason| KeyFileError::Io { path: path.clone(), reason };
    match fs::read_to_string(&path) {
        Ok(pem) => {
            let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                tracing::warn!("{} can be read by others; run: chmod 600 {0}", path.display());
            }
            return Ok(pem);
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
        Err(_) => {}
    }
    if fs::metadata(database).is_ok_and(|file| file.len() > 0) {
        return Err(KeyFileError::Missing { path }.into());
    }
    let pem = make()?;
    store(&path, &pem).map_err(failed)?;
    // Another instance that started at the same moment may have been first.
    Ok(fs::read_to_string(&path).map_err(failed)?)
}

/// Stores a key under a name that has none yet, all of it or nothing.
fn store(path: &Path, pem: &str) -> io::Result<()> {
    let unfinished = with_suffix(path, &format!(".{}", std::process::id()));
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()));
    let linked = written.and_then(|()| match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&unfinished);
    linked.and(removed)?;
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = Result<String, KeyFileError>;

    #[test]
    fn a_key_is_made_before_there_is_data_and_never_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("data.db");
        let first: Answer = signing_key(&database, || Ok("one".to_owned()));
        assert_eq!(first.expect("made"), "one");
        let mode = fs::metadata(folder.path().join("data.db.key")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&database, "data").expect("written");
        let second: Answer = signing_key(&database, || Ok("two".to_owned()));
        assert_eq!(second.expect("read"), "one");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 2, "nothing is left over");
    }

    #[test]
    fn data_without_its_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("data.db");
        fs::write(&database, "data").expect("written");
        let refused: Answer = signing_key(&database, || Ok("two".to_owned()));
        assert!(matches!(refused, Err(KeyFileError::Missing { path }) if path.ends_with("data.db.key")));
        assert!(!folder.path().join("data.db.key").exists());
    }
}

//! A copy of the file and its key, made while it is served.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::file_lock::{folder_of, resolved, with_suffix};
use super::schema::{OpenError, check_maker};

/// Suffix of a folder that is being made.
const UNFINISHED: &str = ".unfinished";

/// Error of [`backup`]. Its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is not one that can be served.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder has files that are not of a backup of this file.
    #[error("{folder} has other files, such as {found}. Name a folder for this backup alone")]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// A file that is not of the backup.
        found: String,
    },
    /// The backup cannot take the place of the one before.
    #[error(
        "{folder} cannot be replaced as a whole: {reason}. Name a new folder on this file system, or one within {folder}"
    )]
    Fixed {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// Another program holds a lock.
    #[error("{path} is locked by another program; try again")]
    Locked {
        /// Path of the original.
        path: PathBuf,
    },
    /// The copy differs from what was to be copied.
    #[error("the copy of {path} is damaged: {reason}")]
    Damaged {
        /// Path of the original.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// SQLite cannot copy.
    #[error("{path}: {reason}")]
    Copy {
        /// Path of the original.
        path: PathBuf,
        /// SQLite's reason.
        reason: rusqlite::Error,
    },
}

/// Copies the database file and its key, if it has one, to a folder, under the same names. Blocks the thread.
///
/// The copy is the file as of one moment, whatever is written meanwhile. An earlier backup in the folder is replaced at
/// once, or not at all. Returns [`BackupError`] if that is not possible.
pub fn backup(database: &Path, folder: &Path) -> Result<(), BackupError> {
    let database = &*resolved(database);
    // Without a slash at the end, which would make what is next to the folder a part of it.
    let folder: &Path = &resolved(&folder.components().collect::<PathBuf>());
    let key = with_suffix(database, ".key");
    let name = database.file_name().unwrap_or_default();
    refuse_others(folder, [name, key.file_name().unwrap_or_default()])?;
    let unfinished = with_suffix(folder, UNFINISHED);
    // A backup that was killed has left it.
    remove(&unfinished)?;
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(failed_at(&unfinished))?;
    let made = copy(database, &unfinished.join(name))
        .and_then(|()| copy_key(&key, &unfinished))
        .and_then(|()| replace(folder, &unfinished));
    let removed = remove(&unfinished);
    made.and(removed)
}

fn remove(folder: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed_at(folder)(error)),
        _ => Ok(()),
    }
}

fn failed_at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |reason| BackupError::Io { path: path.to_owned(), reason }
}

fn refuse_others(folder: &Path, names: [&std::ffi::OsStr; 2]) -> Result<(), BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed_at(folder))?,
    };
    for entry in entries {
        let found = entry.map_err(failed_at(folder))?.file_name();
        if !names.contains(&&*found) {
            let (folder, found) = (folder.to_owned(), found.to_string_lossy().into_owned());
            return Err(BackupError::Occupied { folder, found });
        }
    }
    Ok(())
}

/// Copies all pages within one transaction, and reads the copy.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |reason| BackupError::Copy { path: from.to_owned(), reason };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(failed)?;
    source.pragma_update(None, "query_only", true).map_err(failed)?;
    check_maker(&source, from)?;
    let new = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to);
    drop(new.map_err(failed_at(to))?);
    let mut target = Connection::open(to).map_err(failed)?;
    let step = Backup::new(&source, &mut target).and_then(|backup| backup.step(-1)).map_err(failed)?;
    if step != StepResult::Done {
        return Err(BackupError::Locked { path: from.to_owned() });
    }
    let found: String = target.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(BackupError::Damaged { path: from.to_owned(), reason: found });
    }
    drop(target);
    File::open(to).and_then(|file| file.sync_all()).map_err(failed_at(to))
}

fn copy_key(key: &Path, folder: &Path) -> Result<(), BackupError> {
    let to = folder.join(key.file_name().unwrap_or_default());
    match fs::copy(key, &to) {
        // The key may be in JWT_PRIVATE_KEY.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        copied => {
            copied.map_err(failed_at(key))?;
            File::open(&to).and_then(|file| file.sync_all()).map_err(failed_at(&to))
        }
    }?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed_at(folder))
}

/// Puts a finished backup in the place of the folder, and what was there in its own place.
fn replace(folder: &Path, finished: &Path) -> Result<(), BackupError> {
    let is_first = !folder.exists() || fs::read_dir(folder).is_ok_and(|mut files| files.next().is_none());
    let replaced = match is_first {
        // Not every file system, and no network file system, can exchange folders.
        true => fs::rename(finished, folder),
        false => renameat_with(CWD, finished, CWD, folder, RenameFlags::EXCHANGE).map_err(io::Error::from),
    };
    replaced.map_err(|reason| BackupError::Fixed { folder: folder.to_owned(), reason })?;
    let parent = folder_of(folder);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed_at(parent))
}

//! Tables of the file: who made them, their version, and how they are brought up to date.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::database::Database;
use super::file_lock::{FileLock, LockError, folder_of, resolved, with_suffix};

/// The migrations, in their order. The number of those applied is the file's `user_version`.
const MIGRATIONS: [&str; 11] = [
    include_str!("../../../migrations/sqlite/0001_organizations.sql"),
    include_str!("../../../migrations/sqlite/0002_agents.sql"),
    include_str!("../../../migrations/sqlite/0003_trusted_issuers.sql"),
    include_str!("../../../migrations/sqlite/0004_credentials.sql"),
    include_str!("../../../migrations/sqlite/0005_audit_events.sql"),
    include_str!("../../../migrations/sqlite/0006_tokens.sql"),
    include_str!("../../../migrations/sqlite/0007_outbox.sql"),
    include_str!("../../../migrations/sqlite/0008_managed_by.sql"),
    include_str!("../../../migrations/sqlite/0009_traced_events.sql"),
    include_str!("../../../migrations/sqlite/0010_expiring_credentials.sql"),
    include_str!("../../../migrations/sqlite/0011_expiring_credentials_in_order.sql"),
];

/// The file's `application_id`: `aIdP` in ASCII.
const APPLICATION_ID: i64 = 0x6149_6450;

/// File systems that are on another machine, by their magic numbers (statfs(2)): 9P, AFS, Ceph, CIFS, Coda, GPFS, Lustre,
/// NCP, NFS, SMB.
///
/// Write-ahead logging needs memory that all users of the file share.
const REMOTE_FILE_SYSTEMS: [u64; 11] = [
    0x0102_1997,
    0x5346_414F,
    0x00C3_6400,
    0xFF53_4D42,
    0x7375_7245,
    0x4750_4653,
    0x0BD0_0BD0,
    0x0000_564C,
    0x0000_6969,
    0x0000_517B,
    0xFE53_4D42,
];
/// File systems that a program of the user provides (FUSE): it may be on another machine.
const USER_FILE_SYSTEM: u64 = 0x6573_5546;

/// Error of opening a file. Its text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another instance serves the file.
    #[error("{path}: another instance has it open. One file serves one instance: stop the other one")]
    InUse {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is on another machine, or its file system does not lock.
    #[error(
        "{path} is on a file system of another machine, or on one that does not lock files. Use a local disk"
    )]
    NotLocal {
        /// Path of the file.
        path: PathBuf,
    },
    /// The folder of the file does not exist.
    #[error("{path}: the folder {folder} does not exist. Create it, or name another file")]
    NoFolder {
        /// Path of the file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The file is not one of ours.
    #[error(
        "{path} is a file of another program. Name a file that does not exist yet, or one that agentidp made"
    )]
    Foreign {
        /// Path of the file.
        path: PathBuf,
    },
    /// The tables are newer than this version knows.
    #[error(
        "{path} has tables of version {found}, and this version of agentidp knows {known}. Use a newer one"
    )]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Version of the tables.
        found: usize,
        /// Latest version that is known.
        known: usize,
    },
    /// The file, or the folder that it is in, cannot be written.
    #[error("{path}: {reason}. The file and its folder must be writable")]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Anything else that SQLite reports.
    #[error("{path}: {reason}")]
    Failed {
        /// Path of the file.
        path: PathBuf,
        /// SQLite's reason.
        reason: String,
    },
}

impl OpenError {
    fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Unwritable { path, reason }
            }
            _ => Self::Failed { path, reason },
        }
    }
}

/// Takes the lock of the file, creates it if it does not exist, and brings its tables up to date.
///
/// The path is a resolved one. Returns [`OpenError`] if it cannot serve. A file that is not ours is left as it is.
pub fn open(path: &Path) -> Result<(Database, FileLock), OpenError> {
    let owned = || path.to_owned();
    refuse_remote(path)?;
    refuse_foreign(path)?;
    if file_system(path) == USER_FILE_SYSTEM {
        tracing::warn!("{} may be on another machine (FUSE); only a local disk is safe", path.display());
    }
    let lock = FileLock::take(path).map_err(|error| match error {
        LockError::Taken => OpenError::InUse { path: owned() },
        LockError::Unreliable => OpenError::NotLocal { path: owned() },
        LockError::Io(error) => OpenError::Unwritable { path: owned(), reason: error.to_string() },
    })?;
    create(path).map_err(|error| OpenError::Unwritable { path: owned(), reason: error.to_string() })?;
    let database = Database::open(path).map_err(|error| OpenError::of(path, &error))?;
    migrate(&database, path)?;
    Ok((database, lock))
}

/// Refuses what [`Sqlite::open`](crate::Sqlite::open) would refuse, as far as that is known without a change.
pub fn check(path: &Path) -> Result<(), OpenError> {
    let path = &*resolved(path);
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(OpenError::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
    }
    refuse_remote(path)?;
    refuse_foreign(path)?;
    match FileLock::is_taken(path) {
        true => Err(OpenError::InUse { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Refuses a file on another machine.
fn refuse_remote(path: &Path) -> Result<(), OpenError> {
    match is_remote(file_system(path)) {
        true => Err(OpenError::NotLocal { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// Returns the magic number of a file's file system; 0 if the system refuses to say it, which shows in what follows.
fn file_system(path: &Path) -> u64 {
    let found = rustix::fs::statfs(folder_of(path)).ok().map(|found| found.f_type);
    found.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn is_remote(file_system: u64) -> bool {
    // The magic numbers have 32 bits.
    REMOTE_FILE_SYSTEMS.contains(&(file_system & 0xFFFF_FFFF))
}

/// Creates the file if it does not exist, readable for its owner alone. SQLite gives the files next to it the same mode.
fn create(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
}

/// Refuses a folder and a file that another program made, before anything is created next to it.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    use std::io::Read as _;
    const HEADER: &[u8] = b"SQLite format 3\0";
    if path.is_dir() {
        return Err(OpenError::Failed { path: path.to_owned(), reason: "it is a folder".to_owned() });
    }
    let Ok(file) = std::fs::File::open(path) else { return Ok(()) };
    let mut start = Vec::new();
    let is_read = file.take(HEADER.len() as u64).read_to_end(&mut start).is_ok();
    if is_read && !start.is_empty() && start != HEADER {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    // While there is a log, the file alone does not say everything.
    if start != HEADER || with_suffix(path, "-wal").exists() {
        return Ok(());
    }
    let encoded = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without `immutable`, SQLite would create a log.
    let connection = Connection::open_with_flags(format!("file:{encoded}?immutable=1"), flags);
    version(&connection.map_err(|error| OpenError::of(path, &error))?, path).map(drop)
}

/// Returns the version of the tables: 0 for a file without any.
fn version(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    match number(connection, path, "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)")? {
        // An empty file that another program has marked has a maker all the same.
        1 if number(connection, path, "PRAGMA application_id")? == 0 => Ok(0),
        _ => check_maker(connection, path),
    }
}

fn number(connection: &Connection, path: &Path, sql: &str) -> Result<i64, OpenError> {
    connection.query_row(sql, (), |row| row.get(0)).map_err(|error| OpenError::of(path, &error))
}

/// Returns the version of the tables.
///
/// Returns [`OpenError`] if another program made the file, or a version that is newer than this one.
pub fn check_maker(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    if number(connection, path, "PRAGMA application_id")? != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found = usize::try_from(number(connection, path, "PRAGMA user_version")?).unwrap_or(usize::MAX);
    let known = MIGRATIONS.len();
    match found > known {
        true => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        false => Ok(found),
    }
}

/// Applies the migrations that are missing, each in a transaction of its own.
fn migrate(database: &Database, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let connection = database.connection();
    let found = version(connection, path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).map_err(failed)?;
    for (migration, version) in MIGRATIONS.iter().zip(1..).skip(found) {
        let sql = format!(
            "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {migration} PRAGMA user_version = {version}; COMMIT"
        );
        connection.execute_batch(&sql).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_known() {
        for remote in [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0xFFFF_FFFF_FF53_4D42] {
            assert!(is_remote(remote), "{remote:x}");
        }
        // ext4, tmpfs, XFS, Btrfs, overlayfs.
        for local in [0xEF53, 0x0102_1994, 0x5846_5342, 0x9123_683E, 0x794C_7630] {
            assert!(!is_remote(local), "{local:x}");
        }
    }

    #[test]
    fn each_version_of_the_tables_becomes_the_latest() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = |path: &Path| {
            let (database, _lock) = open(path).expect("it opens");
            let read = |row: &rusqlite::Row<'_>| Ok(row.get::<_, String>(0).expect("SQL"));
            let sql = "SELECT COALESCE(sql, name) FROM sqlite_schema ORDER BY 1";
            database.all(sql, (), read).expect("tables")
        };
        let latest = tables(&folder.path().join("new.db"));
        for version in 1..=MIGRATIONS.len() {
            let path = folder.path().join(format!("{version}.db"));
            let old = Database::open(&path).expect("a file");
            for migration in &MIGRATIONS[..version] {
                old.connection().execute_batch(migration).expect("it applies");
            }
            let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}");
            old.connection().execute_batch(&marks).expect("marked");
            drop(old);
            assert_eq!(tables(&path), latest, "from {version}");
        }
    }
}

//! A data file that has been in use.

use std::path::Path;

use rusqlite::vtab::series::load_module;

const FILL: &str = include_str!("filled_file.sql");

/// Adds this many agents of 100 organizations, and this many audit events, to a file that has the tables and that no
/// service has open.
pub fn fill_file(path: &Path, agents: usize, events: usize) -> rusqlite::Result<()> {
    let database = rusqlite::Connection::open(path)?;
    load_module(&database)?;
    for (table, number) in [("agents_wanted", agents), ("events_wanted", events)] {
        database.execute_batch(&format!("CREATE TEMP TABLE {table} AS SELECT {number} AS number"))?;
    }
    database.execute_batch(FILL)
}

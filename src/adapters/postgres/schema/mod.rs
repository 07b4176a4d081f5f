//! The tables: their migrations, the privileges of the serving role, and the partitions of the audit log.

pub mod migrations;
mod partitions;

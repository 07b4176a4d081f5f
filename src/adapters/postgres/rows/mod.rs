//! Rows as values of the domain, and values as parameters of statements.

pub mod codec;
pub mod dependencies;
pub mod events;
pub mod issuers;
pub mod registrations;
pub mod where_clause;

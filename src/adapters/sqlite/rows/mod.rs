//! Rows as values of the domain, and values as parameters of statements.

pub mod agents;
pub mod column;
pub mod credentials;
pub mod events;
pub mod issuers;
pub mod organizations;

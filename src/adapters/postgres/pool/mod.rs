//! Connections: settings, TLS, single statements and the classification of their errors.

pub mod connect;
pub mod failure;
pub mod settings;
pub mod statement;
mod tls;
mod url;

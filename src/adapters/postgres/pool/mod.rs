//! Connections: settings, TLS, single statements and the classification of their errors.

pub mod connect;
pub mod connection_pool;
pub mod failure;
pub mod settings;
pub mod shortage;
pub mod statement;
mod tls;
mod url;

//! Commands, one file each.

pub mod audit;
pub mod login;
pub mod resource;
pub mod shell;
pub mod status;
pub mod token;

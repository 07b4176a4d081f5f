//! AgentIdP: an OAuth 2.0 identity provider for AI agents.
//!
//! A hexagonal service. [`domain`] says what things are, [`ports`] what the core needs, [`app`] what the
//! service does; [`adapters`] answer for the world, and [`wiring`] is the one place that puts them together.

pub mod adapters;
pub mod app;
pub mod config;
pub mod domain;
pub mod ports;
mod shares;
pub mod wiring;

//! AgentIdP: an OAuth 2.0 identity provider for AI agents.
//!
//! Organizations own agents. An agent authenticates with a client secret or a signed assertion, receives
//! short-lived signed access tokens, and can be stopped at once by revoking all of its tokens. A change and
//! its audit event are stored in one transaction.
//!
//! Its architecture is hexagonal: the core knows only traits, and everything that touches the outside world is an
//! adapter. Each part is a crate of its own; this one wires them together and re-exports those that a program needs.
//!
//! ```text
//! adapters::http ──▶ app ──▶ ports ◀── adapters::{memory, sqlite, postgres, redis, crypto, system}
//!                     │        │
//!                     └────────┴──▶ domain
//! ```
//!
//! * [`domain`]: the entities and the rules between them, without I/O, clock or randomness.
//! * [`ports`]: what the core needs from outside, as traits that are documented as contracts.
//! * [`app`]: the use cases, one file per entity and one method per operation.
//! * [`adapters`]: the implementations of the ports, and the HTTP API that calls the core.
//! * [`config`]: the settings of a service; [`cli`] makes them from flags and environment variables.
//! * [`wiring`]: the only place that names concrete adapters; it starts and ends the service.
//!
//! # Start here
//!
//! * [`wiring::Service`] runs the service inside another program.
//! * [`app::token::Tokens::issue`] shows a use case from authentication to the signed token.
//! * [`ports`] lists the promises common to all stores; [`ports::token_store`] is one contract in full.
//! * [`domain::token`] explains generations, by which all tokens of an agent are revoked.
//! * [`adapters::memory`] is the reference implementation of every store.

#![warn(missing_docs)]

pub mod adapters;
pub mod cli;
pub mod config;
pub mod wiring;

pub use app;
pub use domain;
pub use ports;

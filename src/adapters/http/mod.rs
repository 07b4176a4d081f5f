//! HTTP adapter: translates requests into calls of the use cases.
//!
//! A request passes through `server` (connections, their limits and their end), `pipeline` (steps that
//! all requests share, from `middleware`) and `router` to the file of its resource, in `api` or `oauth`. There it
//! is read strictly (`extract`) and handed to a use case, and the response is written, in case of an error by `error`.

#![warn(missing_docs)]

mod api;
#[cfg(feature = "book")]
mod book;
mod console;
mod error;
mod extract;
mod head;
mod json;
mod middleware;
mod oauth;
mod openapi;
mod operation;
mod pipeline;
mod router;
mod server;
mod static_file;

pub use self::middleware::request_log::REQUESTS;
pub use self::openapi::{openapi, yaml};
pub use self::pipeline::{HttpApi, HttpConfig};
pub use self::server::{Front, Scrape, serve, serve_connection, serve_metrics};

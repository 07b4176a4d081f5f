//! Values of the domain that durable stores keep as JSON in one column, and whole tables as JSON.
//!
//! All of them have one form, so that data can move from one store to another.

#![warn(missing_docs)]

pub mod issuer;
pub mod jwk;
pub mod tables;

//! Values of the domain that durable stores keep as JSON in one column.
//!
//! All of them have one form, so that data can move from one store to another.

#![warn(missing_docs)]

pub mod issuer;
pub mod jwk;

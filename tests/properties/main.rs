//! What is true of any order of calls, shown on orders that nobody thought of.
//!
//! `PROPTEST_CASES` says how many are tried; each failure tells the shortest order that it found.

mod bytes;
mod tenancy;

//! Properties that hold for any order of calls, tested on random orders.
//!
//! `PROPTEST_CASES` sets the number of cases. Each failure reports the shortest order found.

mod bytes;
mod delegation;
mod tenancy;

//! Properties that hold for any order of calls, tested on random orders.
//!
//! `PROPTEST_CASES` sets the number of cases. Each failure reports the shortest order found.

mod bytes;
mod delegation;
mod tenancy;

use proptest::test_runner::Config;

/// Returns the number of cases: this one, unless `PROPTEST_CASES` sets another.
fn cases(usual: u32) -> u32 {
    let config = Config::default();
    // 256 is the library's general default, which is too many for a service that is called over HTTP.
    if config.cases == 256 { usual } else { config.cases }
}

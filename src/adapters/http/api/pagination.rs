//! `page` and `limit` of lists.

use crate::extract::values::Number;
use crate::extract::{Input, input};
use domain::page::PageRequest;

/// Number of a page.
pub type PageNumber = Number<1, { u32::MAX }>;
/// Number of entries of a page.
pub type PageLimit = Number<1, 100>;
/// The default page number.
pub const FIRST_PAGE: u32 = 1;
/// The default page size.
pub const DEFAULT_LIMIT: u32 = 20;

/// Returns the page of this number and size.
pub const fn page_of(page: PageNumber, limit: PageLimit) -> PageRequest {
    PageRequest { number: page.0, limit: limit.0 }
}

input! {
    /// The page of a list to return
    pub PageQuery {
        /// Page number, from 1
        defaulted "page" page: PageNumber = FIRST_PAGE,
        /// Page size
        defaulted "limit" limit: PageLimit = DEFAULT_LIMIT,
    }
}

impl Input for PageQuery {
    type Value = PageRequest;

    fn accept(self) -> PageRequest {
        page_of(self.page, self.limit)
    }
}

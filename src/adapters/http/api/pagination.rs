//! `page` and `limit` of lists.

use crate::extract::values::Number;
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

//! `page` and `limit` of lists.

use crate::extract::{Fields, Input};
use domain::page::PageRequest;

/// Reads the page that `page` and `limit` of a list select; `None` if one of them is invalid.
pub fn page(fields: &mut Fields) -> Option<PageRequest> {
    let number = fields.number("page", 1..=u32::MAX);
    let limit = fields.number("limit", 1..=100);
    Some(PageRequest { number: number?.unwrap_or(first_page()), limit: limit?.unwrap_or(default_limit()) })
}

/// The page of a list to return
#[derive(poem_openapi::Object)]
pub struct PageQuery {
    /// Page number, from 1
    #[oai(default = "first_page", validator(minimum(value = "1")))]
    pub page: u32,
    /// Page size
    #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "100")))]
    pub limit: u32,
}

impl Input for PageQuery {
    type Value = PageRequest;

    fn read(fields: &mut Fields) -> Option<PageRequest> {
        page(fields)
    }
}

/// Returns the default page number.
pub const fn first_page() -> u32 {
    1
}

/// Returns the default page size.
pub const fn default_limit() -> u32 {
    20
}

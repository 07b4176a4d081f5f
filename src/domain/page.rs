//! Pages of a list.

/// The part of a list that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Number of the page, from 1.
    pub number: u32,
    /// Number of entries per page, from 1.
    pub limit: u32,
}

impl PageRequest {
    /// Returns the number of entries before this page.
    pub const fn offset(self) -> u64 {
        (self.number as u64 - 1) * self.limit as u64
    }
}

/// One page of a list, with the length of the whole list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries of the page, newest first.
    pub items: Vec<T>,
    /// Number of entries on all pages.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_entries_stand_before_a_page_as_the_pages_before_it_hold() {
        assert_eq!(PageRequest { number: 1, limit: 20 }.offset(), 0);
        assert_eq!(PageRequest { number: 4, limit: 20 }.offset(), 60);
        assert_eq!(PageRequest { number: u32::MAX, limit: 100 }.offset(), 429_496_729_400);
    }
}

//! Instants and calendar months, in UTC.

use std::fmt;

/// How long expired state is kept, in seconds, to tolerate clock skew: a one-hour jump back plus five
/// minutes.
pub const CLOCK_SLACK_SECONDS: i64 = 3_900;

/// An instant, to the millisecond, so that every store returns exactly the value it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the instant this many milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since 1970-01-01T00:00:00Z, rounded down: RFC 7519's `NumericDate`.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the instant `seconds` later, saturating at the numeric bounds.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// Returns the instant `days` of 24 hours earlier.
    #[must_use]
    pub const fn minus_days(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days as i64 * 86_400_000))
    }

    /// Returns the start of the instant's minute, the precision of `lastUsedAt` and of audit tallies.
    #[must_use]
    pub const fn to_the_minute(self) -> Self {
        Self(self.0 - self.0.rem_euclid(60_000))
    }

    /// Returns the calendar month of the instant, in UTC.
    pub fn month(self) -> Month {
        let instant = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        let date = jiff::tz::Offset::UTC.to_datetime(instant);
        Month { year: date.year(), month: date.month() }
    }
}

/// A calendar month in UTC, the period of the token quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// Returns the year, and the month in the year from 1 on.
    pub const fn year_and_month(self) -> (i16, i8) {
        (self.year, self.month)
    }

    /// Returns the first instant after the month.
    pub fn end(self) -> Timestamp {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        let start = jiff::civil::DateTime::new(year, month, 1, 0, 0, 0, 0);
        let instant = start.and_then(|start| jiff::tz::Offset::UTC.to_timestamp(start));
        Timestamp(instant.unwrap_or(jiff::Timestamp::MAX).as_millisecond())
    }
}

impl fmt::Display for Month {
    /// Writes the month as `YYYY-MM`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_at_midnight_in_utc() {
        let last = Timestamp::from_millis(1_767_225_599_999);
        assert_eq!(last.month().to_string(), "2025-12");
        assert_eq!(last.month().year_and_month(), (2025, 12));
        let next = Timestamp::from_millis(last.as_millis() + 1);
        assert_eq!(next.month().to_string(), "2026-01");
        assert_eq!(last.month().end(), next);
        assert_eq!(next.month().end(), Timestamp::from_millis(next.as_millis() + 31 * 86_400_000));
    }

    #[test]
    fn seconds_and_minutes_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_millis(-1).as_seconds(), -1);
        assert_eq!(Timestamp::from_millis(-1).to_the_minute(), Timestamp::from_millis(-60_000));
    }
}

//! Sliding-window rate limit: how many requests pass in a minute.
//!
//! With `c` requests admitted in the current 60 s window, `p` in the window before it and `f` the elapsed
//! fraction of the current window, the usage is `p·(1−f) + c`. A request is admitted if one more fits, and
//! refused otherwise. A refused request is not counted, so a client that keeps sending at twice the limit
//! still gets the limit.
//!
//! All of it is computed in whole milliseconds, so every adapter that follows it gives the same answers.

use std::net::IpAddr;

use super::time::Timestamp;

/// The length of a window, in milliseconds.
pub const WINDOW_MILLIS: i64 = 60_000;

/// Returns the network whose requests are counted as one.
///
/// This is the IPv4 address itself, or the /64 of an IPv6 address.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Usage of one key: the state that a limiter keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// The window that `current` counts: its start, in windows since the epoch.
    pub window: i64,
    /// Requests admitted in that window.
    pub current: u32,
    /// Requests admitted in the window before it.
    pub previous: u32,
}

/// The decision of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDecision {
    /// Whether the request is admitted. If so, it has been counted.
    pub admitted: bool,
    /// The limit that was applied.
    pub limit: u32,
    /// Number of further requests that would be admitted now.
    pub remaining: u32,
    /// The first future second at which one more request would be admitted.
    ///
    /// In whole seconds since the epoch.
    pub reset_at: i64,
    /// Whole seconds from now until one more request is admitted, at least 1.
    pub retry_after: i64,
}

impl RateDecision {
    /// Whether an admitted request would have been admitted by this limit too.
    pub const fn is_within(&self, limit: u32) -> bool {
        self.limit - self.remaining <= limit
    }
}

impl WindowCounts {
    /// Admits and counts one more request if it fits, and refuses it otherwise.
    pub fn admit(&mut self, limit: u32, now: Timestamp) -> RateDecision {
        self.roll_to(now);
        let elapsed = now.as_millis().rem_euclid(WINDOW_MILLIS);
        let admitted = self.weight(elapsed) + WINDOW_MILLIS <= i64::from(limit) * WINDOW_MILLIS;
        if admitted {
            self.current += 1;
        }
        self.decision(admitted, limit, now)
    }

    /// Returns the decision on a request in the window of `now`, which was already counted if admitted.
    pub fn decision(self, admitted: bool, limit: u32, now: Timestamp) -> RateDecision {
        let elapsed = now.as_millis().rem_euclid(WINDOW_MILLIS);
        let free = i64::from(limit) * WINDOW_MILLIS - self.weight(elapsed);
        let remaining = u32::try_from(free.div_euclid(WINDOW_MILLIS).max(0)).unwrap_or(u32::MAX);
        let passes_at = self.next_admission(limit, now);
        let reset_at = (passes_at + 999).div_euclid(1000).max(now.as_seconds() + 1);
        let retry_after = (passes_at - now.as_millis() + 999).div_euclid(1000).max(1);
        RateDecision { admitted, limit, remaining, reset_at, retry_after }
    }

    /// Moves on to the window of `now`.
    ///
    /// A clock that steps back by at most one window changes nothing. If the clock was further ahead and is
    /// corrected, counting starts over.
    fn roll_to(&mut self, now: Timestamp) {
        let window = now.as_millis().div_euclid(WINDOW_MILLIS);
        match window - self.window {
            -1 | 0 => {}
            1 => *self = Self { window, current: 0, previous: self.current },
            _ => *self = Self { window, current: 0, previous: 0 },
        }
    }

    /// Returns the usage in requests times milliseconds, so that it stays an integer.
    fn weight(self, elapsed: i64) -> i64 {
        i64::from(self.previous) * (WINDOW_MILLIS - elapsed) + i64::from(self.current) * WINDOW_MILLIS
    }

    /// Returns the first millisecond from `now` on at which one more request would fit.
    fn next_admission(self, limit: u32, now: Timestamp) -> i64 {
        let start = self.window * WINDOW_MILLIS;
        let this = earliest(self.previous, self.current, limit).map(|elapsed| start + elapsed);
        let next = earliest(self.current, 0, limit).map(|elapsed| start + WINDOW_MILLIS + elapsed);
        this.or(next).unwrap_or(start + 2 * WINDOW_MILLIS).max(now.as_millis())
    }
}

/// Returns how far into its window one more request fits, with these counts.
///
/// `None` if it does not fit before the window's end.
fn earliest(previous: u32, current: u32, limit: u32) -> Option<i64> {
    let room = i64::from(limit) - 1 - i64::from(current);
    if room < 0 {
        return None;
    }
    let (previous, room) = (i64::from(previous), room * WINDOW_MILLIS);
    let excess = previous * WINDOW_MILLIS - room;
    if excess <= 0 {
        return Some(0);
    }
    let elapsed = (excess + previous - 1) / previous;
    (elapsed < WINDOW_MILLIS).then_some(elapsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_ipv6_network_is_one_and_mapped_ipv4_is_ipv4() {
        let network = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn a_client_at_twice_its_limit_still_gets_about_its_limit() {
        let mut usage = WindowCounts::default();
        let admitted = (0..5 * 200)
            .filter(|request| usage.admit(100, Timestamp::from_millis(request * 300)).admitted)
            .count();
        assert!((450..=550).contains(&admitted), "{admitted} in five minutes");
    }

    #[test]
    fn a_clock_that_jumps_and_returns_locks_nobody_out() {
        for jump in [2 * WINDOW_MILLIS, 3_600_000, 86_400_000] {
            let mut usage = WindowCounts::default();
            let now = 1_800_000_000_000;
            while usage.admit(10, Timestamp::from_millis(now + jump)).admitted {}
            let decision = usage.admit(10, Timestamp::from_millis(now));
            assert!(decision.admitted, "{jump}");
            assert!(decision.retry_after <= 120, "{decision:?}");
        }
        let mut usage = WindowCounts::default();
        let now = 1_800_000_000_000;
        while usage.admit(10, Timestamp::from_millis(now)).admitted {}
        assert!(!usage.admit(10, Timestamp::from_millis(now - 1)).admitted, "a small step forgets nothing");
    }

    proptest! {
        #[test]
        fn no_two_windows_admit_more_than_twice_the_limit_and_waiting_as_told_always_helps(
            limit in 1u32..20,
            steps in prop::collection::vec(0i64..20_000, 1..200),
        ) {
            let mut usage = WindowCounts::default();
            let mut now = 1_000_000_000_000;
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                let before = usage;
                let decision = usage.admit(limit, Timestamp::from_millis(now));
                prop_assert!(decision.remaining <= limit);
                prop_assert!(decision.reset_at * 1000 > now);
                if decision.admitted {
                    admitted.push(now);
                    let minute = admitted.iter().filter(|at| **at > now - WINDOW_MILLIS).count();
                    prop_assert!(minute < 2 * limit as usize, "{minute} in a minute");
                } else {
                    let mut unchanged = before;
                    unchanged.roll_to(Timestamp::from_millis(now));
                    prop_assert_eq!(unchanged, usage, "a refused request is not counted");
                    let later = now + decision.retry_after * 1000;
                    prop_assert!(usage.clone().admit(limit, Timestamp::from_millis(later)).admitted);
                    let sooner = usage.next_admission(limit, Timestamp::from_millis(now)) - 1;
                    prop_assert!(!usage.clone().admit(limit, Timestamp::from_millis(sooner)).admitted);
                    let passes_at = sooner + 1;
                    prop_assert_eq!(decision.retry_after, ((passes_at - now + 999) / 1000).max(1));
                    prop_assert_eq!(decision.reset_at, ((passes_at + 999) / 1000).max(now / 1000 + 1));
                }
            }
        }

        #[test]
        fn remaining_is_how_many_more_pass_at_once(limit in 1u32..30, used in 0u32..40, offset in 0i64..60_000) {
            let mut usage = WindowCounts::default();
            let now = Timestamp::from_millis(1_000_000_020_000);
            for _ in 0..used { usage.admit(limit, now); }
            let now = Timestamp::from_millis(now.as_millis() + offset);
            let decision = usage.admit(limit, now);
            let more = (0..2 * limit).filter(|_| usage.admit(limit, now).admitted).count();
            prop_assert_eq!(more, decision.remaining as usize);
        }
    }
}

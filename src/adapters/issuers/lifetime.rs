//! How long an answer may be cached.

use hyper::HeaderMap;
use hyper::header::CACHE_CONTROL;

/// The shortest and the longest time for which keys are cached, in seconds.
const SECONDS: std::ops::RangeInclusive<u32> = 60..=3_600;
/// Time for which keys are cached if the answer states none, in seconds.
const DEFAULT_SECONDS: u32 = 300;

/// Returns the seconds for which an answer may be cached, by its `Cache-Control` (RFC 9111 section 5.2.2).
///
/// A `max-age` that is no number counts as 0, as RFC 9111 section 4.2.1 recommends. Of several the shortest counts.
pub(crate) fn lifetime_seconds(headers: &HeaderMap) -> u32 {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let stated = values.flat_map(|value| value.split(',')).filter_map(seconds_of).min();
    stated.unwrap_or(DEFAULT_SECONDS).clamp(*SECONDS.start(), *SECONDS.end())
}

fn seconds_of(directive: &str) -> Option<u32> {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    match name.trim().to_ascii_lowercase().as_str() {
        "no-store" | "no-cache" => Some(0),
        "max-age" => {
            let digits = value.trim().trim_matches('"');
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            // A number of digits alone is only refused if it is too large.
            Some(if is_number { digits.parse().unwrap_or(u32::MAX) } else { 0 })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_is_max_age_within_its_bounds() {
        for (values, seconds) in [
            (&[][..], 300),
            (&["public"], 300),
            (&["max-age=600"], 600),
            (&["public, Max-Age=\"601\", must-revalidate"], 601),
            (&["max-age=0"], 60),
            (&["max-age=59"], 60),
            (&["max-age=3601"], 3_600),
            (&["max-age=99999999999999999999"], 3_600),
            (&["max-age=-1"], 60),
            (&["max-age"], 60),
            (&["max-age=1e3"], 60),
            (&["s-maxage=900, x-max-age=900"], 300),
            (&["no-store"], 60),
            (&["max-age=600, no-cache"], 60),
            (&["max-age=600", "max-age=500"], 500),
            (&["no-cache=\"set-cookie\""], 60),
            (&[",,= ,"], 300),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, value.parse().expect("a value"));
            }
            assert_eq!(lifetime_seconds(&headers), seconds, "{values:?}");
        }
    }
}

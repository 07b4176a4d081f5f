//! Resource indicators (RFC 8707): the audiences of tokens for resource servers.

use fluent_uri::Uri;

/// The longest resource indicator, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 2048;
/// The longest plain name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// An absolute URI without a fragment (RFC 3986), or a plain name such as `kafka`.
///
/// It is kept as written, because it is the `aud` of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceIndicator(String);

impl ResourceIndicator {
    /// Parses a resource indicator.
    ///
    /// Returns what is wrong with any other text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_RESOURCE_BYTES {
            return Err("must be at most 2048 bytes");
        }
        match Uri::parse(text) {
            Ok(uri) if uri.has_fragment() => Err("must not have a fragment"),
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) if is_name(text) => Ok(Self(text.to_owned())),
            Err(_) => Err(
                "must be an absolute URI, such as \"https://api.example.com\", or a name of letters, digits, \".\", \"_\" and \"-\", such as \"kafka\"",
            ),
        }
    }

    /// Returns the indicator as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this is a plain name. A plain name has no `:`, which every URI has.
    pub fn is_name(&self) -> bool {
        is_name(&self.0)
    }

    /// Returns the indicator in a form that is equal for equivalent URIs.
    pub fn normal_form(&self) -> String {
        normal_form(&self.0)
    }
}

/// Returns a URI in the normal form of RFC 3986 sections 6.2.2 and 6.2.3, and any other text unchanged.
///
/// Case of scheme and host, default port, empty path, dot segments and percent-encoding are normalized.
pub fn normal_form(text: &str) -> String {
    let Ok(uri) = Uri::parse(text) else { return text.to_owned() };
    let uri = uri.normalize();
    let mut normal = uri.as_str().to_owned();
    if let Some(authority) = uri.authority().filter(|_| uri.path().is_empty()) {
        normal.insert(uri.scheme().as_str().len() + "://".len() + authority.as_str().len(), '/');
    }
    normal
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= MAX_NAME_BYTES
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_indicator_is_an_absolute_uri_without_fragment_or_a_plain_name() {
        for uri in ["https://api.example.com", "https://api.example.com/v1?x=y", "urn:example:api"] {
            assert_eq!(ResourceIndicator::parse(uri).map(|one| one.is_name()), Ok(false), "{uri}");
        }
        for name in ["kafka", "sts.amazonaws.com", "A-1_b.c", "0", &"a".repeat(MAX_NAME_BYTES)] {
            assert_eq!(ResourceIndicator::parse(name).map(|one| one.is_name()), Ok(true), "{name}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for text in
            ["", "/relative", ".a", "-a", "a b", "a/b", "\u{e9}", "https://a b", "https://x/#f", &long]
        {
            assert!(ResourceIndicator::parse(text).is_err(), "{text}");
        }
        let longest = format!("https://api.example.com/{}", "a".repeat(MAX_RESOURCE_BYTES - 24));
        let parsed = ResourceIndicator::parse(&longest).expect("long enough");
        assert_eq!(parsed.as_str(), longest);
        assert_eq!(ResourceIndicator::parse(&format!("{longest}a")), Err("must be at most 2048 bytes"));
    }

    #[test]
    fn equivalent_uris_have_one_normal_form_and_others_have_not() {
        let normal = "https://api.example.com/";
        for same in [
            "https://api.example.com",
            "HTTPS://API.example.COM",
            "https://api.example.com:443",
            "https://api.example.com:443/",
            "https://api.example.com:/",
            "https://api.example.com/a/..",
        ] {
            assert_eq!(normal_form(same), normal, "{same}");
        }
        assert_eq!(normal_form("https://api.example.com?a=%7e"), "https://api.example.com/?a=~");
        for other in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com/a",
            "https://api.example.com/?",
            "https://example.com/",
            "https://user@api.example.com/",
            "api.example.com",
        ] {
            assert_ne!(normal_form(other), normal, "{other}");
        }
        for one in ["https://api.example.com/A", "urn:Example:API", "kafka", "Kafka", ""] {
            assert_eq!(normal_form(one), one);
        }
    }
}

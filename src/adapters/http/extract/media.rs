//! Media type and encoding of a body.

use poem::http::{HeaderMap, header};

/// Character sets that a body may name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// Only UTF-8.
    Utf8,
    /// Any: all bytes of a form are ASCII, and clients name whatever their platform's default is.
    Any,
}

/// Checks that a body has this media type and character set, without content encoding.
///
/// Returns what is wrong otherwise.
pub fn check(headers: &HeaderMap, media_type: &str, charset: Charset) -> Result<(), String> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err("the body must not be encoded: Content-Encoding is not supported".to_owned());
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let sent_as = only.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = sent_as.split(';').map(str::trim);
    let is_that = parts.next() == Some(media_type);
    let is_utf8 = |parameter: &str| matches!(parameter, "charset=utf-8" | "charset=\"utf-8\"" | "");
    if is_that && (charset == Charset::Any || parts.all(is_utf8)) {
        return Ok(());
    }
    let utf8 = if charset == Charset::Utf8 { ", in UTF-8" } else { "" };
    Err(format!("the body must be sent as Content-Type: {media_type}{utf8}"))
}

//! Media type and encoding of a body.

use poem::http::{HeaderMap, header};

/// Checks that a body has this media type, in UTF-8 and without content encoding.
///
/// Returns what is wrong otherwise.
pub fn check(headers: &HeaderMap, media_type: &str) -> Result<(), String> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err("the body must not be encoded: Content-Encoding is not supported".to_owned());
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let sent_as = only.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = sent_as.split(';').map(str::trim);
    let is_that = parts.next() == Some(media_type);
    if is_that && parts.all(|parameter| matches!(parameter, "charset=utf-8" | "charset=\"utf-8\"")) {
        return Ok(());
    }
    Err(format!("the body must be sent as Content-Type: {media_type}, in UTF-8"))
}

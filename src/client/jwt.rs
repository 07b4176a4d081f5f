//! Parts of a JWT (RFC 7519), which are read without a check of its signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Returns the object in a part of a JWT, its header or its claims; `None` if the part has no object.
pub fn object(part: &str) -> Option<Value> {
    let value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    Value::is_object(&value).then_some(value)
}

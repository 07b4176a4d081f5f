//! JSON bodies.

use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::strict_json::parse_object;
use super::{Fields, Input};
use crate::adapters::http::context::Context;
use crate::adapters::http::error::{ApiError, Code};

/// A JSON body, read as `T` is read.
pub struct JsonBody<T: Input>(pub T::Value);

impl<'a, T: Input> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> Result<Self> {
        refuse_other_media(request.headers())?;
        let bytes =
            body.take()?.into_bytes().await.map_err(|_| ApiError::internal("the body was read before"))?;
        let (fields, faults) = parse_object(&bytes).map_err(|fault| ApiError::validation(&[fault]))?;
        let now = Context::of(request)?.received_at;
        let value = Fields::new(fields, faults, now).read::<T>();
        Ok(Self(value.map_err(|faults| ApiError::validation(&faults))?))
    }
}

/// Takes `application/json`, in UTF-8 and as it is, and nothing else.
fn refuse_other_media(headers: &HeaderMap) -> Result<(), ApiError> {
    let refuse = |message| Err(ApiError::new(Code::UnsupportedMediaType, message));
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse("the body must not be encoded: no Content-Encoding is understood");
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let media = only.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = media.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json");
    if is_json && parts.all(|parameter| matches!(parameter, "charset=utf-8" | "charset=\"utf-8\"")) {
        return Ok(());
    }
    refuse("the body must be sent as Content-Type: application/json, in UTF-8")
}

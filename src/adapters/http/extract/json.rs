//! JSON bodies.

use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::strict_json::parse_object;
use super::values::reference;
use super::{Input, media, read};
use crate::error::{ApiError, Code};
use crate::json::JSON;

/// A JSON body, read as `T`.
pub struct JsonBody<T: Input>(pub T::Value);

impl<'a, T: Input> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: JSON, schema: reference::<T>() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> Result<Self> {
        media::check(request.headers(), JSON, media::Charset::Utf8)
            .map_err(|message| ApiError::new(Code::UnsupportedMediaType, message))?;
        let bytes =
            body.take()?.into_bytes().await.map_err(|_| ApiError::internal("the body was read before"))?;
        let (fields, field_errors) =
            parse_object(&bytes).map_err(|field_error| ApiError::validation(&[field_error]))?;
        Ok(Self(read::<T>(request, fields, field_errors)?))
    }
}

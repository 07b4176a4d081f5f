//! `POST /api/v1/token/revoke` (RFC 7009).

use poem_openapi::{ApiResponse, OpenApi};
use serde_json::json;

use super::authorization::EitherAuthorization;
use super::form::{Form, FormField, FormFields};
use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::operation::{BEARER, CLIENT_ERRORS, Operation, Tag, operation};
use app::revocation::RevocationError;

/// The revocation endpoint.
pub struct RevocationApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tokens")]
impl RevocationApi {
    /// Revoke a token
    ///
    /// Revokes a token of the caller or, with `agents:write`, of another agent in the organization. Once this call
    /// has returned, the token is revoked on every instance. Unknown tokens get the same response as known ones.
    #[oai(path = "/token/revoke", method = "post", operation_id = "revokeToken")]
    async fn revoke(
        &self,
        ctx: Ctx,
        authorization: EitherAuthorization,
        form: Form<RevocationForm>,
    ) -> Result<RevokeResponse, ApiError> {
        let caller = authorization.authenticate(&ctx, &form).await?;
        let token = form.get("token").ok_or_else(|| ApiError::invalid_request("token is missing"))?;
        let revoked = ctx.app.revocation.revoke(&caller, token).await;
        revoked.map(|()| RevokeResponse::Ok).map_err(|error| authorization.explain(error))
    }
}

#[derive(ApiResponse)]
enum RevokeResponse {
    /// Revoked, or unknown
    #[oai(status = 200)]
    Ok,
}

/// A token to revoke
struct RevocationForm;

impl FormFields for RevocationForm {
    const NAME: &'static str = "RevocationForm";
    const DESCRIPTION: &'static str = "A token to revoke";
    const FIELDS: &'static [FormField] =
        &[FormField::required("token", ""), FormField::optional("token_type_hint", "Optional and ignored")];
}

impl From<RevocationError> for ApiError {
    fn from(error: RevocationError) -> Self {
        match error {
            RevocationError::Forbidden(refusal) => refusal.into(),
            RevocationError::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[Operation {
    oauth_errors: &CLIENT_ERRORS,
    example: Some(|| json!({ "token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl" })),
    ..operation("revokeToken", &[BEARER, &[Code::PayloadTooLarge, Code::ValidationError]])
}];

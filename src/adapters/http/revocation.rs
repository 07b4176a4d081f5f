//! `POST /api/v1/token/revoke` (RFC 7009).

use poem_openapi::{ApiResponse, Object, OpenApi};

use super::authorization::EitherAuthorization;
use super::context::Ctx;
use super::error::ApiError;
use super::input::{Form, FormFields};
use super::operations::Tag;
use crate::app::revocation::Revocations;

/// The revocation endpoint.
pub struct RevocationApi {
    pub revocations: Revocations,
}

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tokens")]
impl RevocationApi {
    /// Revoke a token
    ///
    /// One's own, or with `agents:write` another agent's of the organization. From this answer on the token
    /// is dead everywhere. An unknown token is answered like a known one.
    #[oai(path = "/token/revoke", method = "post", operation_id = "revokeToken")]
    async fn revoke(
        &self,
        here: Ctx,
        caller: EitherAuthorization,
        form: Form<RevocationForm>,
    ) -> Result<RevokeResponse, ApiError> {
        let caller = caller.authenticate(&here.0, &form).await?;
        let token = form.get("token").ok_or_else(|| ApiError::invalid_request("token is missing"))?;
        self.revocations.revoke(&caller, token).await?;
        Ok(RevokeResponse::Ok)
    }
}

#[derive(ApiResponse)]
enum RevokeResponse {
    /// The token is dead, if it was ours
    #[oai(status = 200)]
    Ok,
}

/// A token to revoke
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct RevocationForm {
    token: String,
    /// Not needed
    token_type_hint: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion: Option<String>,
    client_assertion_type: Option<String>,
}

impl FormFields for RevocationForm {
    const KNOWN: &'static [&'static str] = &["token", "token_type_hint"];
}

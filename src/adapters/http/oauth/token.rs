//! `POST /api/v1/token` and `GET /api/v1/authorize`.

use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi};
use serde_json::json;

use super::authorization::ClientAuthorization;
use super::form::{Form, FormField, FormFields};
use crate::error::{ApiError, Code, TEMPORARILY_UNAVAILABLE};
use crate::extract::context::Ctx;
use crate::json::Json;
use crate::operation::{Operation, Tag, operation};
use app::client_auth::FormParameter;
use app::error_chain;
use app::token::{ACCESS_TOKEN, TokenError, TokenRequest, form_parameters, grant_types};

/// The token endpoint.
pub struct TokenApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tokens")]
impl TokenApi {
    /// Get a token
    ///
    /// Client credentials grant (RFC 6749 section 4.4) or token exchange (RFC 8693). The client authenticates by exactly one method: HTTP Basic,
    /// `client_id` and `client_secret` in the form, or `private_key_jwt` (RFC 7523). Without `scope`, the token gets
    /// all capabilities of the agent except management scopes, or all of them if the agent has only management scopes.
    ///
    /// With a proof of possession in the header `DPoP` (RFC 9449), the token is bound to the key of the proof.
    ///
    /// By an exchange, the client acts for the subject of another token, if the side of the subject allows it. The token
    /// has at most the scopes that both have, never a management scope, and is active only while its whole chain is.
    #[oai(path = "/token", method = "post", operation_id = "issueToken")]
    async fn issue(
        &self,
        ctx: Ctx,
        client: ClientAuthorization,
        form: Form<TokenForm>,
    ) -> Result<Json<TokenBody>, ApiError> {
        let presented = client.presented(&form);
        let parameters = form_parameters().map(|parameter| parameter.name);
        let request = TokenRequest {
            grant_type: form.get("grant_type").map(str::to_owned),
            scope: form.get("scope").map(str::to_owned),
            resources: form.repeated("resource"),
            audiences: form.repeated("audience"),
            parameters: parameters.filter_map(|name| Some((name, form.get(name)?.into()))).collect(),
        };
        let issued = ctx.app.tokens.issue(&ctx.request, &presented, &request).await.map_err(|error| {
            let error = ApiError::from(error);
            if client.is_basic() { error.with_basic_challenge() } else { error }
        })?;
        Ok(Json(TokenBody {
            access_token: issued.token.expose().to_owned(),
            issued_token_type: issued.is_exchanged.then(|| ACCESS_TOKEN.to_owned()),
            token_type: if issued.is_bound { "DPoP" } else { "Bearer" }.to_owned(),
            expires_in: issued.expires_in_seconds,
            scope: issued.scopes.as_str().to_owned(),
        }))
    }

    /// Reject an authorization request
    ///
    /// Exists only because discovery documents must name an authorization endpoint, and always returns an error.
    /// Agents have no user to redirect here: they use the client credentials grant at the token endpoint.
    #[oai(path = "/authorize", method = "get", operation_id = "authorize")]
    async fn authorize(&self) -> Result<Json<TokenBody>, ApiError> {
        let description = "this server has no authorization endpoint; use the client_credentials grant";
        Err(ApiError::oauth(StatusCode::BAD_REQUEST, "unsupported_response_type", description))
    }
}

/// A token request
struct TokenForm;

impl FormFields for TokenForm {
    const NAME: &'static str = "TokenForm";
    const DESCRIPTION: &'static str = "A token request";
    const FIELDS: &'static [FormField] = &[
        FormField::required("grant_type", ""),
        FormField::optional("scope", "Requested scopes, space-separated"),
        FormField::repeated(
            "resource",
            "URI of the resource server that the token is for, at most one (RFC 8707)",
        ),
        FormField::repeated("audience", "Instead of `resource`: its URI, or a plain name such as `kafka`"),
    ];

    fn values(field: &FormField) -> Vec<&'static str> {
        if field.name == "grant_type" { grant_types().collect() } else { Vec::new() }
    }

    fn further() -> Vec<FormParameter> {
        form_parameters().collect()
    }
}

/// An issued token
#[derive(Object)]
#[oai(rename = "Token", skip_serializing_if_is_none)]
struct TokenBody {
    /// JWT access token (RFC 9068)
    access_token: String,
    /// Type of a token that was obtained by exchange (RFC 8693 section 2.2.1)
    issued_token_type: Option<String>,
    /// `Bearer`, or `DPoP` for a token that is bound to a key
    token_type: String,
    /// Lifetime in seconds
    expires_in: i64,
    /// Granted scopes, space-separated
    scope: String,
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        use TokenError as E;
        let message = error.to_string();
        let refuse = |name| Self::oauth(StatusCode::BAD_REQUEST, name, message.clone());
        match error {
            E::GrantTypeMissing | E::Malformed(_) | E::Exchange(_) => refuse("invalid_request"),
            E::UnsupportedGrantType(_) => refuse("unsupported_grant_type"),
            E::Client(refusal) => refusal.into(),
            E::InvalidScope(_) | E::ManagementScopeForResource | E::ScopeNotDelegated => {
                refuse("invalid_scope")
            }
            E::InvalidProof(_) => refuse("invalid_dpop_proof"),
            E::InvalidTarget(_) => refuse("invalid_target"),
            E::QuotaReached(limit) => Self::limit_reached(message, limit).with_oauth_error("access_denied"),
            E::Contended => Self::oauth(StatusCode::SERVICE_UNAVAILABLE, TEMPORARILY_UNAVAILABLE, message)
                .with_retry_after(1),
            E::Sign(failure) => Self::internal(&error_chain(&failure)),
            E::Store(failure) => Self::from(failure).into_oauth(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        oauth_errors: &[
            (
                400,
                "invalid_request, unauthorized_client, unsupported_grant_type, invalid_scope, invalid_target, invalid_dpop_proof",
            ),
            (401, "invalid_client"),
            (503, "temporarily_unavailable"),
        ],
        example: Some(|| json!({ "grant_type": "client_credentials" })),
        ..operation(
            "issueToken",
            &[&[
                Code::FreeTierLimitExceeded,
                Code::RateLimitExceeded,
                Code::PayloadTooLarge,
                Code::ValidationError,
            ]],
        )
    },
    Operation {
        oauth_errors: &[(400, "unsupported_response_type")],
        succeeds: false,
        ..operation("authorize", &[])
    },
];

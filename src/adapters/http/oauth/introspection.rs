//! `POST /api/v1/token/introspect` (RFC 7662).

use poem_openapi::{Object, OpenApi};
use serde_json::json;

use super::authorization::{EitherAuthorization, Scope};
use super::form::{Form, FormField, FormFields};
use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::json::Json;
use crate::operation::{BEARER, CLIENT_ERRORS, Operation, Tag, operation};
use app::introspection::{ActiveToken, IntrospectionError};
use domain::delegation::Person;
use domain::id::AgentId;

/// The introspection endpoint.
pub struct IntrospectionApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tokens")]
impl IntrospectionApi {
    /// Introspect a token
    ///
    /// Inactive, foreign and malformed tokens are all reported as `{"active": false}`. The caller sends a bearer token
    /// or authenticates as a client, as at the token endpoint.
    #[oai(path = "/token/introspect", method = "post", operation_id = "introspectToken")]
    async fn introspect(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::TOKENS_READ")] authorization: EitherAuthorization,
        form: Form<IntrospectionForm>,
    ) -> Result<Json<IntrospectionBody>, ApiError> {
        let introspection = &ctx.app.introspection;
        let look_up = async {
            match form.get("token") {
                Some(token) => Some(introspection.look_up(token).await),
                None => None,
            }
        };
        let (caller, looked_up) = authorization.authenticate_with(&ctx, &form, look_up).await?;
        let looked_up = looked_up.ok_or_else(|| ApiError::invalid_request("token is missing"))?;
        let active = introspection.report(&caller, looked_up);
        let active = active.map_err(|error| authorization.explain(error))?;
        Ok(Json(active.map_or_else(IntrospectionBody::inactive, |token| (&token).into())))
    }
}

/// A token to introspect
struct IntrospectionForm;

impl FormFields for IntrospectionForm {
    const NAME: &'static str = "IntrospectionForm";
    const DESCRIPTION: &'static str = "A token to introspect";
    const FIELDS: &'static [FormField] =
        &[FormField::required("token", ""), FormField::optional("token_type_hint", "Optional and ignored")];
}

/// State and claims of a token
#[derive(Object, Default)]
#[oai(rename = "Introspection", skip_serializing_if_is_none)]
struct IntrospectionBody {
    active: bool,
    scope: Option<String>,
    client_id: Option<String>,
    sub: Option<String>,
    aud: Option<String>,
    iss: Option<String>,
    exp: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
    token_type: Option<String>,
    organization_id: Option<String>,
    /// The key that the token is bound to (RFC 9449 section 6.2)
    cnf: Option<ConfirmationBody>,
    /// Agents that act, the token's client first (RFC 8693 section 4.1)
    act: Option<Actor>,
    /// The person that the token acts for (RFC 9493)
    sub_id: Option<SubjectIdentifier>,
    delegation: Option<DelegationBody>,
}

/// The key that a token is bound to
#[derive(Object)]
#[oai(rename = "Confirmation")]
struct ConfirmationBody {
    /// Thumbprint of the key (RFC 7638)
    jkt: String,
}

/// An agent that acts for another party
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Actor {
    sub: String,
    // The agent that acted before. With a description it would refer to itself within `allOf`, which generators of clients
    // refuse.
    act: Option<Box<Actor>>,
}

/// A person of a trusted issuer
#[derive(Object)]
struct SubjectIdentifier {
    /// `iss_sub`
    format: String,
    iss: String,
    sub: String,
}

/// Place of a token in the tree of exchanges
#[derive(Object)]
#[oai(rename = "Delegation")]
struct DelegationBody {
    /// Number of exchanges that added an actor
    depth: u32,
    /// `jti` of the first token of the tree
    root: String,
}

/// Returns the actors as nested objects.
fn actor(actors: &[AgentId]) -> Option<Actor> {
    let (first, rest) = actors.split_first()?;
    Some(Actor { sub: first.to_string(), act: actor(rest).map(Box::new) })
}

impl From<&Person> for SubjectIdentifier {
    fn from(person: &Person) -> Self {
        Self { format: "iss_sub".to_owned(), iss: person.iss.to_string(), sub: person.sub.to_string() }
    }
}

impl IntrospectionBody {
    fn inactive() -> Self {
        Self::default()
    }
}

impl From<&ActiveToken> for IntrospectionBody {
    fn from(token: &ActiveToken) -> Self {
        let claims = &token.claims;
        let delegation = claims.delegation.as_deref();
        Self {
            active: true,
            scope: Some(token.scopes.as_str().to_owned()),
            client_id: Some(claims.agent.to_string()),
            sub: Some(claims.subject().to_string()),
            aud: Some(token.audience().to_owned()),
            iss: Some(token.issuer.to_string()),
            exp: Some(claims.expires_at),
            iat: Some(claims.issued_at),
            jti: Some(claims.id.to_string()),
            token_type: Some(if claims.key.is_some() { "DPoP" } else { "Bearer" }.to_owned()),
            organization_id: Some(claims.organization.to_string()),
            cnf: claims.key.as_ref().map(|key| ConfirmationBody { jkt: key.0.to_string() }),
            act: delegation.and_then(|delegation| actor(&delegation.actors)),
            sub_id: claims.person().map(Into::into),
            delegation: delegation.map(|delegation| DelegationBody {
                depth: delegation.depth(),
                root: delegation.root().unwrap_or(claims.id).to_string(),
            }),
        }
    }
}

impl From<IntrospectionError> for ApiError {
    fn from(error: IntrospectionError) -> Self {
        match error {
            IntrospectionError::Forbidden(refusal) => refusal.into(),
            IntrospectionError::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[Operation {
    oauth_errors: &CLIENT_ERRORS,
    example: Some(|| json!({ "token": "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl" })),
    ..operation("introspectToken", &[BEARER, &[Code::PayloadTooLarge, Code::ValidationError]])
}];

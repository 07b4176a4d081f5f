//! `/api/v1/token/forward-auth`.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiResponse, OpenApi};

use super::authorization::TokenAuthorization;
use super::challenge::{challenge, refused};
use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::extract::wire::inline;
use crate::extract::{Field, Fields, Input, Query, input, text};
use crate::operation::{BEARER, Operation, Tag, operation};
use app::forward_auth::{AllowedRequest, ForwardAuthError, Requirement};
use domain::resource_indicator::ResourceIndicator;
use domain::scope::RequestedScope;

/// Characters of header values that are percent-encoded, besides those outside of ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The endpoint that proxies ask.
pub struct ForwardAuthApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tokens")]
impl ForwardAuthApi {
    /// Judge a request for a proxy
    ///
    /// For `auth_request` of nginx, `ext_authz` of Envoy and the like, by any method and with any path after this one. The
    /// token is that of the request itself. A trusted proxy can say what it requires in the headers
    /// `X-Auth-Require-Resource` and `X-Auth-Require-Scope`, which replace the query.
    #[oai(path = "/token/forward-auth", method = "get", operation_id = "judgeRequest")]
    async fn judge(
        &self,
        ctx: Ctx,
        authorization: TokenAuthorization,
        query: Query<ForwardAuthQuery>,
    ) -> Result<ForwardAuthResponse, ApiError> {
        let requirement = query.0;
        let judged = ctx.app.forward_auth.judge(&ctx.request, authorization.token(), &requirement).await;
        let resource = requirement.resource.as_ref().map_or(&*ctx.app.issuer, ResourceIndicator::as_str);
        judged.map(|allowed| (&allowed).into()).map_err(|error| explain(error, resource))
    }
}

input! {
    /// Requirement of a proxy
    ForwardAuthQuery {
        /// Audience that the token must have; by default the issuer
        optional "resource" resource: ResourceIndicator,
        /// Scopes that the token must all have, separated by spaces
        optional "scope" scope: RequestedScope,
    }
}

impl Input for ForwardAuthQuery {
    type Value = Requirement;

    fn accept(self) -> Requirement {
        Requirement { resource: self.resource, scope: self.scope }
    }
}

impl Field for RequestedScope {
    fn schema() -> MetaSchemaRef {
        inline(MetaSchema {
            max_length: Some(Self::MAX_BYTES),
            pattern: Some(r"^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$".to_owned()),
            ..MetaSchema::new("string")
        })
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Option<Self>> {
        fields.optional(
            name,
            text(|value| Self::parse(value).map_err(|_| "must be scopes, separated by single spaces")),
        )
    }
}

#[derive(ApiResponse)]
enum ForwardAuthResponse {
    /// The request may pass. Characters outside of visible ASCII, and `%`, are percent-encoded in the headers
    #[oai(status = 200)]
    Allowed(
        /// The client of the token
        #[oai(header = "X-Auth-Agent-Id")]
        String,
        /// The client's organization
        #[oai(header = "X-Auth-Organization-Id")]
        String,
        /// Scopes of the token
        #[oai(header = "X-Auth-Scope")]
        String,
        /// The party that the token acts for: `sub`
        #[oai(header = "X-Auth-Subject")]
        String,
        /// Agents that act, the client first, separated by commas; absent if none acts for another party
        #[oai(header = "X-Auth-Actors")]
        Option<String>,
    ),
}

impl From<&AllowedRequest> for ForwardAuthResponse {
    fn from(allowed: &AllowedRequest) -> Self {
        let claims = &allowed.claims;
        let actors = claims.delegation.iter().flat_map(|delegation| &delegation.actors);
        let actors: Vec<String> = actors.map(ToString::to_string).collect();
        Self::Allowed(
            claims.agent.to_string(),
            claims.organization.to_string(),
            encoded(allowed.scopes.as_str()),
            encoded(&claims.subject().to_string()),
            (!actors.is_empty()).then(|| actors.join(",")),
        )
    }
}

/// Encodes a value. Spaces at its ends, which a header would lose, are encoded too.
fn encoded(value: &str) -> String {
    let encoded = utf8_percent_encode(value, ENCODED).to_string();
    let inner = encoded.trim_matches(' ');
    let first = encoded.len() - encoded.trim_start_matches(' ').len();
    let last = encoded.len() - first - inner.len();
    format!("{}{inner}{}", "%20".repeat(first), "%20".repeat(last))
}

/// Returns the error as clients of the resource understand it (RFC 6750 section 3, RFC 9728 section 5.1).
fn explain(error: ForwardAuthError, resource: &str) -> ApiError {
    let metadata = metadata_url(resource).map(|url| format!(r#"resource_metadata="{url}""#));
    let message = error.to_string();
    match error {
        ForwardAuthError::Bearer(error) => refused(error, metadata.as_deref()),
        ForwardAuthError::InsufficientScope { required, is_bound } => {
            let scheme = if is_bound { "DPoP" } else { "Bearer" };
            let scope = format!(r#"scope="{}""#, required.as_str());
            let parameters = [r#"error="insufficient_scope""#, &*scope];
            let challenge = challenge(scheme, &parameters, metadata.as_deref());
            ApiError::new(Code::Forbidden, message).with_challenge(challenge)
        }
    }
}

/// Returns where the metadata of a resource is published (RFC 9728 section 3.1); `None` if the resource is no web URL.
fn metadata_url(resource: &str) -> Option<String> {
    let uri = fluent_uri::Uri::parse(resource).ok()?;
    let authority = uri.authority().filter(|_| matches!(uri.scheme().as_str(), "http" | "https"))?;
    let path = Some(uri.path().as_str()).filter(|path| *path != "/").unwrap_or_default();
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let scheme = uri.scheme();
    Some(format!("{scheme}://{}/.well-known/oauth-protected-resource{path}{query}", authority.as_str()))
}

/// The operation on the wire.
pub const OPERATIONS: &[Operation] = &[operation("judgeRequest", &[BEARER, &[Code::ValidationError]])];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_of_a_resource_is_between_its_host_and_its_path() {
        for (resource, url) in [
            ("https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"),
            ("https://api.example.com/", "https://api.example.com/.well-known/oauth-protected-resource"),
            (
                "https://api.example.com:8443/a/b",
                "https://api.example.com:8443/.well-known/oauth-protected-resource/a/b",
            ),
            ("http://[::1]/a?b=c", "http://[::1]/.well-known/oauth-protected-resource/a?b=c"),
        ] {
            assert_eq!(metadata_url(resource).as_deref(), Some(url));
        }
        for resource in ["kafka", "urn:example:api", "sts.amazonaws.com"] {
            assert_eq!(metadata_url(resource), None);
        }
    }

    #[test]
    fn a_header_value_is_visible_ascii_and_says_all_that_the_text_says() {
        let text = "J\u{f6}rg 100%\r\nX-Auth-Agent-Id: x\u{202e}";
        let value = encoded(text);
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{value}");
        assert_eq!(percent_encoding::percent_decode_str(&value).decode_utf8().expect("UTF-8"), text);
        for (text, value) in [("a:b c:d", "a:b c:d"), ("  a ", "%20%20a%20"), ("", ""), (" ", "%20")] {
            assert_eq!(encoded(text), value);
        }
    }
}

//! `/.well-known`: discovery metadata for clients and resource servers.

use poem_openapi::{ApiResponse, Object, OpenApi};

use super::jwk::Jwk;
use crate::extract::context::Ctx;
use crate::json::Json;
use crate::operation::{Operation, Tag, operation};
use app::App;
use app::token::grant_types;
use domain::jwk::SIGNATURE_ALGORITHMS;
use domain::proof::PROOF_ALGORITHMS;
use domain::scope::ManagementScope;

/// `Cache-Control` of the key set. A new key must be published that long before it signs.
const KEYS_MAY_BE_KEPT: &str = "public, max-age=300";

/// The discovery documents.
pub struct DiscoveryApi;

#[OpenApi(prefix_path = "/.well-known", tag = "Tag::Discovery")]
impl DiscoveryApi {
    /// Get the public keys
    ///
    /// Every key that signs, will sign, or is still accepted for verification (RFC 7517).
    #[oai(path = "/jwks.json", method = "get", operation_id = "getJwks")]
    async fn keys(&self, ctx: Ctx) -> KeysResponse {
        let published = ctx.app.keys.published();
        let keys = published.iter().map(|key| Jwk::of(&key.key, Some(&key.id))).collect();
        KeysResponse::Ok(Json(KeySetBody { keys }), KEYS_MAY_BE_KEPT.to_owned())
    }

    /// Get the authorization server metadata
    ///
    /// Authorization server metadata (RFC 8414).
    #[oai(path = "/oauth-authorization-server", method = "get", operation_id = "getServerMetadata")]
    async fn server(&self, ctx: Ctx) -> Json<ServerMetadata> {
        Json(metadata(&ctx.app, "none"))
    }

    /// Get the OpenID discovery document
    ///
    /// The authorization server metadata, at the path where OpenID Connect clients look for it. No ID token is issued:
    /// `id_token` stands among the response types because verifiers of other systems' tokens insist on it.
    #[oai(path = "/openid-configuration", method = "get", operation_id = "getOpenidConfiguration")]
    async fn openid(&self, ctx: Ctx) -> Json<ServerMetadata> {
        Json(metadata(&ctx.app, "id_token"))
    }

    /// Get the protected resource metadata
    ///
    /// Protected resource metadata (RFC 9728). The protected resource is the API of this service.
    #[oai(path = "/oauth-protected-resource", method = "get", operation_id = "getResourceMetadata")]
    async fn resource(&self, ctx: Ctx) -> Json<ResourceMetadata> {
        Json(ResourceMetadata {
            resource: ctx.app.issuer.to_string(),
            authorization_servers: vec![ctx.app.issuer.to_string()],
            jwks_uri: url(&ctx.app, "/.well-known/jwks.json"),
            scopes_supported: ManagementScope::ALL.iter().map(|scope| scope.as_str().to_owned()).collect(),
            bearer_methods_supported: vec!["header".to_owned()],
            dpop_signing_alg_values_supported: PROOF_ALGORITHMS.map(str::to_owned).to_vec(),
            resource_documentation: url(&ctx.app, "/docs"),
        })
    }
}

/// Returns the URL of a path of this service.
fn url(app: &App, path: &str) -> String {
    format!("{}{path}", app.issuer.trim_end_matches('/'))
}

/// Returns the metadata of the authorization server.
///
/// Clients refuse metadata without a response type (RFC 8414 section 2 requires the list). There are no
/// `scopes_supported`, because some clients request every scope that is listed there.
fn metadata(app: &App, response_type: &str) -> ServerMetadata {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let methods = || app.clients.methods().map(str::to_owned).collect();
    let signing = app.keys.published().first().map(|key| key.key.algorithm());
    // OpenID Connect Discovery 1.0 section 3 requires RS256 among them, whatever the key.
    let also = (signing != Some("RS256")).then_some("RS256");
    ServerMetadata {
        issuer: app.issuer.to_string(),
        authorization_endpoint: url(app, "/api/v1/authorize"),
        token_endpoint: url(app, "/api/v1/token"),
        introspection_endpoint: url(app, "/api/v1/token/introspect"),
        revocation_endpoint: url(app, "/api/v1/token/revoke"),
        jwks_uri: url(app, "/.well-known/jwks.json"),
        service_documentation: url(app, "/docs"),
        response_types_supported: names(&[response_type]),
        grant_types_supported: grant_types().map(str::to_owned).collect(),
        token_endpoint_auth_methods_supported: methods(),
        token_endpoint_auth_signing_alg_values_supported: names(&SIGNATURE_ALGORITHMS),
        introspection_endpoint_auth_methods_supported: methods(),
        introspection_endpoint_auth_signing_alg_values_supported: names(&SIGNATURE_ALGORITHMS),
        revocation_endpoint_auth_methods_supported: methods(),
        revocation_endpoint_auth_signing_alg_values_supported: names(&SIGNATURE_ALGORITHMS),
        dpop_signing_alg_values_supported: names(&PROOF_ALGORITHMS),
        subject_types_supported: names(&["public"]),
        id_token_signing_alg_values_supported: signing.into_iter().chain(also).map(str::to_owned).collect(),
    }
}

#[derive(ApiResponse)]
enum KeysResponse {
    /// The public keys
    #[oai(status = 200)]
    Ok(
        Json<KeySetBody>,
        /// How long the keys may be cached
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// A set of public keys
#[derive(Object)]
#[oai(rename = "JwkSet")]
struct KeySetBody {
    keys: Vec<Jwk>,
}

/// Metadata of RFC 8414 section 2, with the additional fields that OpenID Connect Discovery 1.0 requires
#[derive(Object)]
struct ServerMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    jwks_uri: String,
    service_documentation: String,
    response_types_supported: Vec<String>,
    grant_types_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Vec<String>,
    token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    introspection_endpoint_auth_methods_supported: Vec<String>,
    introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    revocation_endpoint_auth_methods_supported: Vec<String>,
    revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
    dpop_signing_alg_values_supported: Vec<String>,
    subject_types_supported: Vec<String>,
    id_token_signing_alg_values_supported: Vec<String>,
}

/// Metadata of RFC 9728 section 2
#[derive(Object)]
struct ResourceMetadata {
    resource: String,
    authorization_servers: Vec<String>,
    jwks_uri: String,
    scopes_supported: Vec<String>,
    bearer_methods_supported: Vec<String>,
    dpop_signing_alg_values_supported: Vec<String>,
    resource_documentation: String,
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    operation("getJwks", &[]),
    operation("getServerMetadata", &[]),
    operation("getOpenidConfiguration", &[]),
    operation("getResourceMetadata", &[]),
];

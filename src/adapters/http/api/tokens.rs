//! `/api/v1/tokens`: tokens that are known by their ID.

use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::error::{ApiError, Code};
use crate::extract::context::Ctx;
use crate::extract::wire::{Instant, NoContent, PathId};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, Operation, Tag, operation};
use app::token_tree::{TokenTree, TokenTreeError};
use domain::id::TokenId;
use domain::token_record::TokenRecord;

/// The operations on tokens that are known by their ID.
pub struct TokensApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Tokens")]
impl TokensApi {
    /// Revoke a token by its ID
    ///
    /// Revokes the token with this `jti`, as the audit log names it, and every token that was exchanged from it, at any
    /// depth, on every instance.
    #[oai(path = "/tokens/:tokenId/revoke", method = "post", operation_id = "revokeTokenById")]
    async fn revoke(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AGENTS_WRITE")] caller: Bearer,
        #[oai(name = "tokenId")] token_id: Path<PathId<TokenId>>,
    ) -> Result<NoContent, ApiError> {
        ctx.app.token_trees.revoke(&caller.0, token_id.0.0).await?;
        Ok(NoContent::NoContent)
    }

    /// Get the tree of a token
    ///
    /// The first token of the tree that this `jti` belongs to, and all that were exchanged from it, at any depth, oldest
    /// first, at most 1,000.
    #[oai(path = "/tokens/:tokenId/tree", method = "get", operation_id = "getTokenTree")]
    async fn tree(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::AUDIT_READ")] caller: Bearer,
        #[oai(name = "tokenId")] token_id: Path<PathId<TokenId>>,
    ) -> Result<Json<TreeBody>, ApiError> {
        let tree = ctx.app.token_trees.find_tree(&caller.0, token_id.0.0).await?;
        Ok(Json((&tree).into()))
    }
}

/// A token and all that were exchanged from it
#[derive(Object)]
#[oai(rename = "TokenTree")]
struct TreeBody {
    /// `jti` of the first token of the tree
    root: Uuid,
    tokens: Vec<TreeToken>,
    /// Whether the tree has more than 1,000 tokens
    truncated: bool,
}

/// A token of a tree
#[derive(Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
struct TreeToken {
    jti: Uuid,
    /// `jti` of the token that it was exchanged for; absent for the first
    parent: Option<Uuid>,
    depth: u32,
    /// The client
    agent_id: Uuid,
    /// `sub`: an agent ID, or a person as `user:<issuerId>:<sub>`
    subject: String,
    /// Granted scopes, space-separated; absent if the event had no room for them
    scope: Option<String>,
    /// The resource server that it is for
    resource: Option<String>,
    issued_at: Instant,
    expires_at: Instant,
    active: bool,
}

impl From<&(TokenRecord, bool)> for TreeToken {
    fn from((record, active): &(TokenRecord, bool)) -> Self {
        Self {
            jti: record.id.0,
            parent: record.parent.map(|parent| parent.0),
            depth: record.depth,
            agent_id: record.agent.0,
            subject: record.subject.clone(),
            scope: record.scope.clone(),
            resource: record.resource.clone(),
            issued_at: Instant(record.issued_at),
            expires_at: Instant(record.expires_at),
            active: *active,
        }
    }
}

impl From<&TokenTree> for TreeBody {
    fn from(tree: &TokenTree) -> Self {
        Self {
            root: tree.root.0,
            tokens: tree.tokens.iter().map(Into::into).collect(),
            truncated: tree.is_truncated,
        }
    }
}

impl From<TokenTreeError> for ApiError {
    fn from(error: TokenTreeError) -> Self {
        let text = error.to_string();
        match error {
            TokenTreeError::Forbidden(refusal) => refusal.into(),
            TokenTreeError::NoSuchToken => Self::new(Code::TokenNotFound, text),
            TokenTreeError::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    operation("revokeTokenById", &[BEARER, &[Code::TokenNotFound]]),
    operation("getTokenTree", &[BEARER, &[Code::TokenNotFound]]),
];

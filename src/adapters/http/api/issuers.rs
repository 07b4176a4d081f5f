//! `/api/v1/issuers`.

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::json;

use super::explanation::ExplanationBody;
use super::issuer_body::IssuerBody;
use super::issuer_fields::{Audiences, PersonSub};
use super::pagination::{DEFAULT_LIMIT, FIRST_PAGE, PageLimit, PageNumber, page_of};
use crate::error::{ApiError, Code, FieldError};
use crate::extract::context::Ctx;
use crate::extract::values::Number;
use crate::extract::wire::{NoContent, PathId};
use crate::extract::{Input, JsonBody, Query, input};
use crate::json::Json;
use crate::oauth::authorization::{Bearer, Scope};
use crate::operation::{BEARER, BODY, Operation, Tag, operation};
use app::issuers::{IssuersError, NewIssuer};
use domain::id::{AgentId, IssuerId, OrganizationId};
use domain::issuer::{
    DEFAULT_ALGORITHMS, DEFAULT_LIFETIME_SECONDS, IssuerChange, IssuerStatus, IssuerUrl, KeySource,
    LIFETIME_SECONDS, Subjects,
};
use domain::managed_by::ManagedBy;
use domain::organization::Name;
use domain::page::PageRequest;
use domain::signature_algorithm::SignatureAlgorithm;

/// The operations on trusted issuers.
pub struct IssuersApi;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Issuers")]
impl IssuersApi {
    /// Trust an issuer
    ///
    /// Agents of the organization can then authenticate with JWTs of the issuer, by federated credentials. The keys are
    /// fetched once before the response; `keysStatus` says how that went.
    #[oai(path = "/issuers", method = "post", operation_id = "createIssuer")]
    async fn create(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_WRITE")] caller: Bearer,
        body: JsonBody<CreateIssuerRequest>,
    ) -> Result<CreateResponse, ApiError> {
        let created = ctx.app.issuers.create(&caller.0, body.0).await?;
        let location = format!("/api/v1/issuers/{}", created.issuer.id);
        Ok(CreateResponse::Created(Json((&created).into()), location))
    }

    /// List trusted issuers
    ///
    /// Newest first. With `admin:orgs`, the list covers all organizations, or only `organizationId` if that is given.
    #[oai(path = "/issuers", method = "get", operation_id = "listIssuers")]
    async fn list(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_READ")] caller: Bearer,
        query: Query<IssuersQuery>,
    ) -> Result<Json<IssuerPage>, ApiError> {
        let IssuersRequest { organization, status, page } = query.0;
        let listing = ctx.app.issuers.list(&caller.0, organization, status, page).await?;
        Ok(Json(IssuerPage {
            data: listing.items.iter().map(Into::into).collect(),
            total: listing.total,
            page: page.number,
            limit: page.limit,
        }))
    }

    /// Get a trusted issuer
    ///
    /// `keysStatus` says how the instance that answers last fetched the keys.
    #[oai(path = "/issuers/:issuerId", method = "get", operation_id = "getIssuer")]
    async fn read(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_READ")] caller: Bearer,
        #[oai(name = "issuerId")] issuer_id: Path<PathId<IssuerId>>,
    ) -> Result<Json<IssuerBody>, ApiError> {
        let shown = ctx.app.issuers.find(&caller.0, issuer_id.0.0).await?;
        Ok(Json((&shown).into()))
    }

    /// Update a trusted issuer
    ///
    /// Each field in the request is replaced as a whole. `issuer` and the type of `keys` never change. Suspending is a
    /// kill switch: no agent authenticates by the issuer, and every token that rests on it stays revoked after
    /// reactivation. Every change except that of the name requires the management scopes of all agents that the issuer
    /// authenticates.
    #[oai(path = "/issuers/:issuerId", method = "patch", operation_id = "updateIssuer")]
    async fn change(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_WRITE")] caller: Bearer,
        #[oai(name = "issuerId")] issuer_id: Path<PathId<IssuerId>>,
        body: JsonBody<UpdateIssuerRequest>,
    ) -> Result<Json<IssuerBody>, ApiError> {
        let shown = ctx.app.issuers.change(&caller.0, issuer_id.0.0, body.0).await?;
        Ok(Json((&shown).into()))
    }

    /// Delete a trusted issuer
    ///
    /// Tokens that rest on it become inactive. It is refused while an active, unexpired credential uses the issuer.
    #[oai(path = "/issuers/:issuerId", method = "delete", operation_id = "deleteIssuer")]
    async fn delete(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_WRITE")] caller: Bearer,
        #[oai(name = "issuerId")] issuer_id: Path<PathId<IssuerId>>,
    ) -> Result<NoContent, ApiError> {
        ctx.app.issuers.delete(&caller.0, issuer_id.0.0).await?;
        Ok(NoContent::NoContent)
    }

    /// Explain an assertion
    ///
    /// Makes every check that authentication would make, also after a failed one, and shows the values that were
    /// compared. Nothing is issued, spent or counted. Without `clientId`, the assertion is accepted if it would
    /// authenticate some agent of the organization.
    #[oai(path = "/issuers/:issuerId/explain", method = "post", operation_id = "explainAssertion")]
    async fn explain(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_READ")] caller: Bearer,
        #[oai(name = "issuerId")] issuer_id: Path<PathId<IssuerId>>,
        body: JsonBody<ExplainRequest>,
    ) -> Result<Json<ExplanationBody>, ApiError> {
        let (assertion, client) = body.0;
        let explanation = ctx.app.issuers.explain(&caller.0, issuer_id.0.0, &assertion, client).await?;
        Ok(Json(explanation.into()))
    }

    /// Revoke all tokens that act for a person
    ///
    /// Permanently revokes every existing token that acts for the person with this `sub` at the issuer, on every instance.
    /// Also for a person who was never seen.
    #[oai(path = "/issuers/:issuerId/subjects/revoke", method = "post", operation_id = "revokeIssuerSubject")]
    async fn revoke_subject(
        &self,
        ctx: Ctx,
        #[oai(scope = "Scope::ISSUERS_WRITE")] caller: Bearer,
        #[oai(name = "issuerId")] issuer_id: Path<PathId<IssuerId>>,
        body: JsonBody<RevokeSubjectRequest>,
    ) -> Result<NoContent, ApiError> {
        ctx.app.issuers.revoke_subject(&caller.0, issuer_id.0.0, &body.0).await?;
        Ok(NoContent::NoContent)
    }
}

#[derive(ApiResponse)]
enum CreateResponse {
    /// Trusted issuer created
    #[oai(status = 201)]
    Created(
        Json<IssuerBody>,
        /// Path of the trusted issuer
        #[oai(header = "Location")]
        String,
    ),
}

/// The longest lifetime of an assertion.
type Lifetime = Number<{ *LIFETIME_SECONDS.start() }, { *LIFETIME_SECONDS.end() }>;

input! {
    /// A person whose tokens are revoked
    RevokeSubjectRequest {
        /// `sub` of the person at the issuer
        required "subject" subject: PersonSub,
    }
}

impl Input for RevokeSubjectRequest {
    type Value = String;

    fn accept(self) -> String {
        self.subject.0
    }
}

input! {
    /// An issuer to trust
    CreateIssuerRequest {
        /// Organization that trusts it, by default the caller's; requires `admin:orgs`
        optional "organizationId" organization: OrganizationId,
        required "name" name: Name,
        /// The exact `iss` of its JWTs, or `spiffe://` and a trust domain
        required "issuer" issuer: IssuerUrl,
        required "keys" keys: KeySource,
        /// Audiences of which every `aud` must be one; by default the issuer of this service
        optional "audiences" audiences: Audiences,
        /// Defaults to `RS256`, `PS256`, `ES256` and `EdDSA`
        optional "algorithms" algorithms: Vec<SignatureAlgorithm>,
        /// The longest lifetime of an assertion
        defaulted "maxLifetimeSeconds" max_lifetime_seconds: Lifetime = DEFAULT_LIFETIME_SECONDS,
        /// Whether an assertion needs a `jti` and can be used only once
        defaulted "requireJti" require_jti: bool = false,
        /// Whether a credential can do without `subject`. Dangerous with an issuer that others use too: a claim such as
        /// `ref` has the same value in every repository
        defaulted "subjectOptional" subject_optional: bool = false,
        /// People that agents may act for; null if there are none
        optional "subjects" subjects: Option<Subjects>,
        /// Tool or team that manages the issuer, such as the name given to `agentidp apply`; never changes
        optional "managedBy" managed_by: ManagedBy,
    }
}

impl Input for CreateIssuerRequest {
    type Value = NewIssuer;

    fn accept(self) -> NewIssuer {
        NewIssuer {
            organization: self.organization,
            name: self.name,
            issuer: self.issuer,
            keys: self.keys,
            audiences: self.audiences.map(|audiences| audiences.0),
            algorithms: self.algorithms.unwrap_or_else(|| DEFAULT_ALGORITHMS.to_vec()),
            max_lifetime_seconds: self.max_lifetime_seconds.0,
            require_jti: self.require_jti,
            subject_optional: self.subject_optional,
            subjects: self.subjects.flatten(),
            managed_by: self.managed_by,
        }
    }
}

input! {
    /// Fields of a trusted issuer to replace
    UpdateIssuerRequest {
        optional "name" name: Name,
        /// Of the type that the issuer has
        optional "keys" keys: KeySource,
        optional "audiences" audiences: Audiences,
        optional "algorithms" algorithms: Vec<SignatureAlgorithm>,
        /// The longest lifetime of an assertion
        optional "maxLifetimeSeconds" max_lifetime_seconds: Lifetime,
        optional "requireJti" require_jti: bool,
        optional "subjectOptional" subject_optional: bool,
        /// Null removes them
        optional "subjects" subjects: Option<Subjects>,
        optional "status" status: IssuerStatus,
    }
}

impl Input for UpdateIssuerRequest {
    type Value = IssuerChange;

    fn accept(self) -> IssuerChange {
        IssuerChange {
            name: self.name,
            keys: self.keys,
            audiences: self.audiences.map(|audiences| audiences.0),
            algorithms: self.algorithms,
            max_lifetime_seconds: self.max_lifetime_seconds.map(|seconds| seconds.0),
            require_jti: self.require_jti,
            subject_optional: self.subject_optional,
            subjects: self.subjects,
            status: self.status,
        }
    }
}

input! {
    /// Filters of the list of trusted issuers
    IssuersQuery {
        /// Page number, from 1
        defaulted "page" page: PageNumber = FIRST_PAGE,
        /// Page size
        defaulted "limit" limit: PageLimit = DEFAULT_LIMIT,
        optional "status" status: IssuerStatus,
        optional "organizationId" organization: OrganizationId,
    }
}

struct IssuersRequest {
    organization: Option<OrganizationId>,
    status: Option<IssuerStatus>,
    page: PageRequest,
}

impl Input for IssuersQuery {
    type Value = IssuersRequest;

    fn accept(self) -> IssuersRequest {
        let Self { page, limit, status, organization } = self;
        IssuersRequest { organization, status, page: page_of(page, limit) }
    }
}

input! {
    /// An assertion to explain
    ExplainRequest {
        /// The JWT that a client would send as `client_assertion`
        required "assertion" assertion: String,
        /// ID of the agent that would send it
        optional "clientId" client: AgentId,
    }
}

impl Input for ExplainRequest {
    type Value = (String, Option<AgentId>);

    fn accept(self) -> Self::Value {
        (self.assertion, self.client)
    }
}

/// A page of trusted issuers
#[derive(Object)]
struct IssuerPage {
    data: Vec<IssuerBody>,
    /// Number of trusted issuers on all pages
    total: u64,
    page: u32,
    limit: u32,
}

impl From<IssuersError> for ApiError {
    fn from(error: IssuersError) -> Self {
        use IssuersError as E;
        let text = error.to_string();
        match error {
            E::Forbidden(refusal) => refusal.into(),
            E::NoSuchIssuer => Self::new(Code::IssuerNotFound, text),
            E::NoSuchOrganization => Self::new(Code::OrganizationNotFound, text),
            E::NoSuchAgent => Self::new(Code::AgentNotFound, text),
            E::Invalid(faults) => {
                let errors: Vec<_> =
                    faults.iter().map(|(field, what)| FieldError::new(field, *what)).collect();
                Self::validation(&errors)
            }
            E::Taken => Self::new(Code::IssuerAlreadyExists, text),
            E::LimitReached(_) => Self::new(Code::IssuerLimitReached, text),
            E::InUse => Self::new(Code::IssuerInUse, text),
            E::Conflict => Self::new(Code::Conflict, text),
            E::LastAdministrator => Self::new(Code::LastAdministrator, text),
            E::CallerRevoked(revoked) => revoked.into(),
            E::Store(failure) => failure.into(),
        }
    }
}

/// The operations on the wire.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        example: Some(|| {
            json!({
                "name": "GitHub Actions",
                "issuer": "https://token.actions.githubusercontent.com",
                "keys": { "type": "discovery" },
            })
        }),
        ..operation(
            "createIssuer",
            &[
                BEARER,
                BODY,
                &[Code::OrganizationNotFound, Code::IssuerAlreadyExists, Code::IssuerLimitReached],
            ],
        )
    },
    operation("listIssuers", &[BEARER, &[Code::ValidationError]]),
    operation("getIssuer", &[BEARER, &[Code::IssuerNotFound]]),
    Operation {
        example: Some(|| json!({ "maxLifetimeSeconds": 600 })),
        ..operation(
            "updateIssuer",
            &[BEARER, BODY, &[Code::IssuerNotFound, Code::Conflict, Code::LastAdministrator]],
        )
    },
    operation("deleteIssuer", &[BEARER, &[Code::IssuerNotFound, Code::IssuerInUse, Code::Conflict]]),
    Operation {
        example: Some(|| json!({ "assertion": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.AA" })),
        ..operation("explainAssertion", &[BEARER, BODY, &[Code::IssuerNotFound, Code::AgentNotFound]])
    },
    Operation {
        example: Some(|| json!({ "subject": "alice" })),
        ..operation("revokeIssuerSubject", &[BEARER, BODY, &[Code::IssuerNotFound]])
    },
];

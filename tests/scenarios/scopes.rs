//! The scope that each operation requires.
//! Each operation is called with only that scope and with all others.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{MANAGEMENT_SCOPES, TestServer, Wiring, new_agent, operations, trusted_issuer, unique};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    each_operation_answers_by_the_scope_it_takes,
]);

/// How an operation is called, and the scope that it requires.
struct Row {
    operation: &'static str,
    /// Scope that the operation requires; `None` if it needs no token.
    /// The scope is empty if any token is accepted.
    scope: Option<&'static str>,
    /// Status that a caller with the scope gets.
    with: u16,
    body: fn() -> Option<Value>,
}

const fn row(operation: &'static str, scope: &'static str, with: u16, body: fn() -> Option<Value>) -> Row {
    Row { operation, scope: Some(scope), with, body }
}

const fn open(operation: &'static str, with: u16) -> Row {
    Row { operation, scope: None, with, body: nothing }
}

fn nothing() -> Option<Value> {
    None
}

fn empty() -> Option<Value> {
    Some(json!({}))
}

fn agent() -> Option<Value> {
    Some(new_agent(&["files:read"]))
}

fn organization() -> Option<Value> {
    Some(json!({ "name": "Example", "slug": format!("table-{}", unique()) }))
}

fn issuer() -> Option<Value> {
    Some(trusted_issuer())
}

fn assertion() -> Option<Value> {
    Some(json!({ "assertion": "x" }))
}

fn subject() -> Option<Value> {
    Some(json!({ "subject": "alice" }))
}

/// One row per operation.
/// The `token` of the form is not a token, which both endpoints accept without an error.
const TABLE: [Row; 38] = [
    row("registerAgent", "agents:write", 201, agent),
    row("listAgents", "agents:read", 200, nothing),
    row("getAgent", "agents:read", 200, nothing),
    row("updateAgent", "agents:write", 200, empty),
    row("decommissionAgent", "agents:write", 204, nothing),
    row("revokeAgentTokens", "agents:write", 204, nothing),
    row("createCredential", "agents:write", 201, empty),
    row("listCredentials", "agents:read", 200, nothing),
    row("listExpiringCredentials", "agents:read", 200, nothing),
    row("rotateCredential", "agents:write", 200, empty),
    row("revokeCredential", "agents:write", 204, nothing),
    row("introspectToken", "tokens:read", 200, nothing),
    row("listAuditEvents", "audit:read", 200, nothing),
    row("getAuditEvent", "audit:read", 200, nothing),
    row("getUsage", "agents:read", 200, nothing),
    row("createOrganization", "admin:orgs", 201, organization),
    row("listOrganizations", "admin:orgs", 200, nothing),
    row("getOrganization", "admin:orgs", 200, nothing),
    row("updateOrganization", "admin:orgs", 200, empty),
    row("createIssuer", "issuers:write", 201, issuer),
    row("listIssuers", "issuers:read", 200, nothing),
    row("getIssuer", "issuers:read", 200, nothing),
    row("updateIssuer", "issuers:write", 200, empty),
    row("explainAssertion", "issuers:read", 200, assertion),
    row("revokeIssuerSubject", "issuers:write", 204, subject),
    row("deleteIssuer", "issuers:write", 204, nothing),
    row("revokeTokenById", "agents:write", 204, nothing),
    row("getTokenTree", "audit:read", 200, nothing),
    // Any caller may revoke its own tokens, and learns nothing about any other value.
    Row { operation: "revokeToken", scope: Some(""), with: 200, body: nothing },
    // It judges the caller's own token.
    Row { operation: "judgeRequest", scope: Some(""), with: 200, body: nothing },
    open("issueToken", 400),
    open("authorize", 400),
    open("getJwks", 200),
    open("getServerMetadata", 200),
    open("getOpenidConfiguration", 200),
    open("getResourceMetadata", 200),
    open("getHealth", 200),
    open("getReadiness", 200),
];

async fn each_operation_answers_by_the_scope_it_takes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let operations = operations();
    let id_of = |operation: &Value| operation["operationId"].as_str().expect("an id").to_owned();
    let mut described: Vec<String> = operations.iter().map(|(_, _, operation)| id_of(operation)).collect();
    let mut listed: Vec<String> = TABLE.iter().map(|row| row.operation.to_owned()).collect();
    described.sort();
    listed.sort();
    assert_eq!(listed, described, "each operation of the document has a row, and no other");

    for row in TABLE {
        let found = operations.iter().find(|(_, _, operation)| id_of(operation) == row.operation);
        let (method, template, described) = found.expect("a row");
        let target = server.client(&admin, None, &["files:read"]).await;
        server.token(&target, &[]).await;
        let token = server.events(&admin, "&action=token.issued").await[0]["resource"]["id"].clone();
        let event = server.events(&admin, "&action=agent.created").await[0]["eventId"].clone();
        let organization = server.organization(&admin, json!({})).await;
        let path = template
            .replace("{agentId}", &target.id)
            .replace("{credentialId}", &target.credential)
            .replace("{tokenId}", token.as_str().expect("an id"))
            .replace("{eventId}", event.as_str().expect("an id"))
            .replace("{organizationId}", &organization);
        let path = server.with_issuer(&admin, path).await;
        let call = async |token: Option<&str>| {
            let request = server.request(method.clone(), &path);
            let request = match ((row.body)(), *method == Method::POST && path.contains("/token/")) {
                (Some(body), _) => request.json(&body),
                (None, true) => request.form(&[("token", "x")]),
                (None, false) => request,
            };
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            server.send(request).await
        };
        let Some(scope) = row.scope else {
            assert_eq!(call(None).await.status.as_u16(), row.with, "{}", row.operation);
            continue;
        };
        let takes_clients = matches!(row.operation, "introspectToken" | "revokeToken");
        call(None).await.assert_error(401, if takes_clients { "invalid_client" } else { "UNAUTHORIZED" });
        call(Some("x")).await.assert_error(401, "UNAUTHORIZED");
        let others: Vec<&str> = MANAGEMENT_SCOPES.into_iter().filter(|other| *other != scope).collect();
        let with_others = server.client(&admin, None, &MANAGEMENT_SCOPES).await;
        let with_others = server.token(&with_others, &[("scope", &others.join(" "))]).await;
        if scope.is_empty() {
            let nothing = server.client(&admin, None, &["files:read"]).await;
            let nothing = server.token(&nothing, &[]).await;
            assert_eq!(call(Some(&nothing)).await.status.as_u16(), row.with, "{}", row.operation);
        } else {
            let documented = described["security"].as_array().expect("a list").iter().any(|requirement| {
                requirement["OAuth2"].as_array().is_some_and(|scopes| scopes.contains(&json!(scope)))
            });
            assert!(documented, "{} documents {scope}", row.operation);
            let refused = call(Some(&with_others)).await;
            refused.assert_error(403, "FORBIDDEN");
            assert_eq!(refused.json()["details"]["missingScopes"], json!([scope]), "{}", row.operation);
            assert_eq!(refused.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\""));
            let just_that = server.client(&admin, None, &[scope]).await;
            let just_that = server.token(&just_that, &[]).await;
            let answer = call(Some(&just_that)).await;
            assert_eq!(answer.status.as_u16(), row.with, "{}: {}", row.operation, answer.text);
        }
    }
}

//! progenitor: generates a client from the document, and calls the API with it.

use std::collections::HashSet;
use std::time::Duration;

use types::{
    AgentStatus, AgentType, ApiErrorOrOAuthError, AuditAction, CreateAgentRequest, CreateCredentialRequest,
    DeploymentEnv, IntrospectionForm, Token, TokenForm, TokenFormGrantType,
};

progenitor::generate_api!(spec = "../../../openapi/openapi.json", interface = Builder);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name| std::env::var(name).expect("the test sets it");
    let url = variable("ISSUER");
    let anonymous = Client::new(&url);
    let issued = token(&anonymous, &variable("ADMIN_ID"), &variable("ADMIN_SECRET")).await?;
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert(reqwest::header::AUTHORIZATION, format!("Bearer {}", issued.access_token).parse()?);
    let within_30s = reqwest::Client::builder().timeout(Duration::from_secs(30)).default_headers(headers);
    let client = Client::new_with_client(&url, within_30s.build()?);

    let new: CreateAgentRequest = CreateAgentRequest::builder()
        .email("generated@example.com")
        .agent_type(AgentType::Router)
        .version("1.0.0")
        .capabilities(vec!["tools:call".parse()?])
        .owner("generated")
        .deployment_env(DeploymentEnv::Staging)
        .try_into()?;
    let agent = client.register_agent().body(new.clone()).send().await?.into_inner();
    assert_eq!(agent.status, AgentStatus::Active);
    let id = agent.agent_id.to_string();
    let credential = client
        .create_credential()
        .agent_id(agent.agent_id)
        .body(CreateCredentialRequest::builder())
        .send()
        .await?
        .into_inner();
    let secret = credential.client_secret.expect("shown once");
    let its_token = token(&anonymous, &id, &secret).await?;
    let form = IntrospectionForm::builder().token(its_token.access_token);
    let about = client.introspect_token().body(form).send().await?.into_inner();
    assert!(about.active && about.sub == Some(id.clone()), "{about:?}");

    let listing = client.list_agents().owner("generated").agent_type(AgentType::Router).send().await?;
    assert_eq!((listing.total, listing.data[0].agent_id), (1, agent.agent_id));

    let (mut events, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut request = client.list_audit_events().limit(1).action(AuditAction::AgentCreated);
        if let Some(cursor) = cursor {
            request = request.cursor(cursor);
        }
        let page = request.send().await?.into_inner();
        events.extend(page.data);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let ids: HashSet<_> = events.iter().map(|event| event.event_id).collect();
    assert!(events.len() > 1 && ids.len() == events.len(), "{events:?}");
    assert_eq!(events[0].resource.as_ref().expect("the agent").id, agent.agent_id);

    match client.register_agent().body(new).send().await {
        Err(Error::ErrorResponse(taken)) => {
            assert_eq!((taken.status().as_u16(), taken.code.as_str()), (409, "AGENT_ALREADY_EXISTS"));
            assert_eq!(taken.details["agentId"], id);
        }
        other => panic!("the address is taken: {other:?}"),
    }
    match token(&anonymous, &id, "wrong").await {
        Err(Error::ErrorResponse(wrong)) => match wrong.into_inner() {
            ApiErrorOrOAuthError::OAuthError(wrong) => assert_eq!(wrong.error, "invalid_client"),
            other => panic!("the error is not in OAuth's format: {other:?}"),
        },
        other => panic!("the secret is wrong: {other:?}"),
    }
    Ok(())
}

async fn token(client: &Client, id: &str, secret: &str) -> Result<Token, Error<ApiErrorOrOAuthError>> {
    let form = TokenForm::builder()
        .grant_type(TokenFormGrantType::ClientCredentials)
        .client_id(Some(id.parse().expect("an ID")))
        .client_secret(Some(secret.parse().expect("a secret")));
    Ok(client.issue_token().body(form).send().await?.into_inner())
}

//! Runs the service inside another program, in memory, and issues a token without HTTP.
//!
//! `cargo run --example embed`

use agentidp::app::client_auth::{PresentedCredentials, PresentedHeader};
use agentidp::app::request_context::RequestContext;
use agentidp::app::token::TokenRequest;
use agentidp::config::Config;
use agentidp::domain::audit::Origin;
use agentidp::ports::error_chain::error_chain;
use agentidp::wiring::Service;

#[tokio::main]
async fn main() -> Result<(), String> {
    let config = Config { token_ttl_seconds: 600, ..Config::in_memory() };
    let service = Service::start(&config).await.map_err(|error| error_chain(&error))?;
    println!("serving {}", service.issuer);

    let administrator = service.administrator.as_ref().ok_or("the first administrator exists already")?;
    let basic = (administrator.client_id.to_string(), administrator.client_secret.expose().into());
    let presented =
        PresentedCredentials { header: PresentedHeader::Basic(Some(basic)), parameters: Vec::new() };
    let context = RequestContext::new("embedded".to_owned(), Origin::NONE);
    let request = TokenRequest {
        grant_type: Some("client_credentials".to_owned()),
        scope: Some("agents:read".to_owned()),
        ..TokenRequest::default()
    };
    let issued = service.app.tokens.issue(&context, &presented, &request).await;
    let issued = issued.map_err(|error| error_chain(&error))?;
    println!("issued a token for {} seconds, scope {}", issued.expires_in_seconds, issued.scopes.as_str());

    service.end().await;
    Ok(())
}

//! An API that accepts tokens of AgentIdP: a resource server.

use std::error::Error;

use poem::http::StatusCode;
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::web::Data;
use poem::{EndpointExt as _, Request, Route, Server, get, handler};
use serde_json::Value;

use crate::idp::{Idp, Secret};

/// The API, which keeps notes.
pub struct Notes {
    url: String,
}

/// The API as a client of AgentIdP.
#[derive(Clone)]
struct Introspection {
    url: String,
    client: Secret,
}

impl Notes {
    /// Starts the API on a free port of the loopback interface.
    pub async fn start(idp: &Idp) -> Result<Self, Box<dyn Error>> {
        let client = idp.client("notes", &["tokens:read"]).await?;
        let introspection = Introspection { url: idp.url("/api/v1/token/introspect"), client };
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await?;
        let address = acceptor.local_addr()[0].to_string();
        let routes = Route::new().at("/notes", get(read)).data(introspection);
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        Ok(Self { url: format!("{}/notes", address.replace("socket://", "http://")) })
    }

    /// Returns the status of the answer to a request with this token.
    pub async fn ask(&self, token: &str) -> Result<StatusCode, reqwest::Error> {
        Ok(reqwest::Client::new().get(&self.url).bearer_auth(token).send().await?.status())
    }
}

/// Answers a request if AgentIdP says that its token is active and for this API.
#[handler]
async fn read(request: &Request, Data(introspection): Data<&Introspection>) -> Result<String, StatusCode> {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
    let answer = introspection.ask(token).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if answer["active"] != true || answer["aud"] != "notes" {
        return Err(StatusCode::UNAUTHORIZED);
    }
    // `sub` is the person, and `act` names every agent between that person and this request.
    Ok(format!("notes for {}, read by {}", answer["sub"], answer["act"]))
}

impl Introspection {
    async fn ask(&self, token: &str) -> Result<Value, reqwest::Error> {
        let Secret { id, secret } = &self.client;
        let request = reqwest::Client::new().post(&self.url).basic_auth(id, Some(secret));
        request.form(&[("token", token)]).send().await?.error_for_status()?.json().await
    }
}

//! The pages of `docs/federation`, run as a reader would paste them.
//!
//! The platform of a page is a server of the test. It signs the claims that the page shows, with other times, and its
//! mistaken token is the one that the page explains, so that neither can say what the other does not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::{Request, Response, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::{RSA_PEM, public_jwk};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::command_line::serve;
use crate::readme;

/// Ends the output of each part of a script.
const MARK: &str = "----";

/// A page, and how its platform is replaced.
struct Recipe {
    page: &'static str,
    /// URLs of the platform, and what follows the address of the server of the test in their place.
    urls: &'static [(&'static str, &'static str)],
    algorithm: Algorithm,
    /// Members of the platform's keys in addition to the key itself.
    members: fn() -> Value,
    /// Answer of the endpoint where a workload gets its token.
    give: fn(&Platform, &Request) -> Option<String>,
    /// Environment of the workload, with files and programs in a folder that is first in `PATH`.
    prepare: fn(&Platform, &Path) -> Vec<(&'static str, String)>,
}

/// A platform of the test's own.
#[derive(Clone)]
struct Platform {
    address: String,
    /// The page, with the addresses of the test.
    page: String,
    pem: String,
    algorithm: Algorithm,
    members: Value,
    give: fn(&Self, &Request) -> Option<String>,
}

/// Stops a server when it is dropped.
struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the contents of the blocks in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().expect("an end")).collect()
}

fn seconds_now() -> i64 {
    jsonwebtoken::get_current_timestamp().try_into().expect("a few billions")
}

impl Platform {
    async fn start(recipe: &Recipe, service: &str) -> (Self, Serving) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let mut page = recipe.page.replace(readme::ADDRESS, service);
        for (url, path) in recipe.urls {
            assert!(page.contains(url), "the page names {url}");
            page = page.replace(url, &format!("{address}{path}"));
        }
        let pem = match recipe.algorithm {
            Algorithm::ES256 => generate_pem(KeyType::P256).expect("a key"),
            _ => RSA_PEM.clone(),
        };
        let members = (recipe.members)();
        let platform = Self { address, page, pem, algorithm: recipe.algorithm, members, give: recipe.give };
        let answering = platform.clone();
        let answer = poem::endpoint::make_sync(move |request: Request| answering.answer(&request));
        let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).expect("listening"));
        let task = tokio::spawn(async move { server.run(answer).await });
        (platform, Serving(task.abort_handle()))
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.uri().path();
        let text = if path.ends_with("/.well-known/openid-configuration") {
            Some(
                json!({
                    "issuer": self.claims()["iss"],
                    "jwks_uri": format!("{}/openid/v1/jwks", self.address),
                    "token_endpoint": format!("{}/token", self.address),
                    "id_token_signing_alg_values_supported": ["RS256"],
                })
                .to_string(),
            )
        } else if path == "/openid/v1/jwks" || path == "/" {
            Some(self.keys().to_string())
        } else {
            (self.give)(self, request)
        };
        match text {
            Some(text) => Response::builder().body(text),
            None => Response::builder().status(StatusCode::BAD_REQUEST).finish(),
        }
    }

    fn keys(&self) -> Value {
        let mut key = public_jwk(&self.pem);
        key["kid"] = json!("1");
        for (name, value) in self.members.as_object().expect("members") {
            key[name] = value.clone();
        }
        // As SPIRE publishes it, with keys for certificates.
        let certificates = json!({ "kty": "EC", "crv": "P-256", "use": "x509-svid", "x5c": ["MIIB"] });
        match self.algorithm {
            Algorithm::ES256 => {
                json!({ "keys": [certificates, key], "spiffe_sequence": 1, "spiffe_refresh_hint": 300 })
            }
            _ => json!({ "keys": [key] }),
        }
    }

    /// Returns the claims of the page, as if the token had just been issued.
    fn claims(&self) -> Value {
        let mut claims: Value = serde_json::from_str(blocks(&self.page, "json")[0]).expect("claims");
        let later = seconds_now() - claims["iat"].as_i64().expect("a time");
        for name in ["iat", "nbf", "exp"] {
            if let Some(time) = claims[name].as_i64() {
                claims[name] = json!(time + later);
            }
        }
        claims
    }

    /// Returns the failed check that the page shows.
    fn failure(&self) -> Value {
        serde_json::from_str(blocks(&self.page, "json")[1]).expect("a check")
    }

    /// Returns the claims of a token that fails the check that the page shows.
    fn mistaken_claims(&self) -> Value {
        let mut claims = self.claims();
        let failure = self.failure();
        let actual = &failure["actual"];
        match failure["check"].as_str().expect("a name") {
            "audience" => claims["aud"] = actual.clone(),
            "lifetime" => {
                claims["exp"] =
                    json!(claims["iat"].as_i64().expect("a time") + actual.as_i64().expect("seconds"));
            }
            "claims" => {
                for name in failure["expected"].as_object().expect("claims").keys() {
                    // A pointer into a claim; the token has none of it.
                    let outermost = name.trim_start_matches('/').split('/').next().expect("a name");
                    match actual.get(name) {
                        Some(value) => claims[name] = value.clone(),
                        None => drop(claims.as_object_mut().expect("claims").remove(outermost)),
                    }
                }
            }
            other => panic!("no token is known to fail {other}"),
        }
        claims
    }

    fn sign(&self, claims: &Value) -> String {
        let key = match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(self.pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(self.pem.as_bytes()),
        };
        let header = Header { kid: Some("1".to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &key.expect("a key")).expect("signed")
    }

    /// Signs a token for an audience that a workload asked for. It has to be that of the page.
    fn sign_for(&self, audience: &str) -> Option<String> {
        let claims = self.claims();
        (claims["aud"] == audience).then(|| self.sign(&claims))
    }
}

/// Returns the value of a parameter of the query.
fn parameter(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(pair.to_owned())
}

/// Requires a header that the platform wants.
fn has(request: &Request, name: &str, value: &str) -> Option<()> {
    (request.header(name) == Some(value)).then_some(())
}

fn write_program(folder: &Path, name: &str, script: &str) {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\nset -eu\n{script}\n")).expect("written");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o700)).expect("executable");
}

/// Runs a page. Panics unless the token of its workload is active and its mistake fails the check that it shows.
async fn run(recipe: &Recipe) {
    let key = RSA_PEM.as_str();
    let running = serve(&[], &[("ISSUER_PRIVATE_NETWORKS", "127.0.0.0/8"), ("JWT_PRIVATE_KEY", key)]).await;
    let (platform, _serving) = Platform::start(recipe, &running.address).await;
    let folder = TempDir::new().expect("a folder");
    let environment = (recipe.prepare)(&platform, folder.path());

    let page = platform.page.replace("/var/run/secrets/agentidp", folder.path().to_str().expect("text"));
    let [issuer, credential, workload, explain] = blocks(&page, "sh")[..] else { panic!("four blocks") };
    let (_, request) = workload.split_once("TOKEN=$(curl -s $URL/token ").expect("the request of a token");
    let request = request.replace("| field access_token)", "");
    let mark = format!("echo; echo {MARK}\n");
    let script = [
        // Launchers of other versions of Python are slow.
        &format!("PATH={}:/usr/bin:$PATH\n", folder.path().display()),
        readme::first_agent(),
        &mark,
        issuer,
        &mark,
        credential,
        workload,
        &mark,
        "curl -s $URL/token/introspect -H \"Authorization: Bearer $ADMIN\" -d token=$TOKEN\n",
        &mark,
        explain,
        &mark,
        &format!("ASSERTION={}\n", platform.sign(&platform.mistaken_claims())),
        explain,
        &mark,
        &format!("curl -s $URL/token {request}"),
    ];
    let text = readme::shell(&running, &script.concat(), &environment).await;
    let parts: Vec<&str> = text.split(MARK).map(str::trim).collect();
    let [_, keys, _, introspection, accepted, refused, answer] = parts[..] else { panic!("{text}") };
    let json = |part: &str| serde_json::from_str::<Value>(part).unwrap_or_else(|_| panic!("{text}"));

    assert!(keys.contains("'state': 'ok'"), "{text}");
    assert_eq!(json(introspection)["active"], true, "{text}");
    assert_eq!(json(accepted)["verdict"], "accepted", "{text}");
    let refused = json(refused);
    assert_eq!(refused["verdict"], "refused", "{text}");
    let checks = refused["checks"].as_array().expect("checks");
    let failed: Vec<&Value> = checks.iter().filter(|check| check["passed"] == false).collect();
    assert_eq!(failed, [&platform.failure()], "{text}");
    let description = json(answer)["error_description"].as_str().map(str::to_owned).expect("a description");
    let check = failed[0]["check"].as_str().expect("a name");
    assert!(description.starts_with(&format!("{check}: ")), "{description}");
}

#[test]
fn every_page_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/federation");
    for page in std::fs::read_dir(folder).expect("pages") {
        let name = page.expect("a page").file_name().into_string().expect("text");
        let included = format!("include_str!(\"../../docs/federation/{name}\")");
        assert!(include_str!("recipes.rs").contains(&included), "{name}");
    }
}

fn kubernetes() -> Recipe {
    Recipe {
        page: include_str!("../../docs/federation/kubernetes.md"),
        urls: &[("https://oidc.eks.eu-west-1.amazonaws.com", "")],
        algorithm: Algorithm::RS256,
        members: || json!({ "use": "sig", "alg": "RS256" }),
        give: |_, _| None,
        prepare: |platform, folder| {
            std::fs::write(folder.join("token"), platform.sign(&platform.claims())).expect("written");
            let script = format!(r#"[ "$1 $2" = "get --raw" ]; exec curl -s "{}$3""#, platform.address);
            write_program(folder, "kubectl", &script);
            vec![]
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_kubernetes_gets_a_token_for_a_pod() {
    run(&kubernetes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_kubernetes_pins_the_keys_of_a_private_cluster() {
    let recipe = kubernetes();
    let pinned = blocks(recipe.page, "text")[0].trim_end();
    let discovery = r#""keys": {"type": "discovery"}"#;
    assert_eq!(recipe.page.matches(discovery).count(), 1);
    let page = recipe.page.replace(discovery, pinned);
    run(&Recipe { page: page.leak(), ..recipe }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_github_actions_gets_a_token_for_a_job() {
    run(&Recipe {
        page: include_str!("../../docs/federation/github-actions.md"),
        urls: &[("https://token.actions.githubusercontent.com", "")],
        algorithm: Algorithm::RS256,
        members: || json!({ "use": "sig", "alg": "RS256", "x5t": "eBxBYkG8dkOEGfbqcI0zAA", "x5c": ["MIID"] }),
        give: |platform, request| {
            has(request, "authorization", "Bearer of-the-job")?;
            let token = platform.sign_for(&parameter(request, "audience")?)?;
            Some(json!({ "count": 1, "value": token }).to_string())
        },
        prepare: |platform, _| {
            let url = format!("{}/idtoken?api-version=2.0", platform.address);
            vec![
                ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
                ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job".to_owned()),
            ]
        },
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_gitlab_ci_gets_a_token_for_a_job() {
    run(&Recipe {
        page: include_str!("../../docs/federation/gitlab-ci.md"),
        urls: &[("https://gitlab.com", "")],
        algorithm: Algorithm::RS256,
        members: || json!({ "use": "sig", "alg": "RS256" }),
        give: |_, _| None,
        prepare: |platform, _| vec![("AGENTIDP_ASSERTION", platform.sign(&platform.claims()))],
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_spiffe_gets_a_token_for_a_workload() {
    run(&Recipe {
        page: include_str!("../../docs/federation/spiffe.md"),
        urls: &[("https://spire.example.org:8443", "")],
        algorithm: Algorithm::ES256,
        members: || json!({ "use": "jwt-svid" }),
        give: |_, _| None,
        prepare: |platform, folder| {
            let claims = platform.claims();
            let (audience, subject) = (claims["aud"][0].as_str(), claims["sub"].as_str());
            let (audience, subject) = (audience.expect("text"), subject.expect("text"));
            let script = format!(
                r#"[ "$*" = "api fetch jwt -audience {audience} -spiffeID {subject}" ]
printf 'token(%s):\n\t%s\nbundle(spiffe://example.org):\n\t%s\n' {subject} {} '{{"keys": []}}'"#,
                platform.sign(&claims)
            );
            write_program(folder, "spire-agent", &script);
            vec![]
        },
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_google_gets_a_token_for_a_virtual_machine() {
    run(&Recipe {
        page: include_str!("../../docs/federation/google.md"),
        urls: &[("https://accounts.google.com", ""), ("http://metadata.google.internal", "")],
        algorithm: Algorithm::RS256,
        members: || json!({ "use": "sig", "alg": "RS256" }),
        give: |platform, request| {
            has(request, "metadata-flavor", "Google")?;
            let path = "/computeMetadata/v1/instance/service-accounts/default/identity";
            let is_asked = request.uri().path() == path && parameter(request, "format")? == "full";
            let audience = parameter(request, "audience").filter(|_| is_asked)?;
            platform.sign_for(&audience)
        },
        prepare: |_, _| vec![],
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_azure_gets_a_token_for_a_virtual_machine() {
    run(&Recipe {
        page: include_str!("../../docs/federation/azure.md"),
        urls: &[("https://sts.windows.net", ""), ("http://169.254.169.254", "")],
        algorithm: Algorithm::RS256,
        members: || {
            json!({
                "use": "sig", "x5t": "eBxBYkG8dkOEGfbqcI0zAA", "x5c": ["MIIC"],
                "cloud_instance_name": "microsoftonline.com",
                "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
            })
        },
        give: |platform, request| {
            has(request, "metadata", "true")?;
            let is_asked = request.uri().path() == "/metadata/identity/oauth2/token"
                && parameter(request, "api-version")? == "2018-02-01";
            let audience = parameter(request, "resource").filter(|_| is_asked)?;
            let token = platform.sign_for(&audience)?;
            let answer = json!({ "access_token": token, "expires_in": "86399", "token_type": "Bearer" });
            Some(answer.to_string())
        },
        prepare: |_, _| vec![],
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_openid_gets_a_token_for_a_client() {
    run(&Recipe {
        page: include_str!("../../docs/federation/openid.md"),
        urls: &[("https://login.example.com", "")],
        algorithm: Algorithm::RS256,
        members: || json!({ "use": "sig" }),
        give: |platform, request| {
            has(request, "authorization", &testing::basic_auth("summarizer", "of-the-client"))?;
            let token = platform.sign(&platform.claims());
            Some(json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" }).to_string())
        },
        prepare: |_, _| vec![("CLIENT_SECRET", "of-the-client".to_owned())],
    })
    .await;
}

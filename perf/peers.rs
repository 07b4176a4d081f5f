//! Servers to compare with: a conventional stack on Express, and node-oidc-provider.
//!
//! `perf/peers` contains both; npm installs their dependencies.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::client::{self, token_request_of};
use crate::load::{Exchange, request};
use crate::private_stores::PrivateStores;
use crate::process::{Process, Processes};
use crate::service::call;

const LONGEST_START: Duration = Duration::from_secs(20);
const SCOPES: &str = "agents:read agents:write credentials:write tokens:read audit:read";

/// A Node.js server.
pub struct Peer {
    process: Process,
    /// Address on which the server listens.
    pub address: SocketAddr,
    stores: Vec<u32>,
}

impl Peer {
    /// Returns the server's processes, and those of the stores that it uses.
    pub fn processes(&self) -> Processes {
        Processes { server: self.process.0.id(), stores: self.stores.clone() }
    }

    fn start(
        folder: &Path,
        script: &str,
        settings: &[(&str, &str)],
        stores: &[u32],
        probe: &str,
    ) -> Outcome<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new("node")
            .arg(folder.join(script))
            .env("NODE_ENV", "production")
            .env("PORT", address.port().to_string())
            .env("ISSUER_URL", format!("http://{address}"))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log"))?)
            .spawn()
            .map(Process)?;
        let began = Instant::now();
        while call(address, &request(&format!("GET {probe}"), &[], ""), 200).is_err() {
            if began.elapsed() > LONGEST_START {
                return Err(format!("{} does not answer, see its log there", folder.display()).into());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(Self { process: child, address, stores: stores.to_vec() })
    }
}

/// How the Express stack verifies a secret.
#[derive(Clone, Copy)]
pub enum SecretCheck {
    /// With bcrypt for every token, as such a stack does.
    EachTime,
    /// With bcrypt once, whose success is cached, as in this service.
    Once,
}

/// A conventional implementation of the same API: Express, pg, ioredis, jsonwebtoken, Joi, bcrypt.
pub struct ExpressStack {
    /// The running server.
    pub peer: Peer,
    /// Client ID of the stack's client.
    pub id: String,
    /// Client secret of the stack's client.
    pub secret: String,
    folder: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl ExpressStack {
    /// Starts two processes of the stack, one per core, on their own database.
    pub fn start(stores: &PrivateStores, key: &str, name: &str, check: SecretCheck) -> Outcome<Self> {
        let folder = installed("express", name)?;
        let settings = vec![
            ("DATABASE_URL", stores.database(name)?),
            ("REDIS_URL", stores.redis_socket()?),
            ("JWT_PRIVATE_KEY", key.to_owned()),
            ("RATE_LIMIT_MAX", "1000000000".to_owned()),
            ("MONTHLY_TOKENS", "1000000000".to_owned()),
            ("REMEMBER_SECRETS", matches!(check, SecretCheck::Once).to_string()),
            ("WORKERS", "2".to_owned()),
        ];
        let made = run_node(&folder, "bin/bootstrap.js", &settings, &[])?;
        let value = |label: &str| {
            let value = made.lines().find_map(|line| line.strip_prefix(label));
            value.map(str::to_owned).ok_or("the stack made no client")
        };
        let (id, secret) = (value("CLIENT_ID=")?, value("CLIENT_SECRET=")?);
        let given: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let peer = Peer::start(&folder, "src/server.js", &given, &stores.pids, "/health")?;
        Ok(Self { peer, id, secret, folder, settings })
    }

    /// Creates this many tokens, signed as the stack signs them.
    ///
    /// The stack issues too few tokens for a load that needs a new one for each request.
    pub fn mint(&self, number: usize) -> Outcome<Vec<String>> {
        // The script takes its issuer from the environment, as the server did.
        let issuer = format!("http://{}", self.peer.address);
        let mut settings = self.settings.clone();
        settings.push(("ISSUER_URL", issuer));
        let tokens = run_node(&self.folder, "bin/mint.js", &settings, &[&self.id, &number.to_string()])?;
        Ok(tokens.lines().map(str::to_owned).collect())
    }
}

/// node-oidc-provider, with one client.
///
/// The provider introspects and revokes opaque tokens only, and has no hashed secrets, rate limits, quotas or audit
/// log.
pub struct OidcProvider {
    /// The running server.
    pub peer: Peer,
    secret: String,
    /// Read of a client's record, with the token for it (RFC 7592).
    record: Exchange,
}

impl OidcProvider {
    const CLIENT: &str = "bench";

    /// Starts one process of the provider, in memory.
    pub fn in_memory(key: &str) -> Outcome<Self> {
        Self::start("oidc_memory", key, &[], &[])
    }

    /// Starts two processes of the provider on Redis, one per core.
    pub fn on_redis(stores: &PrivateStores, key: &str) -> Outcome<Self> {
        let socket = stores.redis_socket()?;
        Self::start("oidc_redis", key, &[("REDIS_URL", &socket), ("WORKERS", "2")], &stores.pids[1..])
    }

    fn start(name: &str, key: &str, settings: &[(&str, &str)], stores: &[u32]) -> Outcome<Self> {
        let folder = installed("oidc-provider", name)?;
        let secret = "0123456789abcdef".repeat(4);
        let own = [("JWT_PRIVATE_KEY", key), ("CLIENT_ID", Self::CLIENT), ("CLIENT_SECRET", &secret)];
        let settings = [&own[..], settings].concat();
        let peer = Peer::start(&folder, "server.js", &settings, stores, "/.well-known/openid-configuration")?;
        let made: Value = serde_json::from_slice(&call(peer.address, &creation(&secret).request, 201)?)?;
        let text = |name: &str| made[name].as_str().ok_or("no registration");
        let bearer = format!("Bearer {}", text("registration_access_token")?);
        let line = format!("GET /reg/{}", text("client_id")?);
        let record = Exchange::ok(request(&line, &[("Authorization", &bearer)], ""), "{");
        Ok(Self { peer, secret, record })
    }

    /// Token request for a JWT, with the client's secret.
    pub fn token(&self) -> Exchange {
        self.token_as("jwt")
    }

    fn token_as(&self, format: &str) -> Exchange {
        let scopes = SCOPES.replace(' ', "+");
        let form = format!(
            "grant_type=client_credentials&resource=https%3A%2F%2Fapi.peers.test%2F{format}&scope={scopes}"
        );
        Exchange::ok(token_request_of("/token", Self::CLIENT, &self.secret, &form), r#"{"access_token":"#)
    }

    /// Obtains this many opaque tokens.
    pub fn tokens(&self, number: usize) -> Outcome<Vec<String>> {
        client::tokens(self.peer.address, &self.token_as("opaque"), number)
    }

    /// Introspection of an active token.
    pub fn introspection(&self, token: &str) -> Exchange {
        let form = format!("token={token}");
        Exchange::ok(
            token_request_of("/token/introspection", Self::CLIENT, &self.secret, &form),
            r#"{"active":true"#,
        )
    }

    /// Revocation of a token.
    pub fn revocation(&self, token: &str) -> Exchange {
        let form = format!("token={token}");
        Exchange::ok(token_request_of("/token/revocation", Self::CLIENT, &self.secret, &form), "")
    }

    /// Read of a client's record.
    pub fn read(&self) -> Exchange {
        self.record.clone()
    }

    /// Registration of a new client.
    pub fn creation(&self) -> Exchange {
        creation(&self.secret)
    }
}

fn creation(secret: &str) -> Exchange {
    let bearer = format!("Bearer {secret}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let body = r#"{"grant_types":["client_credentials"],"redirect_uris":[],"response_types":[]}"#;
    Exchange { request: request("POST /reg", &headers, body), status: 201, right: "{" }
}

/// Copies a peer below the build folder and installs its dependencies there.
fn installed(peer: &str, name: &str) -> Outcome<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/peers").join(peer);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(name);
    std::fs::create_dir_all(&folder)?;
    succeed(Command::new("cp").arg("-r").arg(source.join(".")).arg(&folder))?;
    if !folder.join("node_modules").exists() {
        let mut install = Command::new("npm");
        install.args(["install", "--omit=dev", "--no-audit", "--no-fund", "--silent"]).current_dir(&folder);
        succeed(&mut install)?;
    }
    Ok(folder)
}

fn run_node(folder: &Path, script: &str, settings: &[(&str, String)], words: &[&str]) -> Outcome<String> {
    let mut command = Command::new("node");
    command.arg(folder.join(script)).args(words).envs(settings.iter().map(|(name, value)| (name, value)));
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{script} failed").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn succeed(command: &mut Command) -> Outcome<()> {
    if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

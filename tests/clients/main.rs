//! Unmodified products of others as clients, as resource servers, and as readers of the OpenAPI document.
//!
//! `scripts/test` installs them. Each script of a product exits with an error at the first thing that does not work.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use agentidp::wiring::Service;
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};
use testing::{Client, TestClient, free_address, public_jwk, settings};
use tokio::process::Command;
use walkdir::WalkDir;

/// How long a script may take.
const AT_MOST: Duration = Duration::from_secs(240);

/// A service with the system's clock, its administrator, and a client with a secret and a key.
struct World {
    service: Service,
    administrator: Client,
    client: Client,
    key: NamedTempFile,
    /// URL that the organization lists as a resource; nothing listens there yet.
    resource: String,
}

impl World {
    /// Starts a service whose issuer has this path.
    async fn start(path: &str) -> Self {
        let address = free_address();
        let issuer = format!("http://{address}{path}");
        let mut config = settings(&["--issuer-url", &issuer, "--issuer-private-networks", "127.0.0.0/8"]);
        config.listen = address;
        let mut service = Service::start(&config).await.expect("a service");
        let administrator = Client::from(&service.administrator.take().expect("the first"));
        let url = format!("http://{address}");
        let api = TestClient::new(reqwest::Client::new(), vec![url], administrator.clone());

        let admin = api.admin_token().await;
        let resource = format!("http://{}/mcp", free_address());
        let organization = api.organization(&admin, json!({ "resources": [resource] })).await;
        let capabilities = ["tools:call", "tokens:read"];
        let client = api.client(&admin, Some(&organization), &capabilities).await;
        let pem = generate_pem(KeyType::Rsa).expect("a key");
        let key = json!({ "type": "public_key", "publicKey": public_jwk(&pem) });
        let credentials = format!("/api/v1/agents/{}/credentials", client.id);
        assert_eq!(api.post(&admin, &credentials, key).await.status, 201);
        let key = NamedTempFile::new().expect("a file");
        std::fs::write(key.path(), pem).expect("written");
        Self { service, administrator, client, key, resource }
    }

    /// Runs a script of `tests/clients/python`.
    async fn run(&self, script: &str, arguments: &[&str]) {
        let mut command = product("python/bin/python");
        command.arg(sources("python").join(script)).args(arguments);
        self.run_command(command).await;
    }

    /// Runs a command, which learns of the service by the environment.
    async fn run_command(&self, mut command: Command) {
        command.envs([
            ("ISSUER", &*self.service.issuer),
            ("CLIENT_ID", &self.client.id),
            ("CLIENT_SECRET", &self.client.secret),
            ("CLIENT_KEY", self.key.path().to_str().expect("text")),
            ("RESOURCE", &self.resource),
            ("ADMIN_ID", &self.administrator.id),
            ("ADMIN_SECRET", &self.administrator.secret),
        ]);
        succeeds(command).await;
    }
}

/// Returns the path of a file that `scripts/test` installed.
fn installed(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients").join(path)
}

/// Returns the path of a file next to this one.
fn sources(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// Returns a command of an installed program. It finds the other programs, and sends nothing to their makers.
fn product(program: &str) -> Command {
    let mut command = Command::new(installed(program));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = [installed("python/bin")].into_iter().chain(std::env::split_paths(&inherited));
    command.env("PATH", std::env::join_paths(folders).expect("a path"));
    command.envs([("REDOCLY_TELEMETRY", "off"), ("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")]);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs a command. Panics with its output if it fails.
async fn succeeds(mut command: Command) {
    let output = tokio::time::timeout(AT_MOST, command.output()).await.expect("in time");
    let output = output.expect("scripts/test installs the products");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&text));
}

async fn on_every_issuer(script: &str) {
    for path in ["", "/", "/agents", "/agents/"] {
        World::start(path).await.run(script, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authlib_accepts_the_metadata_and_authenticates_by_every_method() {
    on_every_issuer("authlib_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authlib_exchanges_tokens() {
    on_every_issuer("authlib_exchange.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth4webapi_and_openid_client_exchange_tokens_and_prove_possession() {
    let folder = TempDir::new_in(installed("node")).expect("scripts/test installs the products");
    let script = folder.path().join("delegation.js");
    std::fs::copy(sources("node").join("delegation.js"), &script).expect("copied");
    for path in ["", "/agents"] {
        let mut command = product("python/bin/node");
        command.arg(&script);
        World::start(path).await.run_command(command).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyoidc_discovers_the_service_and_gets_a_token() {
    on_every_issuer("pyoidc_client.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idpyoidc_discovers_the_service_both_ways_and_gets_a_token() {
    on_every_issuer("idpyoidc_client.py").await;
}

/// `FastMCP` publishes an issuer without a path with a slash at its end, and its clients compare byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fastmcp_and_the_mcp_sdk_call_a_tool_that_fastmcp_protects() {
    for path in ["/", "/agents"] {
        for verification in ["offline", "online"] {
            World::start(path).await.run("mcp_clients.py", &[verification]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_on_mcp_has_a_server_and_a_client_that_work() {
    let world = World::start("/").await;
    let server = free_address();
    let mut page = include_str!("../../docs/guides/mcp.md").to_owned();
    for (from, to) in [
        ("http://127.0.0.1:3000/", &*world.service.issuer),
        ("127.0.0.1:8000", &server.to_string()),
        ("\"127.0.0.1\", 8000", &format!("\"{}\", {}", server.ip(), server.port())),
    ] {
        assert!(page.contains(from), "{from}");
        page = page.replace(from, to);
    }
    let blocks = |language: &str| {
        let fence = format!("```{language}\n");
        let blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().expect("an end"));
        blocks.map(str::to_owned).collect::<Vec<_>>()
    };
    let [commands] = &blocks("sh")[..] else { panic!("one block") };
    let [server_script, client_script] = &blocks("python")[..] else { panic!("two programs") };
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("server.py"), server_script).expect("written");
    std::fs::write(folder.path().join("client.py"), client_script).expect("written");
    let script = format!(
        "set -euo pipefail\n{commands}\n\
         python server.py >server.log 2>&1 & server=$!\n\
         trap 'kill $server; cat server.log' EXIT\n\
         until curl -so answer http://{server}/mcp; do kill -0 $server; done\n\
         test \"$(python client.py)\" = 3\n"
    );
    let mut command = Command::new("timeout");
    command.args(["200", "bash", "-c", &script]).current_dir(folder.path());
    command.kill_on_drop(true).stdin(Stdio::null());
    let program = PathBuf::from(env!("CARGO_BIN_EXE_agentidp"));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = [program.with_file_name(""), installed("python/bin")];
    let folders = folders.into_iter().chain(std::env::split_paths(&inherited));
    command.env("PATH", std::env::join_paths(folders).expect("a path")).env("XDG_CONFIG_HOME", folder.path());
    command.env("AGENTIDP_URL", world.service.issuer.trim_end_matches('/'));
    command.env("AGENTIDP_CLIENT_ID", &world.administrator.id);
    command.env("AGENTIDP_CLIENT_SECRET", &world.administrator.secret);
    succeeds(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn librdkafka_gets_a_token_for_the_default_resource_of_its_agent() {
    World::start("").await.run("librdkafka_client.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_python_client_generates_a_client_that_works() {
    World::start("").await.run("openapi_python_client.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_generator_generates_a_client_that_works() {
    World::start("").await.run("openapi_generator.py", &[]).await;
}

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

/// Returns a command of this npm package with these arguments.
fn npx(name: &str, arguments: &[&str]) -> Command {
    let mut command = product(&format!("node/node_modules/.bin/{name}"));
    command.args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_typescript_generates_types_by_which_openapi_fetch_works() {
    // The compiler looks for packages in the folders above.
    let folder = TempDir::new_in(installed("node")).expect("scripts/test installs the products");
    let types = folder.path().join("api.ts");
    succeeds(npx("openapi-typescript", &[DOCUMENT, "--output", types.to_str().expect("text")])).await;
    for file in ["openapi_fetch.ts", "tsconfig.json"] {
        std::fs::copy(sources("node").join(file), folder.path().join(file)).expect("copied");
    }
    succeeds(npx("tsc", &["--project", folder.path().to_str().expect("text")])).await;
    let mut command = product("python/bin/node");
    command.arg(folder.path().join("openapi_fetch.ts"));
    World::start("").await.run_command(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_for_any_openid_issuer_is_right_for_node_oidc_provider() {
    let folder = TempDir::new_in(installed("node")).expect("scripts/test installs the products");
    let script = folder.path().join("openid_issuer.js");
    std::fs::copy(sources("node").join("openid_issuer.js"), &script).expect("copied");
    let blocks = |page: &'static str| page.split("```sh\n").skip(1).map(|rest| rest.split("```").next());
    let first_agent = blocks(include_str!("../../README.md")).flatten().find(|one| one.starts_with("URL="));
    let page: Vec<&str> = blocks(include_str!("../../docs/federation/openid.md")).flatten().collect();
    let [issuer, credential, workload, explain] = page[..] else { panic!("four blocks: {page:?}") };
    let mark = "\necho; echo ----\n";
    let introspect = "curl -s $URL/token/introspect -H \"Authorization: Bearer $ADMIN\" -d token=$TOKEN";
    let first_agent = first_agent.expect("README registers an agent");
    let parts = [
        first_agent,
        mark,
        issuer,
        mark,
        // The response is the credential.
        &credential.replace("curl -s", "curl -s -o /dev/null"),
        workload,
        explain,
        mark,
        "echo $ASSERTION",
        mark,
        introspect,
    ];
    let world = World::start("").await;
    let mut command = product("python/bin/node");
    command.arg(script).env("STEPS", parts.concat().replace("http://127.0.0.1:3000", &world.service.issuer));
    world.run_command(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "compiling the client takes minutes: scripts/long-tests progenitor"]
async fn progenitor_generates_a_client_that_works() {
    World::start("").await.run_command(product("rust/debug/agentidp-generated-client")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "its Java compiler is large: scripts/long-tests httpclient"]
async fn apache_httpclient_4_sends_its_form_in_its_own_charset() {
    let jars = ["httpclient", "httpcore", "commons-logging", "commons-codec"];
    let jars = jars.map(|name| format!("/usr/share/java/{name}.jar")).join(":");
    let mut command = Command::new("java");
    command.args(["-cp", &jars]).arg(sources("java/HttpClient4.java"));
    World::start("").await.run_command(command).await;
}

#[tokio::test]
async fn redocly_and_spectral_find_no_error_in_the_document() {
    succeeds(npx("redocly", &["lint", "--extends", "recommended", DOCUMENT])).await;
    let rules = sources("node/spectral.json");
    succeeds(npx("spectral", &["lint", "--ruleset", rules.to_str().expect("text"), DOCUMENT])).await;
}

/// Returns the path of a file of the console.
fn of_the_console(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/adapters/http/console").join(path)
}

/// The compiler finds the types of requests and responses in the OpenAPI document.
#[tokio::test]
async fn the_scripts_of_the_console_have_the_types_of_the_document() {
    // The compiler looks for packages in the folders above.
    let folder = TempDir::new_in(installed("node")).expect("scripts/test installs the products");
    for entry in WalkDir::new(of_the_console("")) {
        let entry = entry.expect("readable");
        let copy = folder.path().join(entry.path().strip_prefix(of_the_console("")).expect("below it"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(copy).expect("a folder");
        } else {
            std::fs::copy(entry.path(), copy).expect("copied");
        }
    }
    let types = folder.path().join("schema.d.ts");
    succeeds(npx("openapi-typescript", &[DOCUMENT, "--output", types.to_str().expect("text")])).await;
    succeeds(npx("tsc", &["--project", folder.path().to_str().expect("text")])).await;
}

#[test]
fn the_libraries_of_the_console_are_those_of_the_registry() {
    for (ours, theirs) in [
        ("preact.js", "preact/dist/preact.mjs"),
        ("hooks.js", "preact/hooks/dist/hooks.mjs"),
        ("htm.js", "htm/dist/htm.mjs"),
        ("LICENSE-preact", "preact/LICENSE"),
        ("LICENSE-htm", "htm/LICENSE"),
    ] {
        let package = installed("node/node_modules").join(theirs);
        let package = std::fs::read_to_string(package).expect("scripts/test installs the products");
        let vendored = of_the_console("vendor").join(ours);
        let vendored = std::fs::read_to_string(vendored).expect("a file");
        // A browser looks for no packages.
        assert!(
            vendored == package.replace("from\"preact\"", "from\"./preact.js\""),
            "{ours} differs from {theirs}"
        );
    }
}

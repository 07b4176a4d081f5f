//! Proxies from Debian, configured as `docs/forward-auth.md` shows, in front of an API.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use reqwest::{Method, StatusCode};
use serde_json::json;
use testing::{Client, ProofKey, SupervisedServer, TestServer, Wiring, free_address};
use tokio::process::Command;

use crate::delegation::token_of;

const PAGE: &str = include_str!("../../docs/forward-auth.md");
const API: &str = "https://api.example.com";
/// Path of the issuer in the variant with one.
const PREFIX: &str = "/agents";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    Nginx,
    Haproxy,
    Caddy,
}

/// A product in front of an API.
struct Proxy {
    url: String,
    _process: SupervisedServer,
}

/// Returns the code blocks of the page in this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n```{language}\n")).expect("the page has it");
    rest.split_once("\n```\n").expect("it ends").0
}

impl Proxy {
    fn start(product: Product, has_tls: bool, identity: &TestServer, prefix: &str, api: SocketAddr) -> Self {
        let address = free_address();
        let asked = identity.service.address.to_string();
        let placed = |text: &str| {
            let text = text.replace("127.0.0.1:3000", &asked).replace("127.0.0.1:9000", &api.to_string());
            text.replace("/api/v1/token/forward-auth", &format!("{prefix}/api/v1/token/forward-auth"))
        };
        let one = |text: &str, from: &str, to: &str| {
            assert!(text.contains(from), "{product:?} has {from}");
            text.replacen(from, to, 1)
        };
        let file = |name: &str, text: &str| format!("cat >{name} <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n");
        let certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                           -keyout key.pem -out cert.pem && cat cert.pem key.pem >both.pem && PATH=$PATH:/usr/sbin:/sbin\n";
        let (files, start, stop) = match product {
            Product::Nginx => {
                let tls =
                    if has_tls { " ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem" } else { "" };
                let site = one(&placed(block("nginx")), "listen 8080", &format!("listen {address}{tls}"));
                let main = "pid nginx.pid;\nerror_log error.log;\nevents {}\nhttp {\naccess_log off;\n\
                            client_body_temp_path t1;\nproxy_temp_path t2;\nfastcgi_temp_path t3;\nuwsgi_temp_path t4;\n\
                            scgi_temp_path t5;\ninclude site.conf;\n}";
                let files = file("site.conf", &site) + &file("nginx.conf", main);
                (files, "nginx -p \"$PWD/\" -c \"$PWD/nginx.conf\"", "kill $(cat nginx.pid)")
            }
            Product::Haproxy => {
                let tls = if has_tls { " ssl crt both.pem" } else { "" };
                let main = one(&placed(block("haproxy")), "bind :8080", &format!("bind {address}{tls}"));
                let files = file("haproxy.cfg", &main) + &file("authorize.lua", &placed(block("lua")));
                (files, "haproxy -D -f haproxy.cfg -p pid", "kill $(cat pid)")
            }
            Product::Caddy => {
                let (scheme, tls) =
                    if has_tls { ("https", "\ttls cert.pem key.pem\n") } else { ("http", "") };
                let site = format!("{scheme}://{address} {{\n\tbind {}\n{tls}", address.ip());
                let options = "{\n\tadmin off\n\tauto_https off\n\tdefault_sni localhost\n}\n";
                let site = options.to_owned() + &one(&placed(block("caddyfile")), ":8080 {\n", &site);
                let start = "export HOME=$PWD XDG_DATA_HOME=$PWD XDG_CONFIG_HOME=$PWD\n\
                             caddy run --config Caddyfile --adapter caddyfile & echo $! >pid";
                (file("Caddyfile", &site), start, "kill $(cat pid)")
            }
        };
        let url = format!("{}://{address}", if has_tls { "https" } else { "http" });
        let start = format!("{certificate}{files}{start}\nwait_until curl -sko /dev/null {url}");
        Self { url, _process: SupervisedServer::start(&start, stop) }
    }

    /// Sends a request, and returns the status, the head and the body of the response.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut command = Command::new("curl");
        command.args(["-ski", "--max-time", "60", "-X", method]);
        for (name, value) in headers {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        if method == "POST" {
            command.args(["--data-binary", "the body"]);
        }
        let output = command.arg(format!("{}{path}", self.url)).output().await.expect("curl runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn get(&self, token: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let bearer = format!("Bearer {token}");
        self.send(
            "GET",
            "/files/a?resource=x&scope=y",
            &[&[("Authorization", bearer.as_str())], headers].concat(),
        )
        .await
    }
}

/// Starts an API that answers with the request that it got.
fn start_api() -> SocketAddr {
    fn answer(stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            head += &line.to_lowercase();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let text = head + &String::from_utf8_lossy(&body);
        let response =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
        reader.get_mut().write_all(response.as_bytes())
    }
    let listener = TcpListener::bind(free_address()).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

async fn revoke(server: &TestServer, client: &Client, token: &str) {
    let request = server.request(Method::POST, "/api/v1/token/revoke").form(&[("token", token)]);
    let answer = server.send(request.basic_auth(&client.id, Some(&client.secret))).await;
    assert_eq!(answer.status, StatusCode::OK);
}

/// Lets through what may pass, and nothing else, whatever a client sends.
async fn only_what_may_pass_reaches_the_api(product: Product, has_tls: bool, prefix: &str) {
    let issuer = format!("http://id.example.com{prefix}");
    let flags = ["--trusted-proxies", "127.0.0.0/8", "--issuer-url", &issuer];
    let server = TestServer::start_with(Wiring::Memory, &flags).await;
    let proxy = Proxy::start(product, has_tls, &server, prefix, start_api());
    let admin = server.unlimited_admin_token().await;
    let organization = server.organization(&admin, json!({ "resources": [API] })).await;
    let client = server.client(&admin, Some(&organization), &["files:read", "files:write"]).await;
    let reads = server.token(&client, &[("resource", API), ("scope", "files:read")]).await;
    let writes = server.token(&client, &[("resource", API), ("scope", "files:write")]).await;

    let (status, head, body) = proxy.get(&reads, &[]).await;
    assert_eq!(status, 200, "{head}{body}");
    let id = client.id.to_lowercase();
    for line in [
        format!("x-auth-agent-id: {id}"),
        format!("x-auth-subject: {id}"),
        "x-auth-scope: files:read".to_owned(),
    ] {
        assert!(body.contains(&format!("{line}\r\n")), "{line}: {body}");
    }
    assert!(!body.contains("x-auth-actors"), "{body}");
    let bearer = format!("Bearer {reads}");
    let (status, _, body) = proxy.send("POST", "/files", &[("Authorization", &bearer)]).await;
    assert!(status == 200 && body.ends_with("the body"), "{status} {body}");

    // A client cannot name itself or the requirement.
    let forged = [
        ("X-Auth-Agent-Id", "forged"),
        ("X-Auth-Actors", "forged"),
        ("X-Auth-Other", "forged"),
        ("X-Auth-Require-Scope", "files:write"),
        ("X-Auth-Require-Resource", "https://other.example.com"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X_Auth_Agent_Id", "forged"),
        ("X-Auth_Actors", "forged"),
        ("Connection", "close, X-Auth-Agent-Id, X-Auth-Subject"),
        ("Upgrade", "h2c"),
    ];
    let (status, _, body) = proxy.get(&reads, &forged).await;
    assert_eq!(status, 200, "{body}");
    let own = body.lines().filter(|line| line.starts_with("x-auth-") && line.contains("forged")).count();
    assert_eq!(own, usize::from(product == Product::Nginx), "only the one that nothing defines: {body}");
    assert!(body.contains(&format!("x-auth-agent-id: {id}\r\n")), "{body}");
    for part in ["x_auth", "x-auth_", "upgrade", "connection: close, x-auth"] {
        assert!(!body.contains(part), "{part}: {body}");
    }
    for headers in [&[][..], &forged] {
        let (status, head, _) = proxy.get(&writes, headers).await;
        assert_eq!(status, 403, "{head}");
        assert!(head.contains(r#"bearer error="insufficient_scope", scope="files:read""#), "{head}");
        assert_eq!(proxy.get("x.y.z", headers).await.0, 401);
        let (status, head, _) = proxy.send("GET", "/files/a", headers).await;
        assert_eq!(status, 401);
        let metadata = r#"resource_metadata="https://api.example.com/.well-known/oauth-protected-resource""#;
        assert!(head.contains(&format!("www-authenticate: bearer {metadata}")), "{head}");
    }
    revoke(&server, &client, &reads).await;
    assert_eq!(proxy.get(&reads, &[]).await.0, 401, "it is refused with the next request");

    let key = ProofKey::es256();
    let form = [("grant_type", "client_credentials"), ("resource", API), ("scope", "files:read")];
    let proof = key.proof(&issuer, "POST", "/api/v1/token", None);
    let request = server.request(Method::POST, "/api/v1/token").form(&form).header("DPoP", proof);
    let bound = token_of(&server.send(request.basic_auth(&client.id, Some(&client.secret))).await);
    let scheme = format!("DPoP {bound}");
    let host = API.replace("https", if has_tls { "https" } else { "http" });
    let proof = key.proof(&host, "GET", "/files/a", Some(&bound));
    let stolen = key.proof(&host, "GET", "/files/b", Some(&bound));
    let elsewhere = key.proof("http://evil.example.com", "GET", "/files/a", Some(&bound));
    for (path, proof, expected) in [
        ("/files/a?x=y", &proof, 200),
        ("/files/a", &proof, 401),
        ("/files/a", &stolen, 401),
        ("/files/a", &elsewhere, 401),
    ] {
        let described = [
            ("Authorization", scheme.as_str()),
            ("DPoP", proof),
            ("X-Forwarded-Uri", "/files/b"),
            ("X-Forwarded-Host", "evil.example.com"),
        ];
        assert_eq!(proxy.send("GET", path, &described).await.0, expected, "{path}");
    }

    let limited = server
        .organization(&admin, json!({ "resources": [API], "limits": { "requestsPerMinute": 2 } }))
        .await;
    let hurried = server.client(&admin, Some(&limited), &["files:read"]).await;
    let hurried = server.token(&hurried, &[("resource", API)]).await;
    assert_eq!(proxy.get(&hurried, &[]).await.0, 200);
    let (status, head, _) = proxy.get(&hurried, &[]).await;
    assert!(status == 429 && head.contains("retry-after: "), "{head}");
    server.service.end().await;
    assert_eq!(proxy.get(&bound, &[]).await.0, 503, "without an answer nothing passes");
}

macro_rules! proxies {
    ($($name:ident $product:ident $has_tls:literal $prefix:expr;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                only_what_may_pass_reaches_the_api(Product::$product, $has_tls, $prefix).await;
            }
        )+
    };
}

proxies! {
    nginx_passes_only_what_may_pass Nginx false "";
    nginx_with_tls_passes_only_what_may_pass Nginx true PREFIX;
    haproxy_passes_only_what_may_pass Haproxy false "";
    haproxy_with_tls_passes_only_what_may_pass Haproxy true PREFIX;
    caddy_passes_only_what_may_pass Caddy false "";
    caddy_with_tls_passes_only_what_may_pass Caddy true PREFIX;
}

use std::process::Stdio;
use std::time::{Duration, Instant};

use agentidp::adapters::crypto::generate_pem;
use agentidp::domain::jwk::KeyType;
use testing::free_address;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{User, script_of, start};
use crate::command_line::serve;
use crate::readme::shell;

/// Starts a server that gives these answers (status, further header, body), one a connection, and then no more.
/// Returns its URL, and the first line of each request as it arrives.
async fn scripted(
    answers: Vec<(&'static str, &'static str, &'static str)>,
) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (seen, requests) = unbounded_channel();
    tokio::spawn(async move {
        for (status, header, body) in answers {
            let Ok((stream, _)) = listener.accept().await else { return };
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a request");
            let _ = seen.send(line.trim_end().to_owned());
            let answer = format!(
                "HTTP/1.1 {status}\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("an answer");
            // A connection that closes before everything is read would be reset.
            stream.shutdown().await.expect("an end");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    (url, requests)
}

#[tokio::test]
async fn a_request_above_the_rate_is_repeated_when_the_service_says_so() {
    const LIMITED: (&str, &str, &str) =
        ("429 Too Many Requests", "retry-after: 1\r\n", r#"{"code":"RATE_LIMIT_EXCEEDED","message":"wait"}"#);
    let (url, mut requests) = scripted(vec![
        LIMITED,
        ("200 OK", "", r#"{"access_token":"a.b.c"}"#),
        LIMITED,
        ("200 OK", "", r#"{"data":[]}"#),
    ])
    .await;
    let user = User::new(vec![
        ("AGENTIDP_URL", url),
        ("AGENTIDP_CLIENT_ID", "client".to_owned()),
        ("AGENTIDP_CLIENT_SECRET", "aidp_sk_1".to_owned()),
    ]);
    let begin = Instant::now();
    user.done(&["audit", "export", "--output", "audit.jsonl"]).await;
    assert!(begin.elapsed() >= Duration::from_secs(2), "it waits as long as the service says");
    let mut seen = Vec::new();
    while let Some(line) = requests.recv().await {
        seen.push(line.split(['?', ' ']).nth(1).expect("a path").to_owned());
    }
    assert_eq!(seen, ["/api/v1/token", "/api/v1/token", "/api/v1/audit", "/api/v1/audit"]);
}

#[tokio::test]
async fn a_private_key_signs_only_for_the_service_that_is_named() {
    let (server, user) = start().await;
    let keyed = User::new(user.environment[..2].to_vec());
    keyed.file("key.pem", &generate_pem(KeyType::Ed25519).expect("a key"));
    // On this machine, a service may have another name than its public one. This address is a name of the machine as
    // well, but not one by which the client knows that.
    let elsewhere = server.url("").replace("127.0.0.1", "0.0.0.0");
    let ran = keyed.run(&["agents", "list", "--private-key", "key.pem", "--url", &elsewhere]).await;
    assert!(ran.code == 2 && ran.err.contains(&*server.service.issuer), "{}", ran.err);
    let (impostor, mut requests) =
        scripted(vec![("200 OK", "", r#"{"issuer":"https://id.example.com\u001b[2J"}"#)]).await;
    let impostor = impostor.replace("127.0.0.1", "0.0.0.0");
    let ran = keyed.run(&["agents", "list", "--private-key", "key.pem", "--url", &impostor]).await;
    assert!(ran.code == 2 && ran.err.contains("https://id.example.com\\u{1b}"), "{}", ran.err);
    assert_eq!(
        requests.recv().await.as_deref(),
        Some("GET /.well-known/oauth-authorization-server HTTP/1.1")
    );
    assert_eq!(requests.recv().await, None, "no assertion is sent");
}

#[tokio::test]
async fn a_status_is_shown_and_a_health_check_has_an_exit_code() {
    let (server, user) = start().await;
    let status = user.json(&["status"]).await;
    assert_eq!((&status["status"], &status["stores"]["memory"]), (&"ok".into(), &"ok".into()));
    assert!(status["version"].is_string() && status["keys"].is_array(), "{status}");
    assert_eq!(user.done(&["status", "--ready"]).await, "");
    let id = &user.environment[1].1;
    assert_eq!(status["identity"], **id);
    let mut other = User::new(user.environment[..1].to_vec());
    let unchecked = other.done(&["status", "-o", "table"]).await;
    assert!(unchecked.contains("identity none is given, so none was checked"), "{unchecked}");
    let token = user.done(&["token", "get", "--scope", "audit:read"]).await;
    for (token, code, shown) in [(token, 0, &**id), ("a.b.c".to_owned(), 1, "refused")] {
        other.environment.push(("AGENTIDP_TOKEN", token));
        let ran = other.run(&["status", "-o", "table"]).await;
        assert!(ran.code == code && ran.out.contains(&format!("identity {shown}\n")), "{ran:?}");
        other.environment.pop();
    }
    server.service.end().await;
    assert_eq!(user.run(&["status", "--ready"]).await.code, 1);
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_named_in_one_line() {
    let user = User::new(vec![
        ("AGENTIDP_URL", format!("http://{}", free_address())),
        ("AGENTIDP_TOKEN", "a.b.c".to_owned()),
    ]);
    let ran = user.run(&["agents", "list"]).await;
    assert!(ran.code == 3 && ran.err.contains("cannot be reached"), "{}", ran.err);
    assert!(ran.err.ends_with("; is the service running? agentidp serve starts it\n"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1);
    for url in [
        "nonsense",
        "ftp://example.com",
        "http://hunter2@example.com",
        "http://:hunter2@example.com",
        "http://example.com?token=hunter2",
        "http://example.com#hunter2",
    ] {
        let ran = user.run(&["agents", "list", "--url", url]).await;
        assert!(ran.code == 2 && ran.err.contains("--url") && !ran.err.contains("hunter2"), "{}", ran.err);
    }
    for url in ["http://example.com/api/v1", "http://example.com/idp/api/v1/"] {
        let ran = user.run(&["agents", "list", "--url", url]).await;
        assert!(ran.code == 2 && ran.err.contains("leave out /api/v1"), "{}", ran.err);
    }
    let (server, _) = start().await;
    let ran = user.run(&["agents", "list", "--url", &server.url("").replace("http:", "https:")]).await;
    assert!(ran.code == 3 && ran.err.ends_with("it does not speak TLS; try http://\n"), "{}", ran.err);
    let unauthenticated = User::new(vec![user.environment[0].clone()]);
    let ran = unauthenticated.run(&["agents", "list"]).await;
    assert!(ran.code == 2 && ran.err.contains("agentidp login"), "{}", ran.err);
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_named_in_one_line() {
    let (url, _) = scripted(vec![("200 OK", "", "<html>")]).await;
    let user = User::new(vec![("AGENTIDP_URL", url), ("AGENTIDP_TOKEN", "a.b.c".to_owned())]);
    let ran = user.run(&["agents", "list"]).await;
    assert!(
        ran.code == 3 && ran.err.contains("other than JSON") && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn no_answer_of_a_server_can_control_the_terminal() {
    const REFUSAL: &str = "{\"code\":\"\u{1b}[2J\",\"message\":\"\u{202e}\u{9b}1m\u{e0041}\",\
        \"details\":{\"errors\":[{\"field\":\"\u{61c}\",\"message\":\"\u{1b}]0;x\u{7}\"}],\"missingScopes\":[\"\u{1b}c\"]}}";
    // The escape sequences of JSON, which a terminal would see once it is read.
    let escaped: String = REFUSAL
        .chars()
        .map(|letter| {
            if letter.is_ascii_control() {
                format!("\\u{:04x}", u32::from(letter))
            } else {
                letter.to_string()
            }
        })
        .collect();
    let list = "{\"data\":[{\"email\":\"\u{202e}\u{9b}1m\"}],\"total\":1,\"page\":1}";
    for (status, body, code) in [("403 Forbidden", escaped.as_str(), 1), ("200 OK", list, 0)] {
        let body: &'static str = body.to_owned().leak();
        let status: &'static str = status;
        let (url, _) = scripted(vec![(status, "", body), (status, "", body)]).await;
        let user = User::new(vec![("AGENTIDP_URL", url), ("AGENTIDP_TOKEN", "a.b.c".to_owned())]);
        let ran = user.run(&["agents", "list", "-o", "json"]).await;
        assert_eq!(ran.code, code, "{}", ran.err);
        let is_control = |letter: char| {
            (letter.is_control() && letter != '\n') || "\u{202e}\u{61c}\u{e0041}".contains(letter)
        };
        assert!(!ran.err.contains(is_control) && !ran.out.contains(is_control), "{ran:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_refused_unless_its_authority_is_named() {
    let mut user = User::new(vec![("AGENTIDP_TOKEN", "a.b.c".to_owned())]);
    let address = free_address();
    let make = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=service \
         -addext subjectAltName=IP:{} -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out certificate.pem",
        address.ip()
    );
    let made = Command::new("sh").args(["-c", &make]).current_dir(user.folder.path()).output().await;
    assert!(made.expect("openssl runs").status.success());
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            &address.to_string(),
            "-cert",
            "certificate.pem",
            "-key",
            "key.pem",
            "-www",
        ])
        .current_dir(user.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl runs");
    let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
    while lines.next_line().await.expect("text").is_some_and(|line| line != "ACCEPT") {}
    user.environment.push(("AGENTIDP_URL", format!("https://{address}")));
    let ran = user.run(&["agents", "list"]).await;
    assert!(
        ran.code == 3 && ran.err.contains("certificate") && ran.err.contains("SSL_CERT_FILE"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    user.environment.push(("SSL_CERT_FILE", "certificate.pem".to_owned()));
    let ran = user.run(&["agents", "list"]).await;
    assert!(ran.code == 3 && ran.err.contains("other than JSON"), "it connects: {}", ran.err);
}

#[tokio::test]
async fn completions_and_the_manual_name_every_command() {
    let user = User::new(Vec::new());
    let manual = user.done(&["man"]).await;
    for command in
        ["agents", "credentials", "orgs", "issuers", "token", "audit", "usage", "status", "apply", "export"]
    {
        assert!(manual.contains(command), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let text = user.done(&["completions", shell]).await;
        assert!(text.contains("decommission"), "{shell}");
    }
}

#[tokio::test]
async fn the_steps_of_the_guide_can_be_pasted() {
    const GUIDE: &str = include_str!("../../../docs/command-line.md");
    let running = serve(&[], &[]).await;
    let user = User::new(Vec::new());
    let script = script_of(GUIDE, &user);
    let text = shell(&running, &script, &[]).await;
    for words in ["3 added, 0 changed, 0 gone", "nothing to change", "data-team", "An access token"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

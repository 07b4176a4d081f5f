use std::process::Stdio;

use testing::free_address;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{User, start};
use crate::command_line::serve;
use crate::readme::shell;

#[tokio::test]
async fn a_status_is_shown_and_a_health_check_has_an_exit_code() {
    let (server, user) = start().await;
    let status = user.json(&["status"]).await;
    assert_eq!((&status["status"], &status["stores"]["memory"]), (&"ok".into(), &"ok".into()));
    assert!(status["version"].is_string() && status["keys"].is_array(), "{status}");
    assert_eq!(user.done(&["status", "--ready"]).await, "");
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
    assert_eq!(ran.err.lines().count(), 1);
    for url in ["nonsense", "ftp://example.com", "http://user@example.com"] {
        let ran = user.run(&["agents", "list", "--url", url]).await;
        assert!(ran.code == 2 && ran.err.contains("--url"), "{}", ran.err);
    }
    let unauthenticated = User::new(vec![user.environment[0].clone()]);
    let ran = unauthenticated.run(&["agents", "list"]).await;
    assert!(ran.code == 2 && ran.err.contains("agentidp login"), "{}", ran.err);
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_named_in_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>")
                .await;
        }
    });
    let user = User::new(vec![("AGENTIDP_URL", url), ("AGENTIDP_TOKEN", "a.b.c".to_owned())]);
    let ran = user.run(&["agents", "list"]).await;
    assert!(
        ran.code == 3 && ran.err.contains("other than JSON") && ran.err.lines().count() == 1,
        "{}",
        ran.err
    );
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
    let blocks: Vec<&str> =
        GUIDE.split("```sh\n").skip(1).map(|block| block.split("```").next().expect("an end")).collect();
    assert!(blocks.len() > 6);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_agentidp"));
    let folder = user.folder.path().display();
    let script = format!(
        "export PATH={}:$PATH XDG_CONFIG_HOME={folder}; cd {folder}; set -o pipefail\n{}",
        program.parent().expect("a folder").display(),
        blocks.concat()
    );
    let text = shell(&running, &script, &[]).await;
    for words in ["3 added, 0 changed, 0 gone", "nothing to change", "data-team", "An access token"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

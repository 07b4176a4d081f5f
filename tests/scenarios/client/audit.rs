use std::collections::HashSet;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{User, start};
use crate::command_line::{LONG, serve};

fn ids(text: &str) -> Vec<String> {
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    text.lines().map(|line| event(line)["eventId"].as_str().expect("an ID").to_owned()).collect()
}

#[tokio::test]
async fn an_export_is_oldest_first_and_a_second_one_adds_only_newer_events() {
    let (server, user) = start().await;
    user.agent("a@example.com").await;
    server.advance(1);
    user.agent("b@example.com").await;
    server.advance(1);
    user.done(&["audit", "export", "--output", "audit.jsonl"]).await;
    let path = user.folder.path().join("audit.jsonl");
    let first = std::fs::read_to_string(&path).expect("a file");
    let times: Vec<String> = first
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["timestamp"].to_string())
        .collect();
    assert!(times.is_sorted() && times.len() > 2, "{times:?}");
    // An interrupted run leaves a part of a line.
    std::fs::write(&path, format!("{first}{{\"eventId\": \"")).expect("written");
    server.advance(1);
    user.agent("c@example.com").await;
    user.done(&["audit", "export", "--output", "audit.jsonl"]).await;
    let second = std::fs::read_to_string(&path).expect("a file");
    assert!(second.starts_with(&first) && second.len() > first.len());
    let all = ids(&second);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "no event twice");
    user.file("other", "no export\n");
    let wrong = user.run(&["audit", "export", "--output", "other"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("other"), "{}", wrong.err);
}

#[tokio::test]
async fn following_continues_after_a_restart_and_prints_no_event_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("agentidp.db").display().to_string();
    let address = testing::free_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let running = serve(&["--data", &data, "--host", &host, "--port", &port], &[]).await;
    let words = running.curl.split('\'').nth(1).expect("an identity").to_owned();
    let (id, secret) = words.split_once(':').expect("two parts");
    let user = User::new(vec![
        ("AGENTIDP_URL", format!("http://{address}")),
        ("AGENTIDP_CLIENT_ID", id.to_owned()),
        ("AGENTIDP_CLIENT_SECRET", secret.to_owned()),
    ]);
    let mut child =
        user.command(&["audit", "tail", "-o", "json"]).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut seen = Vec::new();
    let mut until = async |email: &str, user: &User| {
        let agent = user.agent(email).await["agentId"].clone();
        let reading = async {
            while let Some(line) = out.next_line().await.expect("text") {
                let event: Value = serde_json::from_str(&line).expect("JSON");
                seen.push(event["eventId"].to_string());
                if event["action"] == "agent.created" && event["resource"]["id"] == agent {
                    return;
                }
            }
            panic!("it ended");
        };
        tokio::time::timeout(LONG, reading).await.expect("in time");
    };
    let first = tokio::time::timeout(LONG, err.next_line()).await.expect("in time").expect("text");
    assert!(first.is_some_and(|line| line.contains("following")));
    until("a@example.com", &user).await;
    running.kill().await;
    let away = tokio::time::timeout(LONG, err.next_line()).await.expect("in time").expect("text");
    assert!(away.is_some_and(|line| line.contains("trying again")));
    let _running = serve(&["--data", &data, "--host", &host, "--port", &port], &[]).await;
    until("b@example.com", &user).await;
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "{seen:?}");
}

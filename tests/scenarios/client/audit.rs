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

/// A tally stands for many events, has the time of the first one, and is stored when its minute is over.
#[tokio::test]
async fn an_event_that_becomes_visible_late_is_exported_in_its_place() {
    let (server, user) = start().await;
    let admin = server.admin_token().await;
    server.introspect(&admin).await;
    server.advance(30);
    user.agent("a@example.com").await;
    user.done(&["audit", "export", "--output", "audit.jsonl"]).await;
    let path = user.folder.path().join("audit.jsonl");
    let first = std::fs::read_to_string(&path).expect("a file");
    assert!(!first.contains("token.introspected"));
    // This settles tallies.
    let all = server.events(&admin, "").await.len();
    user.done(&["audit", "export", "--output", "audit.jsonl"]).await;
    let second = std::fs::read_to_string(&path).expect("a file");
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let events: Vec<Value> = second.lines().map(event).collect();
    let place = events.iter().position(|event| event["action"] == "token.introspected").expect("it is there");
    assert!(
        events.len() >= all && events[place + 1..].iter().any(|event| event["action"] == "agent.created")
    );
    let times: Vec<String> = events.iter().map(|event| event["timestamp"].to_string()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(ids(&second).iter().collect::<HashSet<_>>().len(), events.len(), "no event twice");
}

#[tokio::test]
async fn an_export_touches_no_file_that_is_none_of_its_own() {
    let (server, user) = start().await;
    let admin = server.admin_token().await;
    user.agent("a@example.com").await;
    user.done(&["audit", "export", "--output", "audit.jsonl"]).await;
    let (_other, elsewhere) = start().await;
    let own = std::fs::read_to_string(user.folder.path().join("audit.jsonl")).expect("a file");
    for (text, words) in [
        ("my notes", "no export"),
        ("my notes\n", "no export"),
        ("{\"a\":1}\n", "no export"),
        ("{\"eventId\": \"x\"}\n", "no export"),
        (own.as_str(), "another service"),
    ] {
        let path = elsewhere.file("notes", text);
        let ran = elsewhere.run(&["audit", "export", "--output", "notes"]).await;
        assert!(ran.code == 2 && ran.err.contains(words), "{text}: {}", ran.err);
        assert_eq!(std::fs::read_to_string(path).expect("a file"), text);
    }
    let ran = elsewhere.run(&["audit", "export", "--output", "/dev/full"]).await;
    assert!(ran.code == 2 && ran.err.contains("not a file"), "{}", ran.err);
    server.organization(&admin, serde_json::json!({ "slug": "acme" })).await;
    let other = ["audit", "export", "--organization", "acme", "--output", "audit.jsonl"];
    let ran = user.run(&other).await;
    assert!(ran.code == 2 && ran.err.contains("another service or organization"), "{}", ran.err);
}

#[tokio::test]
async fn following_ends_when_nothing_reads_it() {
    let (_server, user) = start().await;
    let mut child = user.command(&["audit", "tail", "-o", "json"]).spawn().expect("it runs");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let begun = tokio::time::timeout(LONG, err.next_line()).await.expect("in time").expect("text");
    assert!(begun.is_some_and(|line| line.contains("following")));
    drop(child.stdout.take());
    user.agent("a@example.com").await;
    let status = tokio::time::timeout(LONG, child.wait()).await.expect("in time").expect("it ran");
    assert!(status.success());
}

#[tokio::test]
async fn following_continues_after_a_restart_and_prints_no_event_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("agentidp.db").display().to_string();
    let address = testing::free_address();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let running = serve(&["--data", &data, "--host", &host, "--port", &port], &[]).await;
    let user = User::administrator_of(&running);
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

#[tokio::test]
async fn events_are_listed_from_a_date_or_from_a_duration_before_now() {
    // The clock of the service says the 15th of January 2026.
    let (_server, user) = start().await;
    user.agent("one@example.com").await;
    for (flag, value, is_shown) in [
        ("--from-date", "2026-01-15", true),
        ("--from-date", "2026-01-16", false),
        ("--from-date", "1h", false),
        ("--to-date", "7d", true),
    ] {
        let events = user.json(&["audit", "list", "--action", "agent.created", flag, value]).await;
        assert_eq!(events.as_array().is_some_and(|all| !all.is_empty()), is_shown, "{flag} {value}");
    }
    let ran = user.run(&["audit", "list", "--from-date", "yesterday"]).await;
    assert!(ran.code == 2 && ran.err.contains("--from-date must be a time"), "{}", ran.err);
}

//! Commands on a terminal, which `script` provides: questions, colours and progress.

use std::fmt::Write as _;
use std::process::Stdio;

use testing::{TestServer, Wiring};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Ran, User, start};
use crate::command_line::LONG;

const BOLD: &str = "\u{1b}[1m";

impl User {
    /// Runs a command on a terminal, with what is typed there. Standard error is in its output.
    async fn on_a_terminal(&self, arguments: &[&str], typed: &str) -> Ran {
        let own = self.command(arguments);
        let mut command = Command::new("script");
        let line = format!("{} {}", env!("CARGO_BIN_EXE_agentidp"), arguments.join(" "));
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").env("TERM", "xterm");
        for (name, value) in own.as_std().get_envs() {
            command.env(name, value.expect("a value"));
        }
        command.current_dir(self.folder.path()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("script runs");
        let mut keyboard = child.stdin.take().expect("a pipe");
        keyboard.write_all(typed.as_bytes()).await.expect("typed");
        // The terminal stays open: a keyboard has no end.
        let output = tokio::time::timeout(LONG, child.wait_with_output()).await;
        drop(keyboard);
        let output = output.expect("in time").expect("it ran");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("a code");
        Ran { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

#[tokio::test]
async fn a_person_is_asked_before_an_agent_is_suspended() {
    let (_server, user) = start().await;
    let agent = user.agent("one@example.com").await;
    let id = agent["agentId"].as_str().expect("an ID");
    for (typed, code, status) in
        [("n\n", 2, "active"), ("\n", 2, "active"), ("maybe\n", 2, "active"), ("y\n", 0, "suspended")]
    {
        let ran = user.on_a_terminal(&["agents", "suspend", id], typed).await;
        assert!(ran.out.contains("Continue? [y/N]"), "{}", ran.out);
        assert_eq!(ran.code, code, "{typed:?}: {}", ran.out);
        assert_eq!(user.json(&["agents", "get", id]).await["status"], status, "{typed:?}");
    }
}

#[tokio::test]
async fn a_person_is_asked_for_a_profile_and_the_secret_is_not_shown() {
    let (_server, user) = start().await;
    let [(_, url), (_, id), (_, secret)] = user.environment.try_into().expect("three settings");
    let user = User { folder: user.folder, environment: Vec::new() };
    let ran = user.on_a_terminal(&["login"], &format!("{url}\n{id}\n{secret}\n")).await;
    assert_eq!(ran.code, 0, "{}", ran.out);
    for question in ["URL of the service", "Client ID: ", "Client secret: "] {
        assert!(ran.out.contains(question), "{question}: {}", ran.out);
    }
    let typed_ahead = ran.out.matches(&secret).count();
    user.done(&["agents", "list"]).await;
    // A terminal shows what is typed before a program asks. What `login` itself writes must not contain the secret.
    let stored = ran.out.rsplit("Client secret: ").next().expect("an end");
    assert!(!stored.contains(&secret) && typed_ahead <= 1, "{}", ran.out);
}

#[tokio::test]
async fn a_terminal_gets_a_table_with_colours_unless_there_are_to_be_none() {
    let (_server, mut user) = start().await;
    user.agent("one@example.com").await;
    let coloured = user.on_a_terminal(&["agents", "list"], "").await;
    assert!(coloured.out.contains(BOLD) && coloured.out.contains("EMAIL"), "{}", coloured.out);
    assert!(!user.done(&["agents", "list", "-o", "table"]).await.contains(BOLD), "a file gets no colours");
    user.environment.push(("NO_COLOR", "1".to_owned()));
    let plain = user.on_a_terminal(&["agents", "list"], "").await;
    assert!(!plain.out.contains('\u{1b}') && plain.out.contains("EMAIL"), "{}", plain.out);
}

#[tokio::test]
async fn progress_is_shown_on_a_terminal_only() {
    let server = TestServer::start(Wiring::Memory).await;
    server.unlimited_admin_token().await;
    let user = User::administrator(&server);
    user.file("many.yaml", &agents(20));
    let ran = user.on_a_terminal(&["apply", "-f", "many.yaml"], "").await;
    assert!(ran.code == 0 && ran.out.contains("/20"), "{}", ran.out);
    user.file("more.yaml", &agents(40));
    let ran = user.run(&["apply", "-f", "more.yaml"]).await;
    assert!(ran.code == 0 && ran.err.is_empty(), "{}", ran.err);
}

/// Returns a manifest of this many agents.
pub fn agents(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let written = write!(
            text,
            "---\nkind: Agent\nemail: a{number}@example.com\nagentType: custom\nversion: 1.0.0\n\
             capabilities: [a:b]\nowner: me\ndeploymentEnv: staging\n"
        );
        written.expect("a text takes everything");
        text
    })
}

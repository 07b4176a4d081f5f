//! The program as a client of a running service.

mod audit;
mod connection;
mod incident;
mod manifests;
mod profiles;
mod resources;
mod terminal;
mod tokens;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use testing::{TestServer, Wiring};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::command_line::{LONG, Running, program};
use crate::pages::blocks;

/// A person at a shell, with an identity in the environment and a folder of their own.
pub struct User {
    pub folder: TempDir,
    pub environment: Vec<(&'static str, String)>,
}

/// Result of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl User {
    /// Returns the administrator of the service.
    pub fn administrator(server: &TestServer) -> Self {
        let client = server.administrator();
        Self::new(vec![
            ("AGENTIDP_URL", server.url("")),
            ("AGENTIDP_CLIENT_ID", client.id),
            ("AGENTIDP_CLIENT_SECRET", client.secret),
        ])
    }

    /// Returns the administrator that a program has made at its start.
    pub fn administrator_of(running: &Running) -> Self {
        let pair = running.curl.split('\'').nth(1).expect("an identity");
        let (id, secret) = pair.split_once(':').expect("two parts");
        Self::new(vec![
            ("AGENTIDP_URL", running.address.clone()),
            ("AGENTIDP_CLIENT_ID", id.to_owned()),
            ("AGENTIDP_CLIENT_SECRET", secret.to_owned()),
        ])
    }

    pub fn new(environment: Vec<(&'static str, String)>) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), environment }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.current_dir(self.folder.path()).env("XDG_CONFIG_HOME", self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command off a terminal.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "").await
    }

    /// Runs a command with this text as its standard input. Panics if the command prints the user's secret as an error.
    pub async fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("it runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that reads nothing may have ended.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = tokio::time::timeout(LONG, child.wait_with_output()).await;
        let output = output.expect("in time").expect("it ran");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("a code");
        let ran = Ran { code, out: text(output.stdout), err: text(output.stderr) };
        for (name, value) in &self.environment {
            let is_secret = matches!(*name, "AGENTIDP_CLIENT_SECRET" | "AGENTIDP_TOKEN");
            assert!(!is_secret || !ran.err.contains(value), "{}", ran.err);
        }
        ran
    }

    /// Runs a command that succeeds, and returns what it prints.
    pub async fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        ran.out
    }

    /// Runs a command that succeeds, and returns the JSON that it prints.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments).await).expect("JSON")
    }

    /// Registers an agent with this address.
    pub async fn agent(&self, email: &str) -> Value {
        self.json(&[
            "agents",
            "create",
            "--email",
            email,
            "--agent-type",
            "custom",
            "--version",
            "1.0.0",
            "--capabilities",
            "files:read,files:write",
            "--owner",
            "team",
            "--deployment-env",
            "staging",
        ])
        .await
    }

    /// Writes a file in the user's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }
}

/// Returns the commands of a page as one script, which uses this program and the user's folder.
pub fn script_of(page: &str, user: &User) -> String {
    let blocks = blocks(page, "sh").concat();
    assert!(!blocks.is_empty(), "a page without commands");
    let program = Path::new(env!("CARGO_BIN_EXE_agentidp")).parent().expect("a folder");
    let folder = user.folder.path().display();
    format!(
        "export PATH={}:$PATH XDG_CONFIG_HOME={folder}; cd {folder}; set -o pipefail\n{blocks}",
        program.display()
    )
}

/// Starts a service, and returns it with its administrator at a shell.
pub async fn start() -> (TestServer, User) {
    let server = TestServer::start(Wiring::Memory).await;
    // The rate of an administrator is not the subject here.
    let user = User::administrator(&server);
    (server, user)
}

//! The steps and snippets of README, run as a reader would paste them.

use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::command_line::{LONG, Running, serve};

mod verify;

const README: &str = include_str!("../../README.md");
const PROTECT: &str = include_str!("../../docs/guides/protect-an-api.md");
/// The address that README names.
pub const ADDRESS: &str = "http://127.0.0.1:3000";
const AUDIENCE: &str = "https://documents.example.com";

/// Returns the only block of README in this language that starts with this text.
fn block(language: &str, start: &str) -> &'static str {
    block_of(README, language, start)
}

fn block_of(page: &'static str, language: &str, start: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1);
    let block = blocks.find(|block| block.starts_with(start)).expect("a block");
    block.split("```").next().expect("an end")
}

pub fn first_agent() -> &'static str {
    block("sh", "URL=")
}

fn own_api() -> &'static str {
    block("sh", "# Continues the steps above.")
}

/// Runs a script with the administrator's credential and these variables. Panics if a command of it fails.
pub async fn shell(running: &Running, script: &str, environment: &[(&str, String)]) -> String {
    let pair = running.curl.split('\'').nth(1).expect("the client and its secret");
    let (client, secret) = pair.split_once(':').expect("both");
    let mut shell = Command::new("bash");
    let script = script.replace(ADDRESS, &running.address);
    shell.args(["-eu", "-c", &script]).env("CLIENT", client).env("SECRET", secret);
    shell.envs(environment.iter().map(|(name, value)| (name, value)));
    output(shell).await
}

async fn output(mut command: Command) -> String {
    let output = tokio::time::timeout(LONG, command.output()).await.expect("in time").expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn the_steps_register_use_introspect_and_kill_an_agent_as_often_as_they_are_pasted() {
    let running = serve(&[], &[]).await;
    let text = shell(&running, &first_agent().repeat(2), &[]).await;
    let pasted: Vec<&str> = text.split("{\"agentId\"").skip(1).collect();
    assert_eq!(pasted.len(), 2, "{text}");
    for text in pasted {
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("summarizer-"), "its token is accepted: {text}");
        assert!(lines[1].contains(r#""active":true"#), "{text}");
        assert_eq!(lines[2], r#"{"active":false}"#, "it is revoked: {text}");
        assert!(lines[3].contains("UNAUTHORIZED"), "{text}");
        for action in ["agent.created", "credential.generated", "token.issued", "token.revoked"] {
            assert!(text.contains(action), "{action} is in the audit log: {text}");
        }
    }
}

#[tokio::test]
async fn a_chain_of_agents_ends_from_the_middle() {
    let running = serve(&[], &[]).await;
    let chain = block("sh", "# Continues the steps above with");
    let steps = format!("{}\n{chain}\necho $AGENT $RESEARCHER $READER", first_agent());
    let text = shell(&running, &steps, &[]).await;
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    let [ids, second, first, before] = lines[..] else { panic!("{text}") };
    let [agent, researcher, reader] = ids.split(' ').collect::<Vec<_>>()[..] else { panic!("{ids}") };
    let before: Value = serde_json::from_str(before).expect("JSON");
    assert_eq!((&before["active"], &before["sub"]), (&json!(true), &json!(agent)));
    assert_eq!((&before["act"]["sub"], &before["act"]["act"]["sub"]), (&json!(reader), &json!(researcher)));
    assert!(first.contains(r#""active":true"#), "the agent's own token stays active: {text}");
    assert_eq!(second, r#"{"active":false}"#);
}

#[tokio::test]
async fn a_wrong_credential_or_a_service_that_is_down_is_named() {
    let running = serve(&[], &[]).await;
    for (address, part) in
        [(&*running.address, "invalid_client"), ("http://127.0.0.1:9", "is the service running?")]
    {
        let mut shell = Command::new("bash");
        shell.args(["-c", &first_agent().replace(ADDRESS, address)]);
        let output = shell.env("CLIENT", "none").env("SECRET", "…").output().await.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("no access_token in the answer") && text.contains(part), "{text}");
        assert!(!text.contains("Traceback"), "{text}");
    }
}

#[tokio::test]
async fn the_data_of_a_newcomer_survives_kill_9() {
    let start = block("sh", "cargo run --release -- ");
    let arguments: Vec<&str> =
        start.trim_start_matches("cargo run --release -- ").split_whitespace().collect();
    let ["--data", name] = arguments[..] else { panic!("{start}") };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name).to_str().expect("text").to_owned();
    let arguments = ["--data", &path, "--issuer-url", ADDRESS];
    let running = serve(&arguments, &[]).await;
    let steps = format!("{}\necho; echo $AGENT $ADMIN", first_agent());
    let text = shell(&running, &steps, &[]).await;
    let (agent, admin) = text.lines().last().and_then(|line| line.split_once(' ')).expect("both");
    let (agent, admin) = (agent.to_owned(), admin.to_owned());
    assert_eq!(block("sh", "kill"), "kill -9 \"$(pgrep -n -f 'agentidp.*--data')\"\n");
    running.kill().await;
    let mut again = serve(&arguments, &[]).await;
    assert!(again.curl.is_empty(), "the administrator is not made again");
    again.curl = "'none:none'".to_owned();
    let url = format!("{}/api/v1", again.address);
    let environment = [("URL", url), ("AGENT", agent.clone()), ("ADMIN", admin)];
    let text = shell(&again, block("sh", "curl -s $URL/agents/$AGENT"), &environment).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains(&agent) && lines[0].contains("summarizer-"), "{text}");
    assert!(lines[1].contains("token.issued") && lines[1].contains(&agent), "{text}");
}

#[tokio::test]
async fn an_api_accepts_these_tokens_by_ten_lines_of_python_typescript_and_rust() {
    let running = serve(&["--issuer-url", ADDRESS], &[]).await;
    let steps = format!("{}\n{}\necho; echo $AGENT $TOKEN", first_agent(), own_api());
    let text = shell(&running, &steps, &[]).await;
    let (agent, token) = text.lines().last().and_then(|line| line.split_once(' ')).expect("both");
    let management = shell(&running, &format!("{}\necho; echo $ADMIN", first_agent()), &[]).await;
    let management = management.lines().last().expect("a token");
    let forged = format!("{}AAAA", &token[..token.len() - 4]);

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("node_modules")).expect("a folder");
    let jose = folder.path().join("node_modules/jose");
    std::os::unix::fs::symlink("/usr/share/nodejs/jose", jose).expect("linked");
    let keys_of_the_service = |code: &str| {
        let relative = "/.well-known/jwks.json";
        code.replace(&format!("${{issuer}}{relative}"), &format!("{}{relative}", running.address))
            .replace(&format!("{{ISSUER}}{relative}"), &format!("{}{relative}", running.address))
    };
    // This Node.js may not strip types yet.
    let script = keys_of_the_service(block_of(PROTECT, "ts", "import")).replace(": string", "");
    std::fs::write(folder.path().join("verify.mjs"), script).expect("written");
    std::fs::write(folder.path().join("verify.py"), keys_of_the_service(block("python", "import")))
        .expect("written");
    for (program, script) in [("/usr/bin/python3", "verify.py"), ("node", "verify.mjs")] {
        let verify = |token: &str| {
            let mut command = Command::new(program);
            command.arg(folder.path().join(script)).env("TOKEN", token);
            command
        };
        assert_eq!(output(verify(token)).await.trim(), agent, "{program}");
        for other in [forged.as_str(), management] {
            let refused = verify(other).output().await.expect("it runs");
            assert!(!refused.status.success() && refused.stdout.is_empty(), "{program} accepts {other}");
        }
    }

    assert_eq!(
        block_of(PROTECT, "rust", "use"),
        include_str!("readme/verify.rs"),
        "it is what is compiled here"
    );
    let keys = reqwest::get(format!("{}/.well-known/jwks.json", running.address)).await.expect("an answer");
    let keys: JwkSet = keys.json().await.expect("keys");
    let claims = verify::verify(token, &keys, ADDRESS, "documents:read").expect("a valid token");
    assert_eq!((claims.sub.as_str(), claims.scope.as_str()), (agent, "documents:read"));
    for (token, issuer, scope) in [
        (forged.as_str(), ADDRESS, "documents:read"),
        (management, ADDRESS, "documents:read"),
        (token, "https://other.example.com", "documents:read"),
        (token, ADDRESS, "documents:write"),
    ] {
        assert!(verify::verify(token, &keys, issuer, scope).is_err(), "{issuer} {scope}");
    }
    assert!(README.contains(AUDIENCE));
}

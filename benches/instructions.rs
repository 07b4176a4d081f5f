//! How many instructions a request takes, from its parsing to its answer, in memory and without sockets.
//!
//! `cargo bench --bench instructions` counts them by callgrind and holds them within 5 % of `benches/instructions.txt`;
//! `-- --accept` writes them there. The same program, compiler and processor count the same, however busy the machine is.
//! Tokens are signed by Ed25519: an RSA signature would take ninety-nine parts of a hundred.

#[path = "../tests/servers/plain_service.rs"]
mod plain_service;

use std::path::Path;
use std::process::{Command, ExitCode};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use poem::http::Method;
use poem::http::header::{AUTHORIZATION, CONTENT_TYPE};
use poem::{Request, RequestBuilder};

use self::plain_service::PlainService;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How far a count may be from the one that is kept.
const NEARNESS: f64 = 0.05;
/// What two runs have in common does not count: their difference is so many requests.
const RUNS: [u32; 2] = [200, 600];

/// What a request is made of.
type Make = fn(&World) -> RequestBuilder;

const PATHS: [(&str, Make, &str); 4] = [
    ("token", token, "grant_type=client_credentials"),
    ("introspection", introspection, ""),
    ("bearer read", bearer_read, ""),
    ("refusal of an unknown token", refusal, ""),
];

/// A service, and what is asked of it.
struct World {
    service: PlainService,
    basic: String,
    bearer: String,
    agent: String,
    subject: String,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run", name, times] => {
            run(name, times.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        [.., "--bench"] | ["--bench", ..] => hold(words.contains(&"--accept")),
        _ => {
            println!("nothing is counted but by `cargo bench`");
            ExitCode::SUCCESS
        }
    }
}

/// Counts all paths, and compares them with what is kept.
fn hold(accepts: bool) -> ExitCode {
    let counted: Vec<(&str, u64)> = PATHS.iter().map(|(name, ..)| (*name, count(name))).collect();
    if accepts {
        let lines: String = counted.iter().map(|(name, count)| format!("{name}: {count}\n")).collect();
        std::fs::write(FILE, lines).expect("it is written");
    }
    let kept = std::fs::read_to_string(FILE).expect("the counts that are kept");
    let mut is_held = true;
    for (name, count) in counted {
        let kept: f64 = kept
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
            .unwrap_or_else(|| panic!("{FILE} keeps no count of {name}"));
        let change = count as f64 / kept - 1.0;
        let is_near = change.abs() <= NEARNESS;
        is_held &= is_near;
        let verdict = if is_near { "" } else { "  <- more than 5 %" };
        println!("{name}: {count} instructions, kept {kept:.0}, {:+.1} %{verdict}", change * 100.0);
    }
    if is_held {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "A path takes another number of instructions than before. Where that is meant, or the compiler is another:\n\
         cargo bench --bench instructions -- --accept, and commit {}",
        Path::new(FILE).file_name().expect("a name").display()
    );
    ExitCode::FAILURE
}

/// The instructions of one request.
fn count(name: &str) -> u64 {
    let [few, many] = RUNS.map(|times| {
        let program = std::env::current_exe().expect("this program");
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args(["run", name, &times.to_string()])
            .output()
            .expect("valgrind is there: Debian's package valgrind");
        let told = String::from_utf8_lossy(&output.stderr);
        let count =
            told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
        count.filter(|_| output.status.success()).unwrap_or_else(|| panic!("callgrind failed:\n{told}"))
    });
    (many - few) / u64::from(RUNS[1] - RUNS[0])
}

/// Sends the request so many times, each of which must be answered well.
fn run(name: &str, times: u32) {
    let service = PlainService::start();
    let administrator = &service.administrator;
    let pair = format!("{}:{}", administrator.client_id, administrator.client_secret.expose());
    let world = World {
        basic: format!("Basic {}", STANDARD.encode(pair)),
        bearer: format!("Bearer {}", service.token()),
        agent: administrator.client_id.to_string(),
        subject: format!("token={}", service.token()),
        service,
    };
    let (_, make, body) = PATHS.iter().find(|(path, ..)| *path == name).expect("a path");
    let body = if name == "introspection" { world.subject.as_str() } else { body };
    for _ in 0..times {
        let response = world.service.answer(make(&world).body(body.to_owned()));
        let wanted = if name.starts_with("refusal") { 401 } else { 200 };
        assert_eq!(response.status().as_u16(), wanted, "{name}");
    }
}

fn token(world: &World) -> RequestBuilder {
    form("/api/v1/token").header(AUTHORIZATION, &world.basic)
}

fn introspection(world: &World) -> RequestBuilder {
    form("/api/v1/token/introspect").header(AUTHORIZATION, &world.bearer)
}

fn bearer_read(world: &World) -> RequestBuilder {
    let uri = format!("/api/v1/agents/{}", world.agent);
    Request::builder().uri(uri.parse().expect("a path")).header(AUTHORIZATION, &world.bearer)
}

fn refusal(_: &World) -> RequestBuilder {
    Request::builder().uri("/api/v1/agents".parse().expect("a path")).header(AUTHORIZATION, "Bearer a.b.c")
}

fn form(path: &'static str) -> RequestBuilder {
    Request::builder()
        .uri(path.parse().expect("a path"))
        .method(Method::POST)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
}

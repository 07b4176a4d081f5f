//! Instruction counts of requests, from the bytes of one to those of its answer, in memory and without sockets.
//!
//! `cargo bench --bench instructions` counts the instructions with callgrind, each path several times.
//! `-- --against PROGRAM` also counts those of another build of this program, and prints the difference.
//! `-- --log` also counts them with the log of the program, which has a line of each request, and prints the difference.
//! The thread that writes the lines is not counted.
//!
//! Counts of one machine do not hold for another, because libraries choose their code by the features of the
//! processor. Therefore no counts are stored, and two builds are compared on the same machine. The clock and the IDs
//! are the same in each run; hash seeds are not, so the median of several runs is printed. Tokens are signed with
//! Ed25519, because an RSA signature would take 99 % of the count.

use std::path::Path;
use std::process::{Command, ExitCode};

use agentidp::cli::LogFormat;
use agentidp::wiring::Telemetry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testing::PlainService;

/// The allocator of the program, because glibc's count depends on how memory is fragmented.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of times that each path is counted.
const RUNS: usize = 7;
/// Number of requests before the counted ones, to exclude one-time work.
const WARM_UP: u32 = 50;
/// Number of requests that are counted.
const COUNTED: u32 = 400;

/// The log as text.
const TEXT: &str = "text";
/// The log as JSON.
const JSON: &str = "json";

const PATHS: [&str; 4] = ["token", "introspection", "bearer read", "refusal of an unknown token"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let own = std::env::current_exe().expect("this program");
    match words[..] {
        ["run", name] => {
            run(name);
            ExitCode::SUCCESS
        }
        ["run", name, format] => {
            let format = if format == JSON { LogFormat::Json } else { LogFormat::Text };
            let _log = Telemetry::start(format, None).expect("a log");
            run(name);
            ExitCode::SUCCESS
        }
        ["--bench"] => print_counts(&own, &[]),
        ["--log", "--bench"] => {
            print_counts(&own, &[("with text", &own, Some(TEXT)), ("with JSON", &own, Some(JSON))])
        }
        ["--against", program, "--bench"] => {
            print_counts(&own, &[("in the other program", Path::new(program), None)])
        }
        _ => {
            println!("nothing is counted but by `cargo bench`; see the head of benches/instructions.rs");
            ExitCode::SUCCESS
        }
    }
}

/// A way to count a path: its name, the program, and the format of the log if there is one.
type Way<'a> = (&'a str, &'a Path, Option<&'a str>);

/// Counts all paths of this program without a log, alternating with the other ways, and prints them.
fn print_counts(own: &Path, others: &[Way<'_>]) -> ExitCode {
    let ways: Vec<Way<'_>> = [("", own, None)].into_iter().chain(others.iter().copied()).collect();
    for name in PATHS {
        let mut counts = vec![Vec::new(); ways.len()];
        for _ in 0..RUNS {
            for (counts, (_, program, log)) in counts.iter_mut().zip(&ways) {
                counts.push(count(program, name, *log));
            }
        }
        let spreads: Vec<Spread> = counts.into_iter().filter_map(Spread::of).collect();
        let Some((own, others)) = spreads.split_first() else { return ExitCode::FAILURE };
        print!("{name}: {} instructions, {:.2} % between the least and the most", own.median, own.percent);
        for ((way, ..), other) in ways[1..].iter().zip(others) {
            let change = other.median as f64 / own.median as f64 - 1.0;
            print!("; {way} {}, so {:+.1} %", other.median, change * 100.0);
        }
        println!();
    }
    ExitCode::SUCCESS
}

/// Summary of several counts of one path.
struct Spread {
    median: u64,
    /// Difference between the lowest and the highest count, in percent of the median.
    percent: f64,
}

impl Spread {
    fn of(mut counts: Vec<u64>) -> Option<Self> {
        counts.sort_unstable();
        let (least, most) = (*counts.first()?, *counts.last()?);
        let median = counts[counts.len() / 2];
        Some(Self { median, percent: (most - least) as f64 / median as f64 * 100.0 })
    }
}

/// Returns the number of instructions of one request.
///
/// Only instructions within [`send_counted_requests`] are counted. The program's start is not, because gathering
/// entropy takes a different number of instructions each time.
fn count(program: &Path, name: &str, log: Option<&str>) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*send_counted_requests*")
        .arg(program)
        .args(["run", name])
        .args(log)
        .output()
        .expect("valgrind is there: Debian's package valgrind");
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    let count = count.filter(|count| output.status.success() && *count > 0);
    count.unwrap_or_else(|| panic!("callgrind failed:\n{text}")) / u64::from(COUNTED)
}

/// Sends the requests of this path, each of which must have the expected status.
fn run(name: &str) {
    let service = PlainService::start();
    let administrator = &service.administrator;
    let agent = &administrator.client_id;
    let pair = STANDARD.encode(format!("{agent}:{}", administrator.client_secret.expose()));
    let token = service.token();
    let (request, authorization, body) = match name {
        "token" => (
            "POST /api/v1/token".to_owned(),
            format!("Basic {pair}"),
            "grant_type=client_credentials".to_owned(),
        ),
        "introspection" => (
            "POST /api/v1/token/introspect".to_owned(),
            format!("Bearer {token}"),
            format!("token={}", service.token()),
        ),
        "bearer read" => (format!("GET /api/v1/agents/{agent}"), format!("Bearer {token}"), String::new()),
        _ => ("GET /api/v1/agents".to_owned(), "Bearer a.b.c".to_owned(), String::new()),
    };
    let form = match body.len() {
        0 => String::new(),
        length => {
            format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n")
        }
    };
    let request = format!(
        "{request} HTTP/1.1\r\nHost: id.example.com\r\nUser-Agent: counted\r\nAccept: */*\r\n\
         Authorization: {authorization}\r\n{form}\r\n{body}"
    );
    let mut connection = service.connect();
    let mut send = || {
        let wanted = if name.starts_with("refusal") { 401 } else { 200 };
        assert_eq!(connection.status_of(request.as_bytes()), wanted, "{name}");
    };
    for _ in 0..WARM_UP {
        send();
    }
    send_counted_requests(&mut send);
}

/// Sends the requests that are counted. Callgrind finds this function by its name.
#[inline(never)]
fn send_counted_requests(send: &mut dyn FnMut()) {
    for _ in 0..COUNTED {
        send();
    }
}

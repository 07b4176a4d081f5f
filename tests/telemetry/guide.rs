//! The commands of `docs/operating.md`, pasted as a reader would.

use std::path::Path;
use std::process::Stdio;

use testing::{free_address, replaced};
use tokio::process::Command;

use crate::traces::{Collector, path_to, trace_of};

const GUIDE: &str = include_str!("../../docs/operating.md");
const FORWARD_AUTH: &str = include_str!("../../docs/forward-auth.md");
/// Number of agents, of which the guide registers ten thousand.
const AGENTS: &str = "300";

/// Returns the blocks of this terminal, one after the other.
fn blocks(terminal: u32) -> String {
    let start = format!("# Terminal {terminal}: ");
    let blocks = GUIDE.split("```sh\n").skip(1).filter(|block| block.starts_with(&start));
    let text: String = blocks
        .map(|block| block.split_inclusive('\n').take_while(|line| *line != "```\n").collect::<String>())
        .collect();
    assert!(!text.is_empty(), "{start}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_leads_from_a_fleet_in_a_file_to_a_revoked_token_at_a_proxy() {
    let collector = Collector::start();
    let [service, metrics, prometheus, gate, api] = [(); 5].map(|()| free_address());
    let terminal_1 = replaced(&blocks(1), "http://127.0.0.1:4318", &collector.url);
    let terminal_2 = replaced(&blocks(2), "127.0.0.1:9464", &metrics.to_string());
    let terminal_2 = replaced(&terminal_2, "127.0.0.1:9090", &prometheus.to_string());
    let terminal_3 = replaced(&blocks(3), "127.0.0.1:3000", &service.to_string());
    let terminal_3 = replaced(&terminal_3, "127.0.0.1:9090", &prometheus.to_string());
    let terminal_3 = replaced(&terminal_3, "127.0.0.1:8080", &gate.to_string());
    let terminal_3 = replaced(&terminal_3, "seq 10000", &format!("seq {AGENTS}"));
    let terminal_4 =
        replaced(&blocks(4), "9000 --bind 127.0.0.1", &format!("{} --bind {}", api.port(), api.ip()));
    let page = replaced(FORWARD_AUTH, "listen 8080", &format!("listen {gate}"));
    let page = replaced(&page, "http://127.0.0.1:9000", &format!("http://{api}"));
    let page = replaced(&page, "http://127.0.0.1:3000", &format!("http://{service}"));

    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    std::fs::create_dir(folder.path().join("docs")).expect("made");
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    std::os::unix::fs::symlink(deploy, folder.path().join("deploy")).expect("made");
    write("docs/forward-auth.md", &page);
    for (name, text) in [("1", terminal_1), ("2", terminal_2), ("4", terminal_4)] {
        write(name, &text);
    }
    // The figure is asked for again until Prometheus has seen all agents.
    let query = terminal_3.lines().find(|line| line.starts_with("watched '")).expect("a figure");
    let until = |step: &str| format!("until {step}; do :; done");
    let terminal_3 = replaced(&terminal_3, query, &until(&format!("{query} | grep '\"{AGENTS}\"'")));
    // A thread writes the log, soon after the response.
    const LOGGED: &str = "grep $TRACE tour/agentidp.log";
    let terminal_3 = replaced(&terminal_3, LOGGED, &until(LOGGED));
    write("3", &format!("{terminal_3}\necho TRACE $TRACE\n"));
    // Each terminal but the third is a process group of its own, which ends with this script.
    write(
        "all",
        "end() { for pid in $(jobs -p); do kill -- -$pid; done; wait; }\n\
         trap end EXIT; trap 'exit 1' TERM\n\
         open() { setsid bash -e $1 >$1.out 2>&1 & }\n\
         open 1\n\
         until grep -q client_secret 1.out; do kill -0 $!; done\n\
         open 2\n\
         open 4\n\
         until curl -so answer http://$GATE && curl -sfo answer http://$PROMETHEUS/-/ready; do kill -0 $!; done\n\
         export CLIENT=$(sed -n 's/^client_id: *//p' 1.out) SECRET=$(sed -n 's/^client_secret: *//p' 1.out)\n\
         bash -e 3 2>&1\n",
    );

    let program = Path::new(env!("CARGO_BIN_EXE_agentidp")).parent().expect("a folder");
    let mut command = Command::new("timeout");
    command.args(["300", "bash", "-e", "all"]).current_dir(folder.path()).env_clear().stdin(Stdio::null());
    command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/bin", program.display()));
    command.env("HOST", service.ip().to_string()).env("PORT", service.port().to_string());
    command.env("METRICS_ADDR", metrics.to_string()).env("GATE", gate.to_string());
    command.env("PROMETHEUS", prometheus.to_string());
    command.env("BCRYPT_COST", "4").env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let output = command.output().await.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let all = || [read("1.out"), read("2.out"), read("4.out"), text.clone()].join("\n");
    assert!(output.status.success(), "{}", all());

    let added =
        format!("{AGENTS} added, 0 changed, 0 gone\n{AGENTS} added, 0 changed, 0 gone\nnothing to change\n");
    assert!(text.contains(&added), "{text}");
    let trace = text.lines().find_map(|line| line.strip_prefix("TRACE ")).expect("a trace");
    let lines: Vec<_> = text.lines().filter(|line| line.contains(trace)).collect();
    let [logged, audited, _] = lines[..] else { panic!("the log, the audit log and the last line: {text}") };
    assert!(logged.contains("answered") && audited.contains("token.issued"), "{logged} {audited}");
    let spans = trace_of(&collector.until(trace, "POST /api/v1/token").await, trace);
    let commit = spans.iter().find(|span| span.name == "commit").unwrap_or_else(|| panic!("{spans:?}"));
    assert_eq!(path_to(&spans, commit).last(), Some(&"POST /api/v1/token"));
    let (_, asked) = text.rsplit_once("\n200\n").unwrap_or_else(|| panic!("{text}"));
    assert!(asked.contains("\n401\n"), "a token that is revoked passes: {text}");
}

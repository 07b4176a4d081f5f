//! Servers that end with the process that started them.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A server supervised by a shell that waits for the end of its standard input.
/// However this process ends, the shell then stops the server and removes its folder.
pub struct SupervisedServer {
    /// Working directory of the server, removed with it.
    pub folder: PathBuf,
    shell: Child,
    supervised: Option<ChildStdin>,
}

impl SupervisedServer {
    /// Starts a server by the script `start` in a new folder.
    /// The script `stop` stops the server.
    pub fn start(start: &str, stop: &str) -> Self {
        let script = format!(
            "trap '' INT HUP TERM\n\
             folder=$(mktemp -d /tmp/agentidp-test.XXXXXX) && chmod 755 \"$folder\" && cd \"$folder\" || exit 1\n\
             ( {start} ) >log 2>&1 && echo \"$folder\" && cat >/dev/null || cat log >&2\n\
             {{ {stop}; }} >>log 2>&1; rm -rf \"$folder\""
        );
        let mut command = shell(&script);
        let mut shell =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell can be started");
        let supervised = shell.stdin.take();
        let mut folder = String::new();
        let output = shell.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut folder).expect("the shell speaks");
        let folder = folder.trim_end();
        assert!(!folder.is_empty(), "no private server: are postgresql and redis-server installed?");
        Self { folder: folder.into(), shell, supervised }
    }
}

/// Returns a command that runs that script in a shell.
/// Debian's PostgreSQL programs are in its path, and `wait_until` is defined, which gives up after about a
/// minute. As root, the command runs as the user `postgres`, because PostgreSQL refuses to run as root.
pub fn shell(script: &str) -> Command {
    let script = format!(
        "PATH=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1):$PATH\n\
         wait_until() {{\n\
             tries=0; until \"$@\"; do\n\
                 tries=$((tries + 1)); [ $tries -le 1200 ] || {{ echo \"in vain: $*\"; return 1; }}; sleep 0.05\n\
             done\n\
         }}\n\
         is_gone() {{ ! kill -0 $1; }}\n\
         {script}"
    );
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| {
        use std::os::unix::fs::MetadataExt as _;
        process.uid() == 0
    });
    let words: &[&str] =
        if is_root { &["runuser", "-u", "postgres", "--", "sh", "-c"] } else { &["sh", "-c"] };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(script);
    command
}

impl Drop for SupervisedServer {
    fn drop(&mut self) {
        drop(self.supervised.take());
        // Only wait for the shell to exit, because the shell stops the server.
        let _ = self.shell.wait();
    }
}

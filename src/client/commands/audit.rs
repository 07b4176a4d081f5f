//! `agentidp audit tail` and `agentidp audit export`.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::Value;

use crate::connection::{Connection, Request};
use crate::failure::Failure;
use crate::output::{cell, format, note, print};
use crate::system::wait;
use crate::{identity, organization, output};

/// Interval between two questions for new events.
const EVERY: Duration = Duration::from_secs(1);
/// The most events that `tail` remembers as seen.
const REMEMBERED: usize = 10_000;
/// The most events of a page.
const PAGE: u32 = 200;
/// Number of events from which a part of an export is divided.
const PART: usize = 4_000;

/// Returns the command that follows the audit log.
pub fn tail_command() -> Command {
    let command =
        Command::new("tail").about("Follow the audit log; it continues after a restart of the service");
    output::with_flag(identity::with_flags(organization::with_flag(command)), false)
}

/// Returns the command that writes the audit log to a file.
pub fn export_command() -> Command {
    let command = Command::new("export")
        .about("Write the audit log to a file, oldest first; repeated, it adds newer events")
        .arg(
            Arg::new("file")
                .long("output")
                .value_name("FILE")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("File with one event a line (JSONL)"),
        );
    identity::with_flags(organization::with_flag(command))
}

async fn connected(matches: &ArgMatches) -> Result<(Connection, Request), Failure> {
    let (url, identity) = identity::of(matches)?;
    let connection = Connection::new(&url, identity)?.patient();
    connection.require(["audit:read"]);
    let organization = organization::of(&connection, matches).await?;
    let query = organization.map(|id| ("organizationId".to_owned(), id)).into_iter().collect();
    Ok((connection, Request { query, ..Request::get("/api/v1/audit") }))
}

fn id(event: &Value) -> &str {
    event["eventId"].as_str().unwrap_or_default()
}

/// Follows the audit log until the program is ended.
///
/// The service lists events newest first, and an event may appear after a newer one. Each round therefore reads back to
/// events that were seen long before, and prints those that are new.
pub async fn tail(matches: &ArgMatches) -> Result<(), Failure> {
    let (connection, request) = connected(matches).await?;
    let format = format(matches);
    let mut seen = Seen::default();
    let first = page(&connection, &request, None).await?;
    for event in events(&first) {
        seen.insert(id(event));
    }
    note("following the audit log; end with Ctrl-C");
    let mut is_away = false;
    loop {
        match unseen(&connection, &request, &seen).await {
            Ok(new) => {
                if is_away {
                    note("connected again");
                }
                is_away = false;
                for event in new.iter().rev() {
                    seen.insert(id(event));
                    print(&line(format, event))?;
                }
            }
            Err(failure) if failure.is_temporary => {
                if !is_away {
                    note(&format!("{}; trying again", failure.message));
                }
                is_away = true;
            }
            Err(failure) => return Err(failure),
        }
        wait(EVERY).await;
    }
}

/// Returns the events that were not seen, newest first.
async fn unseen(connection: &Connection, request: &Request, seen: &Seen) -> Result<Vec<Value>, Failure> {
    let mut new = Vec::new();
    let mut cursor = None;
    loop {
        let body = page(connection, request, cursor.as_deref()).await?;
        let all = events(&body);
        let known = all.iter().filter(|event| seen.has(id(event))).count();
        new.extend(all.iter().filter(|event| !seen.has(id(event))).cloned());
        cursor = body["nextCursor"].as_str().map(str::to_owned);
        // A page with something known is where the round before began, unless events were committed late.
        if known > 0 || cursor.is_none() || new.len() > REMEMBERED {
            return Ok(new);
        }
    }
}

async fn page(connection: &Connection, request: &Request, cursor: Option<&str>) -> Result<Value, Failure> {
    let mut request = request.clone();
    request.query.push(("limit".to_owned(), PAGE.to_string()));
    request.query.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor.to_owned())));
    connection.call(&request).await.map(|answer| answer.body)
}

fn events(body: &Value) -> &[Value] {
    body["data"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn line(format: &str, event: &Value) -> String {
    match format {
        "json" => format!("{event}\n"),
        "yaml" => format!("---\n{}", output::yaml(event)),
        "name" => format!("{}\n", id(event)),
        _ => {
            let part = |name: &str| cell(&event[name]);
            let resource = &event["resource"];
            format!(
                "{}  {:<24} {:<8} {} {} {}\n",
                part("timestamp"),
                part("action"),
                part("outcome"),
                part("agentId"),
                cell(&resource["type"]),
                cell(&resource["id"]),
            )
        }
    }
}

/// The events that were seen last.
#[derive(Default)]
struct Seen {
    order: VecDeque<String>,
    ids: HashSet<String>,
}

impl Seen {
    fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn insert(&mut self, id: &str) {
        if self.ids.insert(id.to_owned()) {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// Writes all events to a file, oldest first. Events that the file has are not written again.
///
/// The service lists events newest first. The time is therefore divided until a part has few events, and the parts are
/// written in their order, so that an interrupted export continues at the part that it had reached.
pub async fn export(matches: &ArgMatches) -> Result<(), Failure> {
    let Some(path) = matches.get_one::<PathBuf>("file") else {
        return Err(Failure::misused("--output is needed"));
    };
    let known = known(path)?;
    let (connection, request) = connected(matches).await?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {pos} events, {per_sec}").expect("a template"));
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let wrong =
        |error: std::io::Error| Failure::misused(format!("{} cannot be written: {error}", path.display()));
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(wrong)?;
    file.set_len(known.length).map_err(wrong)?;
    let newest = page(&connection, &request, None).await?;
    let end = events(&newest).first().and_then(instant).map_or(0, |at| at + 1);
    let begin = known
        .last
        .as_deref()
        .and_then(|at| at.parse::<Timestamp>().ok())
        .map_or(0, Timestamp::as_millisecond);
    let mut count = 0;
    let mut parts = vec![(begin, end)];
    while let Some((from, to)) = parts.pop().filter(|(from, to)| from < to) {
        let middle = from + (to - from) / 2;
        let most = if middle == from { usize::MAX } else { PART };
        let Some(found) = part(&connection, &request, from, to, most).await? else {
            parts.extend([(middle, to), (from, middle)]);
            continue;
        };
        let mut text = String::new();
        for event in found.iter().rev().filter(|event| !known.at_last.contains(id(event))) {
            text += &format!("{event}\n");
            count += 1;
            bar.inc(1);
        }
        file.write_all(text.as_bytes()).map_err(wrong)?;
    }
    file.sync_all().map_err(wrong)?;
    bar.finish_and_clear();
    note(&format!("{count} events were added to {}", path.display()));
    Ok(())
}

fn instant(event: &Value) -> Option<i64> {
    event["timestamp"].as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Returns the events from one millisecond to another, newest first; `None` if there are more than `most`.
async fn part(
    connection: &Connection,
    request: &Request,
    from: i64,
    to: i64,
    most: usize,
) -> Result<Option<Vec<Value>>, Failure> {
    let mut request = request.clone();
    for (name, millis) in [("fromDate", from), ("toDate", to)] {
        let at = Timestamp::from_millisecond(millis).map_err(|error| Failure::refused(error.to_string()))?;
        request.query.push((name.to_owned(), format!("{at:.3}")));
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let body = page(connection, &request, cursor.as_deref()).await?;
        found.extend_from_slice(events(&body));
        cursor = body["nextCursor"].as_str().map(str::to_owned);
        match cursor {
            None => return Ok(Some(found)),
            Some(_) if found.len() >= most => return Ok(None),
            Some(_) => {}
        }
    }
}

/// The end of an earlier export.
#[derive(Default)]
struct Known {
    /// Instant of the last event.
    last: Option<String>,
    /// IDs of the events of that instant.
    at_last: HashSet<String>,
    /// Length of the file without a last line that was not written completely.
    length: u64,
}

fn known(path: &Path) -> Result<Known, Failure> {
    let mut known = Known::default();
    let Ok(file) = File::open(path) else { return Ok(known) };
    let mut file = BufReader::new(file);
    let mut line = String::new();
    let wrong = |what: String| Failure::misused(format!("{}: {what}", path.display()));
    while file.read_line(&mut line).map_err(|error| wrong(error.to_string()))? > 0 {
        if line.ends_with('\n') {
            let event: Value = serde_json::from_str(&line)
                .map_err(|_| wrong("this file is no export of the audit log; choose another".to_owned()))?;
            let at = event["timestamp"].as_str().map(str::to_owned);
            if at != known.last {
                known.at_last.clear();
            }
            known.last = at;
            known.at_last.insert(id(&event).to_owned());
            known.length += line.len() as u64;
        }
        line.clear();
    }
    Ok(known)
}

//! `agentidp audit tail` and `agentidp audit export`.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, IsTerminal as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::Value;

use crate::connection::{Connection, Request};
use crate::failure::Failure;
use crate::output::{cell, format, note, plain_json, print_to_reader};
use crate::system::wait;
use crate::{identity, organization, output};

/// Interval between two questions for new events.
const EVERY: Duration = Duration::from_secs(1);
/// The most events that `tail` remembers as seen.
const REMEMBERED: usize = 100_000;
/// Time by which an event may become visible later than newer ones, in milliseconds. Tallies, which stand for many events of
/// a minute, are stored when that minute is over.
const LATE: i64 = 180_000;
/// The beginning of a line of an export.
const BEGIN: &str = "{\"eventId\":";
/// Number of rounds of `tail` of which one looks for late events.
const ROUNDS: u32 = 20;
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

/// Follows the audit log until the program is ended, or until nothing reads its output.
///
/// The service lists events newest first, and an event may appear after a newer one. Each round therefore reads back to
/// an event that was seen, some rounds further, and prints what is new.
pub async fn tail(matches: &ArgMatches) -> Result<(), Failure> {
    let (connection, request) = connected(matches).await?;
    let format = format(matches);
    let mut seen = Seen::default();
    for event in unseen(&connection, &request, &seen, true).await? {
        seen.insert(id(&event));
    }
    note("following the audit log; end with Ctrl-C");
    let mut is_away = false;
    for round in (0..ROUNDS).cycle() {
        match unseen(&connection, &request, &seen, round == 0 || is_away).await {
            Ok(new) => {
                if is_away {
                    note("connected again");
                }
                is_away = false;
                for event in new.iter().rev() {
                    seen.insert(id(event));
                    if !print_to_reader(&line(format, event))? {
                        return Ok(());
                    }
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
    Ok(())
}

/// Returns the events that were not seen, newest first. `is_thorough` says whether late events are looked for too.
async fn unseen(
    connection: &Connection,
    request: &Request,
    seen: &Seen,
    is_thorough: bool,
) -> Result<Vec<Value>, Failure> {
    let mut new = Vec::new();
    let mut cursor = None;
    let mut newest = None;
    loop {
        let body = page(connection, request, cursor.as_deref()).await?;
        let all = events(&body);
        newest = newest.or_else(|| all.first().and_then(instant));
        let is_old =
            |event: &Value| instant(event).zip(newest).is_some_and(|(at, newest)| at < newest - LATE);
        let is_known = all.iter().any(|event| seen.has(id(event)));
        let is_enough = is_known || (is_thorough && seen.order.is_empty());
        let reaches_back = !is_thorough || all.last().is_none_or(is_old);
        new.extend(all.iter().filter(|event| !seen.has(id(event))).cloned());
        cursor = body["nextCursor"].as_str().map(str::to_owned);
        if new.len() > REMEMBERED {
            note("more events happened than are followed at a time; agentidp audit export has all of them");
            return Ok(new);
        }
        if (is_enough && reaches_back) || cursor.is_none() {
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
        "json" => plain_json(&format!("{event}\n")),
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
/// written in their order, so that an interrupted export continues at the part that it had reached. The last minutes of an
/// earlier export are compared with the service, and written again from the first event that became visible later.
pub async fn export(matches: &ArgMatches) -> Result<(), Failure> {
    let Some(path) = matches.get_one::<PathBuf>("file") else {
        return Err(Failure::misused("--output is needed"));
    };
    let wrong =
        |error: std::io::Error| Failure::misused(format!("{} cannot be written: {error}", path.display()));
    if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(Failure::misused(format!("{} is not a file", path.display())));
    }
    let mut known = known(path)?;
    let (connection, request) = connected(matches).await?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {pos} events, {per_sec}").expect("a template"));
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let newest = page(&connection, &request, None).await?;
    let end = events(&newest).first().and_then(instant).map_or(0, |at| at + 1);
    let begin = known.begin();
    if let Some(last) = known.last {
        let again = everything(&connection, &request, begin, last + 1).await?;
        known.compare(&again).map_err(|what| Failure::misused(format!("{}: {what}", path.display())))?;
    }
    let mut file =
        OpenOptions::new().create(true).truncate(false).write(true).read(true).open(path).map_err(wrong)?;
    if file.try_lock().is_err() {
        return Err(Failure::misused(format!("another export writes to {}", path.display())));
    }
    file.set_len(known.length).map_err(wrong)?;
    file.seek(SeekFrom::End(0)).map_err(wrong)?;
    let written: HashSet<&str> = known.recent.iter().map(|(_, id, _)| id.as_str()).collect();
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
        for event in found.iter().rev().filter(|event| !written.contains(id(event))) {
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

/// Returns all events from one millisecond to another, oldest first.
async fn everything(
    connection: &Connection,
    request: &Request,
    from: i64,
    to: i64,
) -> Result<Vec<Value>, Failure> {
    let mut all = part(connection, request, from, to, usize::MAX).await?.unwrap_or_default();
    all.reverse();
    Ok(all)
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
    /// Instant of the last event, in milliseconds.
    last: Option<i64>,
    /// The events of the last minutes: instant, ID, and the place where the line begins.
    recent: VecDeque<(i64, String, u64)>,
    /// Length of the file without a last line that was not written completely.
    length: u64,
}

impl Known {
    /// Returns the instant from which the service is asked for events.
    fn begin(&self) -> i64 {
        self.last.map_or(0, |last| last - LATE)
    }

    fn add(&mut self, event: &Value, length: u64) -> Option<()> {
        let at = instant(event)?;
        self.recent.push_back((at, event["eventId"].as_str()?.to_owned(), self.length));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        while self.recent.front().is_some_and(|(at, ..)| *at < self.begin()) {
            self.recent.pop_front();
        }
        self.length += length;
        Some(())
    }

    /// Forgets all from the first event that differs from the service's, oldest first.
    ///
    /// Returns what is wrong if the service does not have an event of the file.
    fn compare(&mut self, service: &[Value]) -> Result<(), &'static str> {
        let ids: HashSet<&str> = service.iter().map(id).collect();
        if self.recent.iter().any(|(_, known, _)| !ids.contains(known.as_str())) {
            return Err(
                "the service does not have the last events of this file: it is the export of another service or \
                        organization, or older than what the service still shows; choose another file",
            );
        }
        let same = self.recent.iter().zip(service).take_while(|((_, known, _), event)| known == id(event));
        let same = same.count();
        if let Some((_, _, place)) = self.recent.get(same) {
            self.length = *place;
            self.recent.truncate(same);
        }
        Ok(())
    }
}

/// Reads the end of an earlier export. Returns [`Failure`] if the file is something else.
fn known(path: &Path) -> Result<Known, Failure> {
    let mut known = Known::default();
    let Ok(file) = File::open(path) else { return Ok(known) };
    let mut file = BufReader::new(file);
    let mut line = String::new();
    let wrong = |what: String| Failure::misused(format!("{}: {what}", path.display()));
    let foreign = || wrong("this file is no export of the audit log; choose another".to_owned());
    while file.read_line(&mut line).map_err(|error| wrong(error.to_string()))? > 0 {
        if line.ends_with('\n') {
            let event: Value = serde_json::from_str(&line).map_err(|_| foreign())?;
            known.add(&event, line.len() as u64).ok_or_else(foreign)?;
        } else if !line.starts_with(BEGIN) && !BEGIN.starts_with(&line) {
            // An export that was interrupted leaves the beginning of an event.
            return Err(foreign());
        }
        line.clear();
    }
    Ok(known)
}

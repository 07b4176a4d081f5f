//! Faults while the fleet works, and what must hold whatever they are.

use std::sync::Arc;
use std::time::Duration;

use agentidp::wiring::copy;
use testing::OWNER;

use crate::checker;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::history::{Answer, History, KILLED, Line, Operation};
use crate::nemesis::Fault;
use crate::pace::{Rng, wait};
use crate::report::{Report, Setting, share};

/// How long the fleet works undisturbed before each fault.
const CALM: Duration = Duration::from_secs(2);
/// Maximum duration of an answer.
/// A request has a deadline of 5 s, after which its outcome must still be reported.
const LONGEST: Duration = Duration::from_millis(6_500);

/// Runs all faults of Redis, one after the other.
pub async fn redis(setting: &Setting) -> Report {
    storm(setting, 3, &Fault::OF_REDIS).await
}

/// Runs all faults of PostgreSQL, one after the other.
pub async fn postgres(setting: &Setting) -> Report {
    storm(setting, 3, &Fault::OF_POSTGRES).await
}

/// Kills instances under load.
pub async fn instances(setting: &Setting) -> Report {
    let kills = (setting.time.as_secs() / 2).clamp(3, 100);
    storm(setting, 2, &vec![Fault::InstanceKilled; usize::try_from(kills).expect("few")]).await
}

/// Kills the one instance that serves a file, and lets it write nothing for a while, or never end a write, under load.
///
/// The file is then copied to PostgreSQL, where it is checked.
pub async fn file(setting: &Setting) -> Report {
    let blows = (setting.time.as_secs() / 6).clamp(2, 100);
    let faults = [Fault::InstanceKilled, Fault::FileFull, Fault::FileHeld];
    let faults = faults.repeat(usize::try_from(blows).expect("few"));
    let cluster = Arc::new(Cluster::start_on_file(&setting.folder).await);
    let mut report = storm_on(&cluster, setting, &faults).await;
    cluster.instances[0].end().await;
    let file = cluster.file.as_ref().expect("it has one");
    let copied = copy(&format!("sqlite:{}", file.display()), &cluster.stores.url(OWNER).into()).await;
    report.figure("rows copied", copied.expect("copied"));
    settle(&cluster, &cluster.history, &mut report).await;
    report
}

async fn storm(setting: &Setting, instances: usize, faults: &[Fault]) -> Report {
    let cluster = Arc::new(Cluster::start(instances, &[], &setting.folder).await);
    cluster.stores.redis("SAVE");
    let mut report = storm_on(&cluster, setting, faults).await;
    settle(&cluster, &cluster.history, &mut report).await;
    report
}

async fn storm_on(cluster: &Arc<Cluster>, setting: &Setting, faults: &[Fault]) -> Report {
    let mut rng = Rng::new(setting.seed);
    let fleet = Fleet::gather(cluster).await;
    let mut report = Report::default();
    let workers = fleet.work(&mut rng);
    let each = setting.time / u32::try_from(faults.len()).expect("few");
    let mut returns = Vec::new();
    let mut spans = Vec::new();
    for fault in faults {
        wait(CALM.min(each / 2)).await;
        let begun = cluster.history.now();
        fault.strike(cluster, each.saturating_sub(CALM).max(each / 2), &mut rng).await;
        spans.push((*fault, begun, cluster.history.now()));
        let mut longest = Duration::ZERO;
        for number in 0..cluster.instances.len() {
            longest = longest.max(cluster.until_whole(number).await);
        }
        returns.push(longest);
    }
    wait(CALM / 2).await;
    fleet.end(workers).await;
    report_on(&mut report, &cluster.history, &spans);
    let back = share_of(&mut returns);
    report.figure("whole again after (p50/max)", back);
    report
}

/// Reports what the history shows.
fn report_on(report: &mut Report, history: &History, spans: &[(Fault, Duration, Duration)]) {
    let lines = history.lines();
    let count = |wanted: fn(&Line) -> bool| lines.iter().filter(|line| wanted(line)).count();
    report.figure("answers", lines.len());
    report
        .figure("kills", count(|line| matches!(line.operation, Operation::Kill(_) | Operation::Suspend(_))));
    report.figure("tokens", count(|line| matches!(line.answer, Answer::Issued(_))));
    report.figure(
        "active",
        count(|line| matches!((&line.operation, &line.answer), (Operation::Ask { .. }, Answer::Yes))),
    );
    report.figure(
        "inactive",
        count(|line| matches!((&line.operation, &line.answer), (Operation::Ask { .. }, Answer::No))),
    );
    report.figure("503", count(|line| line.status == 503));
    report.figure("no answer", count(|line| line.status == 0));
    report.violations.extend(checker::violations(&lines));
    let is_kill = |line: &&Line| matches!(line.operation, Operation::Other(KILLED));
    let kills: Vec<_> = lines.iter().filter(is_kill).collect();
    let time = |line: &Line| time_of(line, &kills);
    for line in &lines {
        if line.status >= 500 && line.status != 503 {
            report.violations.push(format!("{}: {line:?}", line.status));
        }
        if time(line) > LONGEST {
            report.violations.push(format!("took {:?}: {line:?}", time(line)));
        }
    }
    report.figure(
        "longest",
        format!("{:.2} s", lines.iter().map(time).max().unwrap_or_default().as_secs_f64()),
    );
    let is_revocation = |line: &&Line| {
        matches!((&line.operation, &line.answer), (Operation::Kill(_) | Operation::Suspend(_), Answer::Yes))
    };
    let mut kills: Vec<_> = lines.iter().filter(is_revocation).map(time).collect();
    let [middle, most] = [0.5, 0.99].map(|part| share(&mut kills, part).as_secs_f64() * 1e3);
    report.figure("kills acknowledged after (p50/p99)", format!("{middle:.1} / {most:.1} ms"));
    let is_in = |line: &Line| spans.iter().any(|(_, from, to)| line.start >= *from && line.start <= *to);
    for (name, within) in [("p99 in calm", false), ("p99 in faults", true)] {
        let mut times: Vec<_> = lines.iter().filter(|line| is_in(line) == within).map(time).collect();
        report.figure(name, format!("{:.1} ms", share(&mut times, 0.99).as_secs_f64() * 1e3));
    }
}

/// Returns how long a request took. One without an answer that was under way while its own instance was killed took until
/// then: there was nothing that could answer it, and the client may find that out late.
fn time_of(line: &Line, kills: &[&Line]) -> Duration {
    let is_of = |kill: &&&Line| {
        kill.instance == line.instance && line.start <= kill.end && line.end >= kill.start && line.status == 0
    };
    kills.iter().find(is_of).map_or(line.end, |kill| kill.start).saturating_sub(line.start)
}

/// Checks the database once all stores and instances are available again.
async fn settle(cluster: &Cluster, history: &History, report: &mut Report) {
    let issued: Vec<String> = history
        .lines()
        .iter()
        .filter_map(|line| match &line.answer {
            Answer::Issued(token) => Some(token.id.clone()),
            _ => None,
        })
        .collect();
    let superuser = cluster.stores.superuser().await;
    let missing = superuser
        .query(
            "SELECT id FROM unnest($1::text[]) AS recorded (id) WHERE NOT EXISTS (
                SELECT FROM audit_events WHERE action IN ('token.issued', 'token.exchanged') AND resource_id = recorded.id::uuid)",
            &[&issued],
        )
        .await
        .expect("an answer");
    for row in &missing {
        report.violations.push(format!("{} was handed out without its event", row.get::<_, String>(0)));
    }
    for sql in WHOLE {
        for row in superuser.query(sql, &[]).await.expect("an answer") {
            report.violations.push(row.get(0));
        }
    }
    let spare = "SELECT count(*) FROM audit_events JOIN agents USING (agent_id)
        WHERE action IN ('token.issued', 'token.exchanged') AND NOT capabilities @> ARRAY['admin:orgs']";
    let events: i64 = superuser.query_one(spare, &[]).await.expect("an answer").get(0);
    report.figure("tokens without event", missing.len());
    report.figure("events without token", events - i64::try_from(issued.len()).expect("few"));
    report.figure("violations", report.violations.len());
}

/// Queries that return a sentence for each row whose changes and events differ in number.
const WHOLE: [&str; 4] = [
    "SELECT format('agent %s was changed %s times, and has %s events', agents.agent_id, revision, events)
     FROM agents, LATERAL (SELECT count(*) AS events FROM audit_events
        WHERE resource_id = agents.agent_id AND action <> 'agent.created' AND outcome = 'success'
            AND action <> 'token.introspected') AS recorded
     WHERE revision <> events",
    "SELECT format('organization %s was changed %s times, and has %s events', organizations.organization_id, revision, events)
     FROM organizations, LATERAL (SELECT count(*) AS events FROM audit_events
        WHERE resource_id = organizations.organization_id AND action <> 'organization.created') AS recorded
     WHERE revision <> events",
    "SELECT format('credential %s was changed %s times, and has %s events', credential_id, revision, events)
     FROM credentials, LATERAL (SELECT count(*) AS events FROM audit_events
        WHERE resource_id = credential_id AND action <> 'credential.generated') AS recorded
     WHERE revision <> events",
    "SELECT format('agent %s was counted %s tokens, and has %s events', m.agent_id, tokens, events)
     FROM monthly_tokens m, LATERAL (SELECT count(*) AS events FROM audit_events e
        WHERE action IN ('token.issued', 'token.exchanged') AND e.agent_id = m.agent_id) AS recorded
     WHERE tokens <> events",
];

fn share_of(times: &mut [Duration]) -> String {
    let middle = share(times, 0.5).as_secs_f64();
    format!("{middle:.2} / {:.2} s", share(times, 1.0).as_secs_f64())
}

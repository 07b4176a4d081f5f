//! The console of a service with many agents and events.
//!
//! `AGENTS` and `EVENTS` set how many there are; `scripts/long-tests console` measures 100,000 and 1,000,000.

use serde_json::json;
use testing::fill_file;

use super::{AT_MOST, Console};
use crate::fixtures::{Browser, Service};

/// Number of events of a page.
const PAGE: usize = 50;

/// Returns a number that the environment sets.
fn setting(name: &str, default: usize) -> usize {
    let number = std::env::var_os(name).and_then(|number| number.into_string().ok());
    number.map_or(default, |number| number.parse().expect("a number"))
}

/// Returns a number with commas, as the console shows it.
fn shown(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[tokio::test]
async fn many_agents_and_events_are_found_and_paged() {
    let (agents, events) = (setting("AGENTS", 3_000), setting("EVENTS", 30_000));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agentidp.db");
    let environment = [("DATABASE_URL", &*format!("sqlite:{}", path.display()))];
    let first = Service::start_with(&environment).await;
    let administrator = first.administrator.clone();
    first.end().await;
    fill_file(&path, agents, events).expect("filled");
    let service = Service::restart_with(&environment, administrator).await;

    let flow = async {
        let browser = Browser::start().await;
        browser.open(&format!("{}/console", service.url)).await;
        let api = service.api();
        let admin = api.unlimited_admin_token().await;
        let console = Console { service, browser, api, admin };
        console.sign_in(&console.service.administrator).await;
        console.heading("Overview").await;

        let total = shown(agents + 1);
        let last = (agents + 1).div_ceil(25);
        let some = agents / 2;
        let email = format!("agent-{some}@example.com");
        let id = uuid::Uuid::from_u128(some as u128);
        let shows = |text: &str| format!("text.includes({})", json!(text));
        for (place, is_there) in [
            ("#/agents".to_owned(), shows(&format!("1–25 of {total} agents"))),
            (format!("#/agents?page={last}"), shows(&format!("–{total} of {total} agents"))),
            (format!("#/agents?search={email}"), shows("1–1 of 1 agents")),
            ("#/agents?status=suspended".to_owned(), shows(&format!("of {} agents", shown(agents / 5)))),
            (format!("#/agents/{id}"), shows(&email)),
            ("#/audit".to_owned(), format!("rows.length === {PAGE}")),
            (
                "#/audit?action=agent.updated".to_owned(),
                format!(
                    "rows.length === {PAGE} && rows.every((row) => row.textContent.includes('agent.updated'))"
                ),
            ),
            (
                format!("#/audit?agentId={id}"),
                "rows.length > 0 && rows.every((row) => row.textContent.includes('token.issued'))".to_owned(),
            ),
            ("#/organizations".to_owned(), shows("1–25 of 101 organizations")),
            ("#/".to_owned(), shows(&shown(agents / 5 * 3 + 1))),
        ] {
            let answer = console.browser.run_async(&visit(&place, &is_there)).await;
            let figure = |name: &str| answer[name].as_f64().expect("a number");
            println!(
                "{place} of {agents} agents and {events} events: {:.0} ms, the longest frame {:.0} ms",
                figure("took"),
                figure("frame"),
            );
        }
        // The events name agents that do not exist.
        console.close(&["404"]).await;
    };
    tokio::time::timeout(AT_MOST, flow).await.expect("the flow took too long");
}

/// Returns a script that goes to a place and waits until the page has changed and a condition holds. It returns how long
/// that took, and the longest time between two frames, in milliseconds.
fn visit(place: &str, is_there: &str) -> String {
    format!(
        "const done = arguments[arguments.length - 1];
         const content = () => document.querySelector('main').textContent.replace(/\\s+/g, ' ');
         const before = content();
         const start = performance.now();
         let last = start, frame = 0;
         location.hash = {};
         const look = (now) => {{
           frame = Math.max(frame, now - last);
           last = now;
           const [text, rows] = [content(), [...document.querySelectorAll('tr[data-event]')]];
           if (text !== before && {is_there}) done({{ took: performance.now() - start, frame }});
           else requestAnimationFrame(look);
         }};
         requestAnimationFrame(look);",
        json!(place),
    )
}

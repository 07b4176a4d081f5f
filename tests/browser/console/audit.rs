//! The audit log: filtered, and followed live.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::{Console, bounded, text};

/// Counts the requests for events that were sent after a time of the page and are answered.
const QUESTIONS_SINCE: &str = "return performance.getEntriesByType('resource').filter((one) =>
    one.name.includes('/api/v1/audit?') && one.startTime > arguments[0]).length";
const ROWS: &str = "return document.querySelectorAll('tr[data-event]').length";

#[tokio::test]
async fn the_log_is_filtered_page_by_page_and_an_event_shows_its_details() {
    bounded(async {
        let console = Console::signed_in().await;
        let mut agent = String::new();
        for _ in 0..60 {
            agent = console.api.agent(&console.admin, None, &["files:read"]).await;
        }
        console.show("#/audit", "Audit log").await;
        console.choose("Action", "agent.created").await;
        console.press("Apply").await;
        console.browser.until(&format!("{ROWS} === 50"), &[]).await;
        console.press("Older").await;
        // The administrator's own event is one of them.
        console.browser.until(&format!("{ROWS} === 11"), &[]).await;
        console.press("Newer").await;
        console.browser.until(&format!("{ROWS} === 50"), &[]).await;

        console.choose("Outcome", "failure").await;
        console.press("Apply").await;
        console.sees("No event matches").await;
        console.press("Clear").await;
        console.choose("Resource", "agent").await;
        console.fill("Resource ID", &agent).await;
        console.press("Apply").await;
        console.browser.until(&format!("{ROWS} === 1"), &[]).await;
        console.open_dialog("agent.created").await;
        console.sees("Outcome success").await;
        console.browser.find("//dialog//pre[contains(., '{')]").await;
        console.browser.keys(super::ESCAPE).await;
        console.browser.gone("//dialog").await;
        let focused = "return document.activeElement.textContent";
        assert_eq!(console.browser.run(focused, vec![]).await, "agent.created", "the focus returns");
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn new_events_appear_while_the_log_is_followed_and_old_ones_leave() {
    const EVENTS: usize = 700;
    bounded(async {
        let console = Console::signed_in().await;
        let agent = console.api.agent(&console.admin, None, &["files:read"]).await;
        console.show("#/audit", "Audit log").await;
        console.press("Follow live").await;
        console.browser.find("//section[@aria-label = 'Live events']//tr[@data-event]").await;

        let path = format!("/api/v1/agents/{agent}");
        let mut hundred_a_second = tokio::time::interval(Duration::from_millis(10));
        hundred_a_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..EVENTS {
            hundred_a_second.tick().await;
            let change = json!({ "owner": format!("team-{number}") });
            assert_eq!(console.api.patch(&console.admin, &path, change).await.status, 200);
        }

        // The last 500 are shown, newest first, and no others.
        let mut newest = Vec::new();
        let mut cursor = String::new();
        while newest.len() < 500 {
            let page = console.get(&format!("/api/v1/audit?limit=200&action=agent.updated&{cursor}")).await;
            newest.extend(page["data"].as_array().expect("a list").iter().map(|event| text(event, "eventId")));
            cursor = format!("&cursor={}", text(&page, "nextCursor"));
        }
        newest.truncate(500);
        let shown = "return JSON.stringify([...document.querySelectorAll('tr[data-event]')].map((row) => row.dataset.event)) === arguments[0]";
        console.browser.until(shown, &[Value::from(newest).to_string().into()]).await;
        let live = console.browser.run("return {...document.querySelector('.live').dataset}", vec![]).await;
        assert_eq!((&live["limit"], &live["skipped"]), (&json!("500"), &json!("0")));
        let figure = |name| text(&live, name);
        println!(
            "{EVENTS} events took {} frames; {} were dropped; the longest took {} ms",
            figure("frames"), figure("dropped"), figure("worstFrameMs"),
        );

        console.press("Stop following").await;
        console.browser.gone("//section[@aria-label = 'Live events']").await;
        console.browser.until(&format!("{ROWS} === 50"), &[]).await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn events_before_those_that_are_shown_do_not_appear_while_the_log_is_followed() {
    bounded(async {
        let console = Console::signed_in().await;
        for _ in 0..70 {
            console.api.agent(&console.admin, None, &["files:read"]).await;
        }
        console.show("#/audit?action=agent.created", "Audit log").await;
        console.press("Follow live").await;
        console.browser.until(&format!("{ROWS} === 50"), &[]).await;
        let now = console.browser.run("return performance.now()", vec![]).await;
        console.browser.until(&format!("{QUESTIONS_SINCE} > 2"), &[now]).await;
        let last = console.api.agent(&console.admin, None, &["files:read"]).await;
        let newest = format!("//tr[@data-event][1][.//a[contains(@href, '{last}')]]");
        console.browser.find(&newest).await;
        assert_eq!(console.browser.run(ROWS, vec![]).await, 51);
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_link_with_a_wrong_time_shows_what_is_wrong() {
    bounded(async {
        let console = Console::signed_in().await;
        console.show("#/audit?fromDate=today", "Audit log").await;
        console.sees("fromDate").await;
        console.browser.find("//*[@role = 'alert']").await;
        console.press("Clear").await;
        console.browser.find("//tr[@data-event]").await;
        console.close(&["400"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_browser_that_draws_two_frames_a_second_does_not_fall_behind_the_log() {
    const EVENTS: u64 = 400;
    const HOLD_FRAMES: &str = "
        const held = [];
        let now = performance.now();
        performance.now = () => now;
        window.requestAnimationFrame = (frame) => held.push(frame);
        window.cancelAnimationFrame = () => {};
        window.drawTwoFramesASecond = () =>
          setInterval(() => { now += 500; for (const frame of held.splice(0)) frame(now); });";
    bounded(async {
        let console = Console::signed_in().await;
        let agent = console.api.agent(&console.admin, None, &["files:read"]).await;
        console.show("#/audit", "Audit log").await;
        console.press("Follow live").await;
        console.browser.find("//section[@aria-label = 'Live events']//tr[@data-event]").await;
        let before =
            console.get("/api/v1/audit?limit=50").await["data"].as_array().map_or(0, Vec::len) as u64;
        console.browser.until(&format!("{ROWS} === arguments[0]"), &[json!(before)]).await;

        console.browser.run(HOLD_FRAMES, vec![]).await;
        let path = format!("/api/v1/agents/{agent}");
        for number in 0..EVENTS {
            let change = json!({ "owner": format!("team-{number}") });
            assert_eq!(console.api.patch(&console.admin, &path, change).await.status, 200);
        }
        let now = console.browser.run("return Date.now() - performance.timeOrigin", vec![]).await;
        console.browser.until(&format!("{QUESTIONS_SINCE} > 1"), &[now]).await;

        let frames = "return Number(document.querySelector('.live').dataset.frames)";
        let first = console.browser.run(frames, vec![]).await.as_f64().expect("a number");
        console.browser.run("window.drawTwoFramesASecond()", vec![]).await;
        console.browser.until(&format!("{ROWS} === arguments[0]"), &[json!(before + EVENTS)]).await;
        let last = console.browser.run(frames, vec![]).await.as_f64().expect("a number");
        assert!(last - first <= 50.0, "{EVENTS} events took {} frames", last - first);
        console.close(&[]).await;
    })
    .await;
}

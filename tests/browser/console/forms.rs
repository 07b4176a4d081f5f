//! Forms: half-filled, slow to be answered, and left.

use serde_json::json;

use super::{Console, ESCAPE, bounded, field, text};

/// Holds each request that changes something until `send()` is called.
const HOLD: &str = "
    const [real, held] = [window.fetch, []];
    window.send = () => held.splice(0).forEach((one) => one());
    window.fetch = async (url, init) => {
      if (init.method !== 'GET') await new Promise((resolve) => held.push(resolve));
      return real(url, init);
    };";
const SEND: &str = "window.send()";

/// Creates a credential for an agent, with a request that is held.
async fn create_a_held_secret(console: &Console) {
    let agent = console.api.agent(&console.admin, None, &["files:read"]).await;
    console.show_agent(&agent).await;
    console.browser.run(HOLD, vec![]).await;
    console.open_dialog("Create a credential").await;
    console.press("Create").await;
    console.browser.find("//dialog//button[@aria-busy = 'true']").await;
}

#[tokio::test]
async fn a_date_without_its_time_is_refused() {
    bounded(async {
        let console = Console::signed_in().await;
        let agent = console.api.agent(&console.admin, None, &["files:read"]).await;
        let path = format!("/api/v1/agents/{agent}/credentials");
        console.show_agent(&agent).await;
        console.open_dialog("Create a credential").await;
        console.browser.press(&field("Expires")).await;
        console.browser.keys("12312030").await;
        console.press("Create").await;
        console.browser.find("//p[@id = 'expiresAt-error']").await;
        assert_eq!(console.get(&path).await["data"], json!([]));
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_dialog_stays_until_its_request_is_answered() {
    bounded(async {
        let console = Console::signed_in().await;
        create_a_held_secret(&console).await;
        console.browser.find("//dialog//button[. = 'Cancel'][@disabled]").await;
        console.browser.press("//dialog//button[@aria-label = 'Close']").await;
        for _ in 0..3 {
            console.browser.keys(ESCAPE).await;
        }
        console.browser.until("return document.querySelector('dialog[open]') !== null", &[]).await;
        console.browser.run(SEND, vec![]).await;
        console.sees("It is shown only this once").await;
        console.browser.keys(ESCAPE).await;
        console.browser.gone("//dialog").await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_dialog_can_be_closed_once_a_request_has_waited_too_long() {
    const NEVER_ANSWER: &str = "
        AbortSignal.timeout = () => {
          const stop = new AbortController();
          window.giveUp = () => stop.abort();
          return stop.signal;
        };
        window.fetch = (url, { signal }) => new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason)));";
    bounded(async {
        let console = Console::signed_in().await;
        console.show("#/organizations", "Organizations").await;
        console.browser.find("//table").await;
        console.browser.run(NEVER_ANSWER, vec![]).await;
        console.open_dialog("Create an organization").await;
        console.press("Create").await;
        console.browser.find("//dialog//button[@aria-busy = 'true']").await;
        console.browser.run("window.giveUp()", vec![]).await;
        console.sees("The service cannot be reached.").await;
        console.press("Cancel").await;
        console.browser.gone("//dialog").await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_does_not_move_a_person_who_has_left() {
    bounded(async {
        let console = Console::signed_in().await;
        console.show("#/organizations", "Organizations").await;
        console.browser.run(HOLD, vec![]).await;
        console.open_dialog("Create an organization").await;
        console.fill("Name", "Acme Robotics").await;
        console.fill_in_dialog("Slug", "acme").await;
        console.press("Create").await;
        console.browser.find("//dialog//button[@aria-busy = 'true']").await;
        console.show("#/agents/new", "Register an agent").await;
        console.fill("Owner", "platform-team").await;
        console.browser.run(SEND, vec![]).await;
        console.sees("The organization is created.").await;
        let owner = "return document.getElementById('field-owner')?.value";
        assert_eq!(console.browser.run(owner, vec![]).await, "platform-team");
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_person_who_left_before_a_secret_was_shown_learns_that_it_was_made() {
    bounded(async {
        let console = Console::signed_in().await;
        create_a_held_secret(&console).await;
        console.show("#/usage", "Usage").await;
        console.browser.run(SEND, vec![]).await;
        console.sees("You left before the new secret was shown.").await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_page_that_has_become_empty_can_be_left_and_the_focus_stays_near_it() {
    bounded(async {
        let console = Console::signed_in().await;
        let soon = "return new Date(Date.now() + 864e6).toISOString()";
        let soon = console.browser.run(soon, vec![]).await;
        let mut last = String::new();
        for _ in 0..11 {
            let agent = console.api.agent(&console.admin, None, &["files:read"]).await;
            let path = format!("/api/v1/agents/{agent}/credentials");
            let made = console.api.post(&console.admin, &path, json!({ "expiresAt": soon })).await.json();
            last = format!("{path}/{}", text(&made, "credentialId"));
        }
        console.show("#/usage", "Usage").await;
        console.show("#/", "Overview").await;
        console.sees("1–10 of 11").await;
        console.browser.press("//button[. = 'Later']").await;
        console.sees("11–11 of 11").await;
        let section = "Credentials that expire within 30 days";
        let is_near = "return document.activeElement.closest('section')?.ariaLabel === arguments[0]";
        console.browser.until(is_near, &[section.into()]).await;
        console.browser.press("//button[. = 'Sooner']").await;
        console.sees("1–10 of 11").await;

        assert_eq!(console.api.delete(&console.admin, &last).await.status, 204);
        console.browser.press("//button[. = 'Later']").await;
        console.sees("No credential expires soon after those of the page before.").await;
        console.browser.press("//button[. = 'Sooner']").await;
        console.browser.find(&format!("//section[@aria-label = '{section}']//tbody/tr[10]")).await;
        console.close(&[]).await;
    })
    .await;
}

//! The pages of the service in a real browser.
//!
//! `console` clicks through the console. Here are a newcomer's first minutes with Swagger UI.
//! The program is started, and its page is opened in a real browser without internet access and clicked
//! through. If `UPDATE_SCREENSHOT` is set, the final state of the page is saved as a picture.

#[cfg(feature = "book")]
mod book;
mod console;
mod fixtures;

use std::time::Duration;

use fixtures::{Browser, Service};
use serde_json::Value;

/// How long the whole test may take.
const AT_MOST: Duration = Duration::from_secs(300);
/// Selects the text of a field and removes it: Control and A, then Backspace (`WebDriver` section 17.4.2).
const CLEAR: &str = "\u{e009}a\u{e009}\u{e003}";
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images/swagger.png");

#[tokio::test]
async fn a_newcomer_authorizes_in_the_page_and_registers_an_agent() {
    tokio::time::timeout(AT_MOST, register_in_the_page()).await.expect("the page took too long");
}

async fn register_in_the_page() {
    let service = Service::start().await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/docs", service.url)).await;

    authorize(&browser, &service).await;
    let (status, answer) = register(&browser).await;

    assert_eq!(status, "201", "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("the answer is shown as JSON");
    assert!(answer["agentId"].is_string(), "{answer}");
    let agents = service.agents().await;
    let agents = agents["data"].as_array().expect("a list has data");
    assert!(agents.contains(&answer), "{answer} is shown, but these there are: {agents:?}");

    let picture = browser.picture("#operations-Agents-registerAgent").await;
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"), "the picture is no PNG");
    assert!(picture.len() > 20_000, "the picture shows next to nothing: {} bytes", picture.len());
    if std::env::var_os("UPDATE_SCREENSHOT").is_some() {
        std::fs::write(PICTURE, picture).expect("the picture can be written");
    }
    let complaints = browser.complaints().await;
    let is_refusal = |line: &String| line.contains("/api/v1/token") && line.contains("401 (Unauthorized)");
    assert!(
        complaints.len() == 1 && complaints.iter().all(is_refusal),
        "only the wrong secret: {complaints:?}"
    );
    browser.close().await;
}

/// Gets a token with all scopes through the dialog.
async fn authorize(browser: &Browser, service: &Service) {
    let in_dialog = |what: &str| {
        format!("//div[@class='auth-container'][.//input[@id='client_id_clientCredentials']]//{what}")
    };
    let (id, secret) = (&service.administrator.id, &service.administrator.secret);
    browser.press("//div[@class='auth-wrapper']/button[contains(@class, 'authorize')]").await;
    let first = browser.read("(//div[@class='auth-container'])[1]//h4").await;
    assert!(first.contains("OAuth2"), "a token is what most operations take: {first}");
    browser.fill(&in_dialog("input[@id='client_id_clientCredentials']"), id).await;
    browser.fill(&in_dialog("input[@id='client_secret_clientCredentials']"), "wrong").await;
    browser.press(&in_dialog("button[text()='Authorize']")).await;
    let error = browser.read(&in_dialog("div[contains(@class, 'errors')]")).await;
    assert!(error.contains("client authentication failed"), "{error}");
    browser
        .fill(&in_dialog("input[@id='client_secret_clientCredentials']"), &format!("{CLEAR}{secret}"))
        .await;
    browser.press(&in_dialog("a[text()='select all']")).await;
    browser.press(&in_dialog("button[text()='Authorize']")).await;
    browser.find("//div[@class='auth-container']//button[text()='Logout']").await;
    browser.press("//div[@class='modal-ux']//button[@class='close-modal']").await;
}

/// Sends the unchanged example, and reads the status and the body of the answer.
async fn register(browser: &Browser) -> (String, String) {
    let in_operation = |what: &str| format!("//div[@id='operations-Agents-registerAgent']//{what}");
    let in_answer =
        |what: &str| in_operation(&format!("table[contains(@class, 'live-responses-table')]/tbody//{what}"));
    browser.press(&in_operation("button[@class='opblock-summary-control']")).await;
    browser.press(&in_operation("button[text()='Try it out ']")).await;
    browser.press(&in_operation("button[text()='Execute']")).await;
    let status = browser.read(&in_answer("td[contains(@class, 'response-col_status')]")).await;
    let body = browser.read(&in_answer("td[contains(@class, 'response-col_description')]//pre")).await;
    (status, body)
}

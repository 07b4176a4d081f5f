//! The console, clicked through in a real browser.

mod accessibility;
mod administration;
mod agents;
mod audit;
mod delegation;
mod examples;
mod forms;
mod hostile_texts;
mod keyboard;
mod large;
mod names;
mod page;
mod pictures;
mod session;

use std::time::Duration;

use fantoccini::elements::Element;
use serde_json::Value;
use testing::{Client, TestClient};

use crate::fixtures::{Browser, Service};

/// How long one flow may take.
const AT_MOST: Duration = Duration::from_secs(300);
/// Selects the text of a field, so that typing replaces it.
const ALL: &str = "\u{e009}a\u{e000}";
const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";

/// Runs a flow within [`AT_MOST`].
async fn bounded(flow: impl Future<Output = ()>) {
    tokio::time::timeout(AT_MOST, flow).await.expect("the flow took too long");
}

/// The console in a browser, and its service.
struct Console {
    service: Service,
    browser: Browser,
    api: TestClient,
    /// A token of the administrator, for requests without the browser.
    admin: String,
}

impl Console {
    /// Opens the page.
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// Opens the page of a service with these environment variables.
    async fn open_with(environment: &[(&str, &str)]) -> Self {
        let service = Service::start_with(environment).await;
        let browser = Browser::start().await;
        browser.open(&format!("{}/console", service.url)).await;
        let api = service.api();
        let admin = api.unlimited_admin_token().await;
        Self { service, browser, api, admin }
    }

    /// Opens the page and signs in as the administrator.
    async fn signed_in() -> Self {
        let console = Self::open().await;
        console.sign_in(&console.service.administrator).await;
        console.heading("Overview").await;
        console
    }

    /// Fills the form of the page and sends it.
    async fn sign_in(&self, client: &Client) {
        self.fill("Client ID", &client.id).await;
        self.fill("Client secret", &client.secret).await;
        self.press("Sign in").await;
    }

    /// Goes to a place, and waits for its heading.
    async fn show(&self, place: &str, heading: &str) {
        self.browser.run("location.hash = arguments[0]", vec![place.into()]).await;
        self.heading(heading).await;
    }

    /// Goes to the view of an agent, and returns the address that is its heading.
    async fn show_agent(&self, agent: &str) -> String {
        let email = text(&self.get(&format!("/api/v1/agents/{agent}")).await, "email");
        self.show(&format!("#/agents/{agent}"), &email).await;
        email
    }

    /// Reads the client from the dialog that shows its secret.
    async fn shown_secret(&self, agent: &str) -> Client {
        self.sees("It is shown only this once").await;
        let value = "return document.getElementById(arguments[0]).value";
        let value = async |label: &str| self.browser.run(value, vec![format!("copy-{label}").into()]).await;
        let (id, secret) = (value("Client ID").await, value("Client secret").await);
        assert_eq!(id, agent);
        let secret = secret.as_str().expect("a secret").to_owned();
        Client { id: agent.to_owned(), secret, credential: String::new() }
    }

    /// Lets each request of the page fail whose URL contains this text, and no others; none if it is empty.
    async fn fail_requests(&self, part: &str) {
        let script = "window.real ??= fetch;
            window.fetch = (url, init) =>
              arguments[0] && String(url).includes(arguments[0]) ? Promise.reject(url) : real(url, init)";
        self.browser.run(script, vec![part.into()]).await;
    }

    /// Waits for the heading of a view.
    async fn heading(&self, text: &str) -> Element {
        self.browser.find(&format!("//h1[normalize-space() = {}]", quoted(text))).await
    }

    /// Waits until the page shows this text.
    async fn sees(&self, text: &str) {
        let script = "return document.body.innerText.replace(/\\s+/g, ' ').includes(arguments[0])";
        self.browser.until(script, &[text.into()]).await;
    }

    /// Presses the button or the link with this text, in the dialog if there is one.
    async fn press(&self, text: &str) {
        let is_open = self.browser.run("return document.querySelector('dialog') !== null", vec![]).await;
        let within = if is_open == Value::Bool(true) { "//dialog" } else { "" };
        let text = quoted(text);
        let path = format!("({within}//button | {within}//a)[normalize-space() = {text}]");
        self.browser.press(&path).await;
    }

    /// Presses the button with this text, and waits for the dialog that it opens.
    async fn open_dialog(&self, text: &str) {
        self.press(text).await;
        self.browser.find("//dialog").await;
    }

    /// Replaces the text of the field with this label.
    async fn fill(&self, label: &str, text: &str) {
        self.browser.fill(&field(label), &format!("{ALL}{text}")).await;
    }

    /// Replaces the text of the field of the dialog with this label.
    async fn fill_in_dialog(&self, label: &str, text: &str) {
        let label = format!("//dialog//label[normalize-space() = {}]", quoted(label));
        self.browser.press(&label).await;
        self.browser.keys(&format!("{ALL}{text}")).await;
    }

    /// Chooses an option of the field with this label.
    async fn choose(&self, label: &str, option: &str) {
        self.browser.press(&format!("{}/option[normalize-space() = {}]", field(label), quoted(option))).await;
    }

    /// Types what a dialog asks for, and presses its button.
    async fn confirm(&self, noun: &str, word: &str, action: &str) {
        self.fill(&format!("The {noun}"), word).await;
        self.press(action).await;
        self.browser.gone("//dialog").await;
    }

    /// Returns the body of a GET request without the browser.
    async fn get(&self, path: &str) -> Value {
        let answer = self.api.get(&self.admin, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// Closes the browser. Panics if it logged anything but responses with these statuses.
    async fn close(self, statuses: &[&str]) {
        let is_expected =
            |line: &String| statuses.iter().any(|status| line.contains(&format!("status of {status}")));
        let complaints = self.browser.complaints().await;
        let others: Vec<_> = complaints.into_iter().filter(|line| !is_expected(line)).collect();
        assert!(others.is_empty(), "{others:?}");
        self.browser.close().await;
    }
}

/// Returns the `XPath` of the field with this label.
fn field(label: &str) -> String {
    format!("//*[@id = //label[normalize-space() = {}]/@for]", quoted(label))
}

/// Returns a text as an expression of `XPath`, which has no escapes.
fn quoted(text: &str) -> String {
    match (text.contains('\''), text.contains('"')) {
        (false, _) => format!("'{text}'"),
        (true, false) => format!("\"{text}\""),
        (true, true) => format!("concat('{}')", text.replace('\'', "', \"'\", '")),
    }
}

/// Returns a member that is text.
fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

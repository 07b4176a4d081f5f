//! The service and the browser, each a program that ends when its value is dropped.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::{Client, TestClient};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{MissedTickBehavior, interval};

/// How long the page may take to show an element.
const SOON: Duration = Duration::from_secs(60);
/// Time between two looks at the page. Without a pause, looking would take the time in which the page draws.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
const MISSING: &str = "this test needs a browser: install the Debian packages chromium and chromium-driver";

/// A program that prints what a test must know to its standard output.
struct Program {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Program {
    fn start(command: &mut Command, missing: &str) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{missing} ({error})"));
        let stdout = child.stdout.take().expect("the standard output is piped");
        Self { lines: BufReader::new(stdout).lines(), child }
    }

    /// Returns the rest of the next line that starts with that label.
    async fn value_of(&mut self, label: &str) -> String {
        while let Some(line) = self.lines.next_line().await.expect("the output is text") {
            if let Some(value) = line.strip_prefix(label) {
                return value.trim().to_owned();
            }
        }
        panic!("the program ended and never said {label:?}");
    }
}

/// The service, and the values that it prints at its start.
pub struct Service {
    pub url: String,
    pub administrator: Client,
    program: Program,
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts the service with these environment variables in addition.
    pub async fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut program = Self::program(environment);
        let id = program.value_of("client_id:").await;
        let secret = program.value_of("client_secret:").await;
        Self::ready(program, Client { id, secret, credential: String::new() }).await
    }

    /// Same as [`start_with`](Self::start_with), on a file that has this administrator.
    pub async fn restart_with(environment: &[(&str, &str)], administrator: Client) -> Self {
        Self::ready(Self::program(environment), administrator).await
    }

    fn program(environment: &[(&str, &str)]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentidp"));
        command.env_clear().envs([
            ("PORT", "0"),
            ("METRICS_ADDR", "off"),
            ("BCRYPT_COST", "4"),
            ("RUST_LOG", "error"),
        ]);
        command.envs(environment.iter().copied());
        Program::start(&mut command, "the service does not start")
    }

    async fn ready(mut program: Program, administrator: Client) -> Self {
        let docs = program.value_of("Explore the API:").await;
        let url = docs.strip_suffix("/docs").expect("the page is at /docs").to_owned();
        Self { url, administrator, program }
    }

    /// Ends the program.
    pub async fn end(mut self) {
        self.program.child.kill().await.expect("it ends");
    }

    /// Returns a client of the service without the browser.
    pub fn api(&self) -> TestClient {
        TestClient::new(reqwest::Client::new(), vec![self.url.clone()], self.administrator.clone())
    }

    /// Returns the agents, listed over HTTP without the browser.
    pub async fn agents(&self) -> Value {
        let client = self.api();
        let token = client.token(&self.administrator, &[("scope", "agents:read")]).await;
        client.get(&token, "/api/v1/agents").await.json()
    }
}

/// A browser that can reach only this machine.
pub struct Browser {
    client: fantoccini::Client,
    driver: String,
    _program: Program,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = TempDir::new().expect("a directory for the profile");
        let mut program = Program::start(Command::new("chromedriver").arg("--port=0"), MISSING);
        let port = program.value_of("ChromeDriver was started successfully on port ").await;
        let driver = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
        let profile_argument = format!("--user-data-dir={}", profile.path().display());
        let Value::Object(capabilities) = json!({
            "goog:loggingPrefs": { "browser": "WARNING" },
            "goog:chromeOptions": { "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--window-size=1280,1800",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                // Ends the browser with its driver, however the driver ends.
                "--remote-debugging-pipe",
                profile_argument,
            ] },
        }) else {
            unreachable!("capabilities are an object")
        };
        let client =
            ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&driver).await;
        let client = client.unwrap_or_else(|error| panic!("{MISSING} ({error})"));
        Self { client, driver, _program: program, _profile: profile }
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page opens");
    }

    /// Waits for the element that the `XPath` selects.
    pub async fn find(&self, path: &str) -> Element {
        let element = self.client.wait().at_most(SOON).for_element(Locator::XPath(path)).await;
        element.unwrap_or_else(|error| panic!("{path} is not there: {error}"))
    }

    /// Presses the element. The page may replace it in the meantime, so this is tried again.
    pub async fn press(&self, path: &str) {
        let pressing = async {
            loop {
                let element = self.find(path).await;
                if element.click().await.is_ok() {
                    return;
                }
            }
        };
        let pressed = tokio::time::timeout(SOON, pressing).await;
        pressed.unwrap_or_else(|_| panic!("{path} cannot be pressed"));
    }

    pub async fn fill(&self, path: &str, text: &str) {
        let filled = self.find(path).await.send_keys(text).await;
        filled.unwrap_or_else(|error| panic!("{path} cannot be filled: {error}"));
    }

    pub async fn read(&self, path: &str) -> String {
        let text = self.find(path).await.text().await;
        text.unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
    }

    /// Runs the body of a function in the page, and returns its value.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let value = self.client.execute(script, arguments).await;
        value.unwrap_or_else(|error| panic!("{script} fails: {error}"))
    }

    /// Runs the body of a function that calls its last argument with its value.
    pub async fn run_async(&self, script: &str) -> Value {
        let value = self.client.execute_async(script, Vec::new()).await;
        value.unwrap_or_else(|error| panic!("{script} fails: {error}"))
    }

    /// Runs the body of a function in a frame of the page.
    pub async fn run_in_frame(&self, frame: u16, script: &str) -> Value {
        self.client.enter_frame(frame).await.expect("the page has this frame");
        let value = self.run(script, vec![]).await;
        self.client.enter_parent_frame().await.expect("a frame has a parent");
        value
    }

    /// Waits until the script returns true.
    pub async fn until(&self, script: &str, arguments: &[Value]) {
        let mut looks = interval(BETWEEN_LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waiting = async {
            while self.run(script, arguments.to_vec()).await != json!(true) {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(SOON, waiting).await;
        waited.unwrap_or_else(|_| panic!("{script} of {arguments:?} does not become true"));
    }

    /// Waits until no element is selected by the `XPath`.
    pub async fn gone(&self, path: &str) {
        let script =
            "return document.evaluate(arguments[0], document, null, 9, null).singleNodeValue === null";
        self.until(script, &[path.into()]).await;
    }

    /// Sends keys to the element that has the focus.
    pub async fn keys(&self, keys: &str) {
        let element = self.client.active_element().await.expect("an element has the focus");
        element.send_keys(keys).await.expect("it takes keys");
    }

    /// Goes back in the history.
    pub async fn back(&self) {
        self.client.back().await.expect("there is a page before");
    }

    /// Shows the page in a window of this size and in this color scheme, `light` or `dark`.
    pub async fn emulate(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", &size).await;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", &features).await;
    }

    /// Sends a command of the `DevTools` protocol.
    async fn command(&self, command: &str, parameters: &Value) {
        let session = self.client.session_id().await.ok().flatten().expect("a session");
        let url = format!("{}/session/{session}/goog/cdp/execute", self.driver);
        json_of(reqwest::Client::new().post(url).json(&json!({ "cmd": command, "params": parameters })))
            .await;
    }

    /// Takes a PNG screenshot of the window as it is.
    pub async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a picture")
    }

    /// Takes a PNG screenshot of the window.
    /// The window is first scrolled to the element that the CSS selector selects.
    pub async fn picture(&self, selector: &str) -> Vec<u8> {
        let script = "document.querySelector(arguments[0]).scrollIntoView()";
        self.client.execute(script, vec![selector.into()]).await.expect("the page scrolls");
        self.client.screenshot().await.expect("a picture")
    }

    /// Returns the warnings and errors that the browser has logged to its console.
    pub async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.ok().flatten().expect("a session");
        let log = format!("{}/session/{session}/se/log", self.driver);
        let log = json_of(reqwest::Client::new().post(log).json(&json!({ "type": "browser" }))).await;
        let entries = log["value"].as_array().expect("a log has entries");
        entries.iter().map(|entry| entry["message"].to_string()).collect()
    }

    pub async fn close(self) {
        self.client.close().await.expect("the browser closes");
    }
}

/// Sends a request that must succeed, and returns the JSON of the answer.
async fn json_of(request: reqwest::RequestBuilder) -> Value {
    let answer = request.send().await.and_then(reqwest::Response::error_for_status).expect("an answer");
    answer.json().await.expect("the answer is JSON")
}

//! Texts that try to become markup or script, or to deceive their reader, in every field that takes text.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testing::{Client, trusted_issuer, unique};

use super::delegation::{exchange, jti, token_of_person};
use super::{Console, bounded, text};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Texts that run `pwned()` where one of them is taken for markup, script, a style or a URL.
const TEXTS: [&str; 8] = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "\"><svg/onload=pwned()>",
    "' onfocus='pwned()' autofocus='",
    "javascript:pwned()//",
    "${pwned()}{{constructor.constructor('pwned()')()}}",
    "</style><iframe srcdoc='<script>parent.pwned()</script>'>",
    "]]><!--<math><mtext></p><style><img title='--></style><img src=x onerror=pwned()>'>",
];
/// A text whose characters are shown in another order unless each is isolated, and one that cannot be seen.
const BIDIRECTIONAL: &str = "\u{202e}txe.live\u{200b}\u{2066}";
/// Addresses that the service accepts and that are as hostile.
const ADDRESSES: [&str; 4] = [
    "\"<script>pwned()</script>\"@example.com",
    "x'onmouseover='pwned=1'@example.com",
    "{{pwned}}`${pwned}`@example.com",
    "\u{202e}nimda\u{200b}@example.com",
];

/// Elements that no view has, whatever the texts are.
const FOREIGN: &str = "return [...document.querySelectorAll('*')].filter((one) => \
    ['SCRIPT', 'IFRAME', 'MATH', 'STYLE', 'OBJECT', 'EMBED'].includes(one.tagName) \
        && !(one.tagName === 'SCRIPT' && one.src.endsWith('console/app.js')) \
    || one.tagName === 'IMG' && !one.src.endsWith('console/icon.svg') \
    || [...one.attributes].some(({ name }) => name.startsWith('on') || ['style', 'action', 'srcdoc'].includes(name)) \
    || one.tagName === 'A' && !one.getAttribute('href').startsWith('#')).map((one) => one.outerHTML)";

impl Console {
    /// Goes to a view, and panics unless it shows this text as text and has nothing else.
    async fn shows(&self, place: &str, text: &str) {
        self.browser.run("location.hash = arguments[0]", vec![place.into()]).await;
        let shown = "return document.querySelector('#main').textContent.includes(arguments[0])";
        self.browser.until(shown, &[text.into()]).await;
        self.assert_harmless(place).await;
    }

    async fn assert_harmless(&self, place: &str) {
        assert_eq!(self.browser.run(FOREIGN, vec![]).await, json!([]), "{place}");
        let wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(self.browser.run(wider, vec![]).await, json!(false), "{place} scrolls sideways");
        assert_eq!(self.browser.run("return window.ran ?? null", vec![]).await, Value::Null, "{place}");
    }

    async fn created(&self, path: &str, body: Value) -> Value {
        let answer = self.api.post(&self.admin, path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()
    }
}

/// Returns a text as it is shown: with the names of characters that cannot be seen.
fn as_shown(text: &str) -> String {
    let hidden = ['\u{202e}', '\u{200b}', '\u{2066}'];
    hidden
        .iter()
        .fold(text.to_owned(), |text, letter| text.replace(*letter, &format!("U+{:04X}", u32::from(*letter))))
}

/// Makes records of every kind from this text, and looks at each of them in every view.
async fn look_at(console: &Console, hostile: &str, address: &str) {
    let shown = as_shown(hostile);
    let agent = json!({
        "email": address, "agentType": "custom", "version": "1.0.0", "capabilities": ["files:read"],
        "owner": hostile, "managedBy": hostile.chars().take(64).collect::<String>(), "deploymentEnv": "development",
    });
    let agent = text(&console.created("/api/v1/agents", agent).await, "agentId");
    let name: String = hostile.chars().take(100).collect();
    let slug = format!("hostile-{}", unique());
    let organization = console.created("/api/v1/organizations", json!({ "name": name, "slug": slug })).await;
    let mut issuer = trusted_issuer();
    issuer["name"] = json!(name);
    issuer["audiences"] = json!([hostile]);
    issuer["managedBy"] = json!(hostile.chars().take(64).collect::<String>());
    let issuer = text(&console.created("/api/v1/issuers", issuer).await, "issuerId");
    let credentials = format!("/api/v1/agents/{agent}/credentials");
    let federated = json!({ "type": "federated", "issuerId": issuer, "subject": hostile, "claims": { "claim": [hostile] } });
    console.created(&credentials, federated).await;
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": hostile });
    console.created(&credentials, json!({ "type": "public_key", "publicKey": key })).await;
    let client = console.api.secret(&console.admin, &agent).await;
    let wrong = Client { secret: "wrong".to_owned(), ..client.clone() };
    let request =
        console.api.request(Method::POST, "/api/v1/token").form(&[("grant_type", "client_credentials")]);
    let request = request.basic_auth(&wrong.id, Some(&wrong.secret));
    let visible: String = hostile.chars().filter(char::is_ascii).collect();
    console.api.send(request.header("User-Agent", &visible)).await;
    let person = token_of_person(console, hostile).await;
    let token = exchange(console, &client, JWT, &person).await;

    let email = as_shown(address);
    console.shows("#/agents", &email).await;
    console.shows("#/agents", &shown).await;
    console.shows(&format!("#/agents/{agent}"), &shown).await;
    console.sees("Trusted issuer").await;
    console.shows(&format!("#/agents/{agent}"), &format!("subject {shown}")).await;
    console.shows("#/organizations", &shown).await;
    let organization = text(&organization, "organizationId");
    console.shows(&format!("#/organizations/{organization}"), &shown).await;
    console.shows("#/issuers", &shown).await;
    console.shows(&format!("#/issuers/{issuer}"), &shown).await;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(json!({ "sub": hostile, "iss": hostile, "a": hostile }));
    let assertion = format!("{}.{claims}.c2ln", part(json!({ "alg": "EdDSA", "kid": hostile })));
    console.fill("Assertion", &assertion).await;
    console.press("Explain").await;
    console.browser.find("//table[caption = 'Checks']").await;
    console.assert_harmless("explanation").await;

    console.shows(&format!("#/tokens/{}", jti(&token)), &shown).await;
    console.shows("#/usage", "Tokens by agent").await;
    console.shows("#/", &email).await;
    console.shows(&format!("#/audit?resourceType=agent&resourceId={agent}&action=auth.failed"), &email).await;
    console.open_dialog("auth.failed").await;
    console.shows("#/audit?follow=on", &email).await;
}

#[tokio::test]
async fn every_text_is_shown_as_text_in_every_view() {
    bounded(async {
        let console = Console::signed_in().await;
        console.browser.run("window.pwned = () => { window.ran = true; }", vec![]).await;
        for (place, hostile) in TEXTS.into_iter().chain([BIDIRECTIONAL]).enumerate() {
            let other = format!("hostile-{place}@example.com");
            look_at(&console, hostile, ADDRESSES.get(place).copied().unwrap_or(&other)).await;
        }
        console.browser.emulate(360, 800, "light").await;
        let long = "W".repeat(100);
        look_at(&console, &long, &format!("{}@example.com", "W".repeat(60).to_lowercase())).await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_whose_address_deceives_is_stopped_by_the_address_as_it_is_shown() {
    bounded(async {
        let console = Console::signed_in().await;
        let agent = json!({
            "email": "\u{202e}nimda@example.com", "agentType": "custom", "version": "1.0.0",
            "capabilities": ["files:read"], "owner": "team", "deploymentEnv": "development",
        });
        let agent = text(&console.created("/api/v1/agents", agent).await, "agentId");
        console.show(&format!("#/agents/{agent}"), "U+202Enimda@example.com").await;
        console.open_dialog("Suspend").await;
        console.confirm("e-mail address", "U+202Enimda@example.com", "Suspend").await;
        console.browser.find("//header//*[. = 'suspended']").await;
        console.close(&[]).await;
    })
    .await;
}

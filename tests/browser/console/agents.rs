//! Agents: registered, found, changed and stopped.

use reqwest::Method;
use serde_json::json;

use super::{Console, bounded, field, text};

#[tokio::test]
async fn an_agent_is_registered_once_its_fields_are_right() {
    bounded(async {
        let console = Console::signed_in().await;
        console.show("#/agents", "Agents").await;
        console.press("Register an agent").await;
        console.heading("Register an agent").await;
        console.fill("E-mail address", "administrator@agentidp.internal").await;
        console.fill("Version", "one").await;
        console.fill("Capabilities", "Documents").await;
        console.press("Register").await;
        console.sees("fields are invalid").await;
        console.browser.find(&format!("{}[@aria-invalid = 'true']", field("Version"))).await;
        console.browser.find("//p[@id = 'version-error'][contains(., 'SemVer')]").await;
        console.browser.find("//p[@id = 'owner-error']").await;
        console.browser.find("//p[@id = 'capabilities-error']").await;
        console.browser.until("return document.activeElement.name === 'version'", &[]).await;

        console.fill("Version", "1.0.0").await;
        console.fill("Owner", "platform-team").await;
        console.fill("Capabilities", "documents:read, summaries:write").await;
        console.press("Register").await;
        console.browser.find("//p[@id = 'email-error'][contains(., 'Choose another')]").await;

        console.fill("E-mail address", "summarizer@agents.example.com").await;
        console.choose("Type", "summarizer").await;
        console.press("Register").await;
        console.heading("summarizer@agents.example.com").await;
        console.sees("The agent is registered.").await;
        let found = console.get("/api/v1/agents?email=summarizer@agents.example.com").await;
        let agent = &found["data"][0];
        assert_eq!(agent["capabilities"], json!(["documents:read", "summaries:write"]));
        assert_eq!(
            (&agent["agentType"], &agent["deploymentEnv"]),
            (&json!("summarizer"), &json!("development"))
        );
        console.close(&["400", "409"]).await;
    })
    .await;
}

#[tokio::test]
async fn agents_are_found_by_address_owner_id_and_status_page_by_page() {
    bounded(async {
        let console = Console::signed_in().await;
        let mut last = String::new();
        for _ in 0..30 {
            last = console.api.agent(&console.admin, None, &["files:read"]).await;
        }
        let path = format!("/api/v1/agents/{last}");
        let changed = json!({ "status": "suspended", "owner": "finance" });
        assert_eq!(console.api.patch(&console.admin, &path, changed).await.status, 200);
        let email = text(&console.get(&path).await, "email");

        console.show("#/agents", "Agents").await;
        console.sees("1–25 of 31 agents").await;
        console.press("Next").await;
        console.sees("26–31 of 31 agents").await;
        console.browser.back().await;
        console.sees("1–25 of 31 agents").await;

        console.choose("Status", "suspended").await;
        console.sees("1–1 of 1 agents").await;
        console.sees(&email).await;
        console.choose("Status", "Any").await;
        console.sees("1–25 of 31 agents").await;
        for searched in ["finance", &email] {
            console.fill("Search", &format!("{searched}{}", super::ENTER)).await;
            console.sees("1–1 of 1 agents").await;
            console.browser.find(&format!("//table//a[normalize-space() = '{email}']")).await;
        }
        console.fill("Search", &format!("no-team{}", super::ENTER)).await;
        console.sees("No agent matches").await;
        console.press("show all agents").await;
        console.sees("1–25 of 31 agents").await;
        console.fill("Search", &format!("{last}{}", super::ENTER)).await;
        console.heading(&email).await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn credentials_are_created_rotated_and_revoked() {
    bounded(async {
        let console = Console::signed_in().await;
        let agent = console.api.agent(&console.admin, None, &["files:read"]).await;
        let email = console.show_agent(&agent).await;
        console.sees("It has no credentials").await;

        let soon = "return new Date(Date.now() + 864e6).toISOString()";
        let soon = console.browser.run(soon, vec![]).await;
        let path = format!("/api/v1/agents/{agent}/credentials");
        let made = console.api.post(&console.admin, &path, json!({ "expiresAt": soon })).await.json();
        console.show("#/", "Overview").await;
        let row = "//table[caption = 'Credentials that expire soon']//tr[contains(., 'in 10 days')]";
        console.browser.find(&format!("{row}[contains(., '{email}')]")).await;
        let path = format!("{path}/{}", text(&made, "credentialId"));
        console.api.send(console.api.request(Method::DELETE, &path).bearer_auth(&console.admin)).await;
        console.show_agent(&agent).await;

        console.open_dialog("Create a credential").await;
        console.press("Create").await;
        let first = console.shown_secret(&agent).await;
        console.press("Copy Client secret").await;
        console
            .browser
            .find("//dialog//p[@role = 'status'][. = 'Copied' or . = 'Selected; press Ctrl+C']")
            .await;
        console.press("I have stored it").await;
        console.browser.gone("//dialog").await;
        let is_there = "return document.documentElement.outerHTML.includes(arguments[0])";
        let is_there = console.browser.run(is_there, vec![first.secret.clone().into()]).await;
        assert_eq!(is_there, json!(false), "a secret is shown once");
        assert_eq!(console.api.ask_token(&first, &[]).await.status, 200);

        console.open_dialog("Rotate").await;
        console.choose("The old secret works", "no longer").await;
        console.press("Rotate").await;
        console.sees("Type the e-mail address exactly as it is shown.").await;
        console.fill("The e-mail address", &email).await;
        console.press("Rotate").await;
        let second = console.shown_secret(&agent).await;
        console.press("I have stored it").await;
        assert_eq!(console.api.ask_token(&second, &[]).await.status, 200);
        assert_eq!(console.api.ask_token(&first, &[]).await.status, 401);

        console.open_dialog("Create a credential").await;
        console.choose("Kind", "Public key").await;
        console.fill("Public key (JWK)", "no key").await;
        console.press("Create").await;
        console.browser.find("//p[@id = 'publicKey-error'][contains(., 'valid JSON')]").await;
        let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        console.fill("Public key (JWK)", key).await;
        console.press("Create").await;
        console.browser.gone("//dialog").await;
        console.sees("OKP key").await;

        let revoke = "//tr[contains(., 'Client secret')]//button[. = 'Revoke']";
        console.browser.press(revoke).await;
        console.browser.find("//dialog").await;
        console.fill("The e-mail address", "another@example.com").await;
        console.press("Revoke").await;
        console.sees("Type the e-mail address exactly as it is shown.").await;
        console.confirm("e-mail address", &email, "Revoke").await;
        console.browser.find("//tr[contains(., 'Client secret')]//*[. = 'revoked']").await;
        assert_eq!(console.api.ask_token(&second, &[]).await.status, 401);
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_is_changed_and_is_stopped_once_its_address_is_typed() {
    bounded(async {
        let console = Console::signed_in().await;
        let client = console.api.client(&console.admin, None, &["files:read"]).await;
        let path = format!("/api/v1/agents/{}", client.id);
        let email = console.show_agent(&client.id).await;

        console.open_dialog("Change").await;
        console.fill("Owner", "another-team").await;
        console.press("Save").await;
        console.sees("The agent is changed.").await;
        console.sees("another-team").await;
        assert_eq!(console.get(&path).await["owner"], "another-team");

        let first = console.api.token(&client, &[]).await;
        console.open_dialog("Revoke all tokens").await;
        console.confirm("e-mail address", &email, "Revoke all tokens").await;
        console.sees("All tokens of the agent are revoked.").await;
        assert!(!console.api.is_active(&first).await);
        let second = console.api.token(&client, &[]).await;

        console.open_dialog("Suspend").await;
        console.press("Suspend").await;
        console.sees("Type the e-mail address exactly as it is shown.").await;
        assert!(console.api.is_active(&second).await, "nothing was typed");
        console.confirm("e-mail address", &email, "Suspend").await;
        console.browser.find("//header//*[. = 'suspended']").await;
        assert!(!console.api.is_active(&second).await);
        console.open_dialog("Reactivate").await;
        console.confirm("e-mail address", &email, "Reactivate").await;
        console.browser.find("//header//*[. = 'active']").await;

        console.open_dialog("Decommission").await;
        console.confirm("e-mail address", &email, "Decommission").await;
        console.browser.find("//header//*[. = 'decommissioned']").await;
        console.browser.gone("//button[. = 'Suspend' or . = 'Change' or . = 'Create a credential']").await;
        for action in ["agent.updated", "agent.suspended", "agent.reactivated", "agent.decommissioned"] {
            console
                .browser
                .find(&format!("//section[@aria-label = 'Changes to it']//button[. = '{action}']"))
                .await;
        }
        console.close(&[]).await;
    })
    .await;
}

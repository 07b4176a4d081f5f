//! Organizations, trusted issuers and usage.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use testing::trusted_issuer;

use super::{Console, bounded, field, text};

#[tokio::test]
async fn an_organization_is_created_limited_and_suspended() {
    bounded(async {
        let console = Console::signed_in().await;
        console.show("#/organizations", "Organizations").await;
        console.open_dialog("Create an organization").await;
        console.fill("Name", "Acme Robotics").await;
        console.fill_in_dialog("Slug", "Not A Slug").await;
        console.press("Create").await;
        console.browser.find("//dialog//p[@id = 'slug-error']").await;
        console.fill_in_dialog("Slug", "acme").await;
        console.choose("Plan", "pro").await;
        console.press("Create").await;
        console.heading("Acme Robotics").await;

        console.open_dialog("Change").await;
        console.fill("Agents", "5").await;
        console.fill("Tokens per agent and month", "Unlimited").await;
        console.fill("Resources", "https://notes.example.com").await;
        for wrong in ["1,000", "10k", "-1", "none", "0"] {
            console.fill("Requests per agent and minute", wrong).await;
            console.press("Save").await;
            console.browser.find("//p[@id = 'limits.requestsPerMinute-error']").await;
        }
        console.fill("Requests per agent and minute", "\u{e003}").await;
        console.press("Save").await;
        console.sees("The organization is changed.").await;
        console
            .sees(
                "Agents 5 Tokens per agent and month Unlimited Requests per agent and minute As in the plan",
            )
            .await;
        let organization = console.get("/api/v1/organizations?slug=acme").await["data"][0].clone();
        assert_eq!(organization["limits"], json!({ "maxAgents": 5, "maxTokensPerMonth": null }));
        assert_eq!(organization["resources"], json!(["https://notes.example.com"]));

        console.open_dialog("Suspend").await;
        console.confirm("slug", "acme", "Suspend").await;
        console.browser.find("//header//*[. = 'suspended']").await;
        console.open_dialog("Reactivate").await;
        console.confirm("slug", "acme", "Reactivate").await;
        console.browser.find("//header//*[. = 'active']").await;

        console.browser.press("//a[. = 'Show its usage']").await;
        console.heading("Usage").await;
        console.sees("Not decommissioned 0 of 5").await;
        console.sees("No tokens this month").await;
        console.show("#/organizations", "Organizations").await;
        console.sees("1–2 of 2 organizations").await;
        console.fill("Slug", &format!("acme{}", super::ENTER)).await;
        console.sees("1–1 of 1 organizations").await;
        console.fill("Slug", &format!("no-such{}", super::ENTER)).await;
        console.sees("No organization has this slug").await;
        console.close(&["400"]).await;
    })
    .await;
}

#[tokio::test]
async fn an_issuer_is_trusted_explains_its_assertions_and_is_suspended_and_deleted() {
    bounded(async {
        let console = Console::signed_in().await;
        console.show("#/issuers", "Trusted issuers").await;
        console.sees("No trusted issuers").await;
        console.open_dialog("Trust an issuer").await;
        let example = trusted_issuer();
        console.fill("Name", "Continuous integration").await;
        console.fill("Issuer", "no URL").await;
        console.choose("Its keys", "Keys that you enter").await;
        console.fill("JWK set", &example["keys"]["jwks"].to_string()).await;
        console.press("Trust").await;
        console.browser.find("//p[@id = 'issuer-error']").await;
        console.fill("Issuer", &text(&example, "issuer")).await;
        console.press("Trust").await;
        console.heading("Continuous integration").await;

        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({ "alg": "EdDSA", "kid": "1" }));
        let claims =
            part(json!({ "iss": example["issuer"], "sub": "repo:acme/site", "aud": "nowhere", "exp": 1 }));
        console.fill("Assertion", &format!("{header}.{claims}.c2ln")).await;
        console.press("Explain").await;
        console.browser.find("//h3[contains(., 'Verdict')]/*[. = 'refused']").await;
        for (check, result) in [("algorithm", "passed"), ("audience", "failed"), ("expiry", "failed")] {
            let row = format!("//table[caption = 'Checks']//tr[td[1] = '{check}']//*[. = '{result}']");
            console.browser.find(&row).await;
        }
        console.sees("repo:acme/site").await;

        console.open_dialog("Change").await;
        console.fill("Longest lifetime, in seconds", "1").await;
        console.press("Save").await;
        console.browser.find("//p[@id = 'maxLifetimeSeconds-error']").await;
        console.fill("Longest lifetime, in seconds", "600").await;
        console.press("Save").await;
        console.sees("600 seconds").await;

        console.open_dialog("Let agents act for people").await;
        console.fill("Audiences of their tokens", "notes-app").await;
        console.fill("Agents that may act", "every").await;
        console.fill("Scopes that a person can pass on", "files:read").await;
        console.press("Save").await;
        console.browser.find("//p[@id = 'subjects.mayAct-error']").await;
        console.fill("Agents that may act", "*").await;
        console.press("Save").await;
        console.sees("Every agent of the organization Audiences notes-app").await;
        console.open_dialog("Remove").await;
        console.confirm("name", "Continuous integration", "Remove").await;
        console.sees("Tokens of its people are not accepted for exchange.").await;

        console.open_dialog("Revoke a person's tokens").await;
        console.fill("Subject", "alice").await;
        console.fill("Subject, again", "alicia").await;
        console.press("Revoke").await;
        console.sees("Type the same subject again.").await;
        console.fill("Subject, again", "alice").await;
        console.press("Revoke").await;
        console.sees("Every token that acts for this person is revoked.").await;

        console.open_dialog("Suspend").await;
        console.confirm("name", "Continuous integration", "Suspend").await;
        console.browser.find("//header//*[. = 'suspended']").await;
        console.open_dialog("Delete").await;
        console.confirm("name", "Continuous integration", "Delete").await;
        console.heading("Trusted issuers").await;
        console.sees("No trusted issuers").await;
        console.close(&["400"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_change_of_an_organization_keeps_a_resource_with_a_comma() {
    bounded(async {
        let console = Console::signed_in().await;
        let resources = json!(["https://notes.example.com/a,b", "kafka"]);
        let made =
            json!({ "name": "Acme", "slug": "acme", "plan": "pro", "resources": resources, "limits": {} });
        let organization = console.api.organization(&console.admin, made).await;
        console.show(&format!("#/organizations/{organization}"), "Acme").await;
        console.open_dialog("Change").await;
        console.fill("Name", "Acme Robotics").await;
        console.press("Save").await;
        console.heading("Acme Robotics").await;
        let changed = console.get(&format!("/api/v1/organizations/{organization}")).await;
        assert_eq!(changed["resources"], resources);
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn an_organization_that_cannot_be_listed_is_chosen_by_its_id() {
    bounded(async {
        let console = Console::signed_in().await;
        let organization = console.api.organization(&console.admin, json!({})).await;
        console.show("#/agents/new", "Register an agent").await;
        console.browser.find(&format!("{}/self::select", field("Organization"))).await;

        console.fail_requests("/organizations?").await;
        console.show("#/agents", "Agents").await;
        let unreachable = "The service cannot be reached. Check that the service runs";
        console.sees(unreachable).await;
        console.sees("1–1 of 1 agents").await;
        console.show("#/agents/new", "Register an agent").await;
        console.sees(unreachable).await;
        console.browser.find(&format!("{}/self::input", field("Organization"))).await;
        console.fail_requests("/issuers?").await;
        console.show_agent(&console.service.administrator.id).await;
        console.open_dialog("Create a credential").await;
        console.choose("Kind", "Trusted issuer").await;
        console.sees(unreachable).await;
        console.browser.find(&format!("{}/self::input", field("ID of the issuer"))).await;
        console.press("Cancel").await;
        console.fail_requests("").await;
        for _ in 0..100 {
            console.api.organization(&console.admin, json!({})).await;
        }
        console.show("#/agents/new", "Register an agent").await;
        console.browser.find(&format!("{}/self::input", field("Organization"))).await;
        console.fill("E-mail address", "one@agents.example.com").await;
        console.fill("Owner", "platform-team").await;
        console.fill("Capabilities", "documents:read").await;
        console.fill("Organization", "none").await;
        console.press("Register").await;
        console.browser.find("//p[@id = 'organizationId-error']").await;
        console.fill("Organization", &organization).await;
        console.press("Register").await;
        console.heading("one@agents.example.com").await;
        let found = console.get("/api/v1/agents?email=one@agents.example.com").await;
        assert_eq!(found["data"][0]["organizationId"], organization);
        console.close(&["400"]).await;
    })
    .await;
}

#[tokio::test]
async fn usage_is_shown_against_the_limits() {
    bounded(async {
        let console = Console::signed_in().await;
        let organization = console
            .api
            .organization(&console.admin, json!({ "limits": { "maxAgents": 4, "maxTokensPerMonth": 20 } }))
            .await;
        let client = console.api.client(&console.admin, Some(&organization), &["files:read"]).await;
        for _ in 0..3 {
            console.api.token(&client, &[]).await;
        }
        let email = text(&console.get(&format!("/api/v1/agents/{}", client.id)).await, "email");
        console.show("#/usage", "Usage").await;
        console.sees("administrator@agentidp.internal").await;
        console.fill("Agent", &format!("{}{}", client.id, super::ENTER)).await;
        console.sees("Tokens of this agent").await;
        console.sees("Not decommissioned 1 of 4").await;
        console.browser.find(&format!("//tr[contains(., '{email}') and contains(., '3 of 20')]")).await;
        console.close(&[]).await;
    })
    .await;
}

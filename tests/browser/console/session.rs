//! Signing in and out, and the token between them.

use serde_json::json;

use super::{Console, bounded};

#[tokio::test]
async fn a_wrong_secret_is_explained_and_a_right_one_is_kept_in_the_memory_of_the_page_only() {
    bounded(async {
        let console = Console::open().await;
        console.heading("Sign in to AgentIdP").await;
        console.press("Sign in").await;
        console.sees("Enter the client ID.").await;
        console.sees("Enter the client secret.").await;
        let mut wrong = console.service.administrator.clone();
        wrong.secret = "wrong".to_owned();
        console.sign_in(&wrong).await;
        console.sees("The client ID or the client secret is wrong").await;
        console.sign_in(&console.service.administrator).await;
        console.heading("Overview").await;
        console.sees("administrator@agentidp.internal").await;

        for place in ["agents", "audit", "usage"] {
            console.browser.press(&format!("//nav//a[@href = '#/{place}']")).await;
            console.browser.find("//table").await;
        }
        let secret = console.service.administrator.secret.clone();
        let kept = "return [localStorage.length, sessionStorage.length, document.cookie.length, caches ? 0 : 1, \
                    location.href.includes(arguments[0]), document.documentElement.outerHTML.includes(arguments[0])]";
        let kept = console.browser.run(kept, vec![secret.clone().into()]).await;
        assert_eq!(kept, json!([0, 0, 0, 0, false, false]));

        console.press("Sign out").await;
        console.heading("Sign in to AgentIdP").await;
        console.sees("You are signed out.").await;
        let path = format!("/api/v1/audit?action=token.revoked&agentId={}", console.service.administrator.id);
        while console.get(&path).await["data"] == json!([]) {}
        console.browser.back().await;
        console.heading("Sign in to AgentIdP").await;
        let values = "return [...document.querySelectorAll('input')].map((input) => input.value)";
        assert_eq!(console.browser.run(values, vec![]).await, json!(["", ""]));
        console.close(&["401"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_token_is_renewed_and_a_revoked_credential_ends_the_session() {
    bounded(async {
        let console = Console::open().await;
        let client = console.api.client(&console.admin, None, &["agents:read", "audit:read"]).await;
        console.sign_in(&client).await;
        console.heading("Overview").await;

        let agent = format!("/api/v1/agents/{}", client.id);
        let revoke = format!("{agent}/tokens/revoke");
        assert_eq!(console.api.post(&console.admin, &revoke, json!({})).await.status, 204);
        console.show("#/agents", "Agents").await;
        console.sees("administrator@agentidp.internal").await;

        let credential = format!("{agent}/credentials/{}", client.credential);
        assert_eq!(console.api.delete(&console.admin, &credential).await.status, 204);
        assert_eq!(console.api.post(&console.admin, &revoke, json!({})).await.status, 204);
        console.browser.run("location.hash = '#/usage'", vec![]).await;
        console.heading("Sign in to AgentIdP").await;
        console.sees("Your credential is no longer accepted").await;
        console.close(&["400", "401"]).await;
    })
    .await;
}

#[tokio::test]
async fn the_session_goes_on_after_its_own_secret_is_rotated() {
    bounded(async {
        let console = Console::signed_in().await;
        let administrator = &console.service.administrator;
        let email = console.show_agent(&administrator.id).await;
        console.open_dialog("Rotate").await;
        console.choose("The old secret works", "no longer").await;
        console.browser.press("//label[. = 'Revoke all tokens of the agent too']").await;
        console.fill("The e-mail address", &email).await;
        console.press("Rotate").await;
        let rotated = console.shown_secret(&administrator.id).await;
        console.browser.gone("//*[@class = 'loading']").await;
        console.press("I have stored it").await;
        console.show("#/usage", "Usage").await;
        console.sees("Tokens issued").await;
        assert_eq!(console.api.ask_token(administrator, &[]).await.status, 401);
        assert_eq!(console.api.ask_token(&rotated, &[]).await.status, 200);
        console.close(&["401"]).await;
    })
    .await;
}

#[tokio::test]
async fn the_session_goes_on_with_the_scopes_that_the_client_still_has() {
    bounded(async {
        let console = Console::open().await;
        let client = console.api.client(&console.admin, None, &["agents:read", "audit:read"]).await;
        console.sign_in(&client).await;
        console.heading("Overview").await;
        let agent = format!("/api/v1/agents/{}", client.id);
        let revoke = format!("{agent}/tokens/revoke");
        for (capabilities, heading) in
            [(json!(["audit:read"]), "Audit log"), (json!(["files:read"]), "Sign in to AgentIdP")]
        {
            let change = json!({ "capabilities": capabilities });
            assert_eq!(console.api.patch(&console.admin, &agent, change).await.status, 200);
            assert_eq!(console.api.post(&console.admin, &revoke, json!({})).await.status, 204);
            console.browser.run("location.hash = '#/'", vec![]).await;
            console.browser.run("location.hash = '#/audit'", vec![]).await;
            console.heading(heading).await;
            if heading == "Audit log" {
                console.browser.find("//tr[@data-event]").await;
            }
        }
        console.sees("This client has no scope of the API").await;
        console.close(&["400", "401", "403"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_with_a_default_resource_signs_in() {
    bounded(async {
        let console = Console::open().await;
        let resource = "https://notes.example.com";
        let organization = console.api.organization(&console.admin, json!({ "resources": [resource] })).await;
        let scopes = ["agents:read", "audit:read"];
        let client = console.api.client(&console.admin, Some(&organization), &scopes).await;
        let agent = format!("/api/v1/agents/{}", client.id);
        let change = json!({ "defaultResource": resource });
        assert_eq!(console.api.patch(&console.admin, &agent, change).await.status, 200);
        console.sign_in(&client).await;
        console.heading("Overview").await;
        console.show("#/audit", "Audit log").await;
        console.browser.find("//tr[@data-event]").await;
        // The agent was registered by an administrator of another organization.
        console.close(&["400", "404"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_renewal_that_fails_half_way_is_made_again() {
    bounded(async {
        let console = Console::open().await;
        let scopes = ["agents:read", "audit:read", "files:read"];
        let client = console.api.client(&console.admin, None, &scopes).await;
        console.sign_in(&client).await;
        console.heading("Overview").await;
        console.browser.gone("//*[@class = 'loading']").await;
        let agent = format!("/api/v1/agents/{}", client.id);
        let change = json!({ "capabilities": ["agents:read", "files:read"] });
        assert_eq!(console.api.patch(&console.admin, &agent, change).await.status, 200);
        let revoke = format!("{agent}/tokens/revoke");
        assert_eq!(console.api.post(&console.admin, &revoke, json!({})).await.status, 204);

        // The client's own capabilities cannot be read.
        console.fail_requests(&agent).await;
        console.show("#/agents", "Agents").await;
        console.sees("The service cannot be reached.").await;
        console.fail_requests("").await;
        console.press("Try again").await;
        console.browser.find("//table[caption = 'Agents']//tbody/tr").await;
        console.close(&["400", "401"]).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_needs_proofs_is_advised_to_use_another() {
    bounded(async {
        let console = Console::open().await;
        let client = console.api.client(&console.admin, None, &["agents:read"]).await;
        let agent = format!("/api/v1/agents/{}", client.id);
        let change = json!({ "dpop": "required" });
        assert_eq!(console.api.patch(&console.admin, &agent, change).await.status, 200);
        console.sign_in(&client).await;
        console.browser.find("//*[@role = 'alert'][normalize-space() = 'This agent needs proofs of possession (DPoP), which the console does not send. Use another agent.']").await;
        console.close(&["400"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    bounded(async {
        let console = Console::open_with(&[("TOKEN_TTL_SECONDS", "60")]).await;
        console.sign_in(&console.service.administrator).await;
        console.heading("Overview").await;
        console.sees("No credential expires soon.").await;
        let path = format!("/api/v1/audit?action=token.issued&agentId={}", console.service.administrator.id);
        let issued = async || console.get(&path).await["data"].as_array().map(Vec::len);
        let before = issued().await;
        console.show("#/agents", "Agents").await;
        console.browser.find("//table").await;
        assert_eq!(issued().await, before, "half of its lifetime is left");
        let later = "const now = Date.now; Date.now = () => now() + 40_000";
        console.browser.run(later, vec![]).await;
        console.show("#/usage", "Usage").await;
        console.sees("Tokens issued").await;
        assert_eq!(issued().await, before.map(|count| count + 1));
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_sees_what_its_scopes_permit_and_why_not_the_rest() {
    bounded(async {
        let console = Console::open().await;
        let reader = console.api.client(&console.admin, None, &["agents:read", "files:read"]).await;
        console.sign_in(&reader).await;
        console.heading("Overview").await;
        console.sees("The list of failures needs the scope audit:read").await;
        let areas =
            "return [...document.querySelectorAll('nav[aria-label=Console] a')].map((a) => a.textContent)";
        assert_eq!(console.browser.run(areas, vec![]).await, json!(["Overview", "Agents", "Usage"]));
        console.show("#/audit", "Audit log").await;
        console.sees("Audit log needs the scope audit:read, which your client does not have").await;
        console.show("#/agents", "Agents").await;
        console.browser.gone("//a[. = 'Register an agent']").await;
        console.show_agent(&reader.id).await;
        console.sees("Details").await;
        console.browser.gone("//button[. = 'Suspend' or . = 'Create a credential']").await;
        console.press("Sign out").await;

        let auditor = console.api.client(&console.admin, None, &["audit:read", "files:read"]).await;
        console.heading("Sign in to AgentIdP").await;
        console.sign_in(&auditor).await;
        console.heading("Overview").await;
        assert_eq!(console.browser.run(areas, vec![]).await, json!(["Overview", "Audit log", "Delegation"]));
        console.press("Sign out").await;

        let other = console.api.client(&console.admin, None, &["files:read"]).await;
        console.heading("Sign in to AgentIdP").await;
        console.sign_in(&other).await;
        console.sees("This client has no scope of the API").await;
        console.close(&["400"]).await;
    })
    .await;
}

//! The console without a mouse.

use serde_json::{Value, json};

use super::{Console, ENTER, ESCAPE, TAB, bounded};

/// More presses of Tab than a view has elements that take the focus.
const MOST: usize = 80;

impl Console {
    /// Presses Tab until the element with this text or name has the focus. Panics if an element on the way does not
    /// show that it has the focus, or is outside of the window.
    async fn tab_to(&self, text: &str) {
        let state = "const it = document.activeElement; const style = getComputedStyle(it); \
                     const box = it.getBoundingClientRect(); \
                     const inner = it.querySelector?.('rect'); \
                     return { name: (it.name || it.textContent || '').trim(), \
                              isMarked: style.outlineStyle !== 'none' || (inner && getComputedStyle(inner).strokeWidth === '3px'), \
                              isSeen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth }";
        for _ in 0..MOST {
            self.browser.keys(TAB).await;
            let state = self.browser.run(state, vec![]).await;
            let is_page = state["name"].as_str().is_some_and(|name| name.len() > 300);
            assert!(is_page || state["isMarked"] == true, "{state} has the focus and does not show it");
            assert!(is_page || state["isSeen"] == true, "{state} has the focus and is not seen");
            if state["name"] == text {
                return;
            }
        }
        panic!("the focus does not reach {text}");
    }

    /// Returns the text of the element that has the focus.
    async fn focused(&self) -> Value {
        self.browser.run("return document.activeElement.textContent.trim()", vec![]).await
    }
}

#[tokio::test]
async fn everything_is_reached_and_done_by_keys_alone() {
    bounded(async {
        let console = Console::open().await;
        console.browser.until("return document.activeElement.name === 'client_id'", &[]).await;
        let administrator = console.service.administrator.clone();
        console.browser.keys(&administrator.id).await;
        console.tab_to("client_secret").await;
        console.browser.keys(&format!("{}{ENTER}", administrator.secret)).await;
        console.heading("Overview").await;
        console.browser.until("return document.activeElement.tagName === 'H1'", &[]).await;

        console.browser.run("document.activeElement.blur()", vec![]).await;
        console.tab_to("Skip to content").await;
        console.browser.keys(ENTER).await;
        assert_eq!(console.focused().await, "Overview");
        console.browser.run("document.activeElement.blur()", vec![]).await;
        console.tab_to("Agents").await;
        console.browser.keys(ENTER).await;
        console.heading("Agents").await;
        console.browser.until("return document.activeElement.textContent === 'Agents'", &[]).await;
        assert_eq!(console.browser.run("return document.title", vec![]).await, "Agents · AgentIdP");

        console.tab_to("Register an agent").await;
        console.browser.keys(ENTER).await;
        console.heading("Register an agent").await;
        for (field, value) in
            [("email", "keys@example.com"), ("owner", "team"), ("capabilities", "files:read")]
        {
            console.tab_to(field).await;
            console.browser.keys(value).await;
        }
        console.tab_to("Register").await;
        console.browser.keys(ENTER).await;
        console.heading("keys@example.com").await;

        console.tab_to("Decommission").await;
        console.browser.keys(ENTER).await;
        console.browser.find("//dialog").await;
        console.browser.until("return document.activeElement.name === 'confirmation'", &[]).await;
        let leaves = "return [document.body, null].includes(document.activeElement) ? false \
                      : document.activeElement.closest('dialog') === null";
        for _ in 0..6 {
            console.browser.keys(TAB).await;
            assert_eq!(
                console.browser.run(leaves, vec![]).await,
                json!(false),
                "the focus leaves the dialog"
            );
        }
        console.browser.keys(ESCAPE).await;
        console.browser.gone("//dialog").await;
        assert_eq!(console.focused().await, "Decommission", "the focus returns");
        console.browser.keys(ENTER).await;
        console.browser.until("return document.activeElement.name === 'confirmation'", &[]).await;
        console.browser.keys(&format!("keys@example.com{ENTER}")).await;
        console.browser.find("//header//*[. = 'decommissioned']").await;
        // The button is gone.
        console.browser.until("return document.activeElement.tagName === 'H1'", &[]).await;
        console.close(&[]).await;
    })
    .await;
}

//! Rules of accessibility, a narrow screen, and both color schemes, in every view.

use std::path::Path;

use serde_json::{Value, json};

use super::examples::views;
use super::{Console, bounded};

/// Checks the page, and calls back with the violations of rules, each with the elements that violate it.
const CHECK: &str = "const done = arguments[arguments.length - 1]; \
    axe.run(document, { resultTypes: ['violations'] }).then( \
        ({ violations }) => done(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html)])), \
        (error) => done([String(error)]));";

/// Returns the script of axe-core, which `scripts/test` installs.
fn axe() -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    let script = target.join("node/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(script).expect("scripts/test installs axe-core")
}

impl Console {
    /// Panics if the page violates a rule of accessibility, or is wider than its window.
    async fn assert_accessible(&self, name: &str) {
        let violations = self.browser.run_async(CHECK).await;
        assert_eq!(violations, json!([]), "{name}");
        let wider = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(self.browser.run(wider, vec![]).await, json!(false), "{name} scrolls sideways");
    }
}

async fn every_view_is_accessible(width: u32, scheme: &str) {
    let console = Console::open().await;
    console.browser.emulate(width, 900, scheme).await;
    console.heading("Sign in to AgentIdP").await;
    console.browser.run(&axe(), vec![]).await;
    console.assert_accessible("signing in").await;
    let color = console.browser.run("return getComputedStyle(document.body).backgroundColor", vec![]).await;
    assert_eq!(color == "rgb(14, 14, 17)", scheme == "dark", "{color} is not of the scheme {scheme}");

    console.sign_in(&console.service.administrator).await;
    console.heading("Overview").await;
    let views = views(&console).await;
    for view in &views {
        console.visit(view).await;
        console.assert_accessible(&format!("{} at {width} in {scheme}", view.0)).await;
    }
    let agent = views.iter().find(|(name, ..)| *name == "agent").expect("a view of an agent");
    console.visit(agent).await;
    for dialog in ["Change", "Decommission", "Create a credential"] {
        console.open_dialog(dialog).await;
        console.assert_accessible(&format!("{dialog} at {width} in {scheme}")).await;
        console.press("Cancel").await;
        console.browser.gone("//dialog").await;
    }
    if width < 860 {
        console.press("Menu").await;
        let is_open = console.browser.find("//button[. = 'Menu']").await.attr("aria-expanded").await;
        assert_eq!(is_open.ok().flatten().as_deref(), Some("true"));
        console.assert_accessible("the menu").await;
        console.press("Usage").await;
        console.heading("Usage").await;
    }
    let left = console.browser.run("return scrollX", vec![]).await;
    assert_eq!(left, Value::from(0));
    console.close(&[]).await;
}

#[tokio::test]
async fn every_view_is_accessible_on_a_wide_light_screen() {
    bounded(every_view_is_accessible(1280, "light")).await;
}

#[tokio::test]
async fn every_view_is_accessible_on_a_wide_dark_screen() {
    bounded(every_view_is_accessible(1280, "dark")).await;
}

#[tokio::test]
async fn every_view_is_accessible_on_a_narrow_light_screen() {
    bounded(every_view_is_accessible(360, "light")).await;
}

#[tokio::test]
async fn every_view_is_accessible_on_a_narrow_dark_screen() {
    bounded(every_view_is_accessible(360, "dark")).await;
}

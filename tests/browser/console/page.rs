//! The page itself: its size, its paths, and pages that try to frame it.

use serde_json::json;

use super::{Console, bounded};
use crate::fixtures::{Browser, Service};

/// The most bytes that the first view after signing in takes.
const MOST_BYTES: i64 = 100_000;

#[tokio::test]
async fn the_first_view_is_small() {
    bounded(async {
        let console = Console::signed_in().await;
        console.sees("No credential expires soon.").await;
        let bytes = "return ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind)) \
                     .filter(({ name }) => name.includes('/console')) \
                     .reduce((sum, { transferSize }) => sum + transferSize, 0)";
        let bytes = console.browser.run(bytes, vec![]).await.as_i64().expect("a number");
        assert!((10_000..MOST_BYTES).contains(&bytes), "{bytes} bytes");
        // A second browser has nothing compiled or cached, and its profile is new.
        let other = Browser::start().await;
        other.open(&format!("{}/console", console.service.url)).await;
        other.find("//h1").await;
        let painted =
            "return performance.getEntriesByType('paint').map((paint) => Math.round(paint.startTime))";
        other.until("return performance.getEntriesByType('paint').length > 0", &[]).await;
        println!("the first view takes {bytes} bytes; painted after {} ms", other.run(painted, vec![]).await);
        other.close().await;
        console.close(&[]).await;
    })
    .await;
}

#[tokio::test]
async fn the_page_works_under_the_path_of_the_issuer_and_behind_a_proxy_that_removes_it() {
    bounded(async {
        let service = Service::start_with(&[("ISSUER_URL", "https://id.example.com/agents/idp")]).await;
        let browser = Browser::start().await;
        for path in ["/agents/idp/console", "/console"] {
            browser.open(&format!("{}{path}", service.url)).await;
            browser.fill("//input[@name = 'client_id']", &service.administrator.id).await;
            browser.fill("//input[@name = 'client_secret']", &service.administrator.secret).await;
            browser.press("//button[. = 'Sign in']").await;
            browser.press("//nav//a[. = 'Agents']").await;
            browser.find("//a[. = 'administrator@agentidp.internal']").await;
        }
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:?}");
        browser.close().await;
    })
    .await;
}

#[tokio::test]
async fn no_other_page_can_frame_the_console() {
    bounded(async {
        let service = Service::start().await;
        let browser = Browser::start().await;
        browser.open(&format!("{}/health", service.url)).await;
        let frames = "const done = arguments[arguments.length - 1]; let missing = 2; \
                      for (const path of ['/health', '/console']) { \
                        const frame = document.createElement('iframe'); \
                        frame.onload = () => (missing -= 1) || done(true); \
                        frame.src = path; \
                        document.body.append(frame); }";
        browser.run_async(frames).await;
        let content = "return document.body.textContent";
        let allowed = browser.run_in_frame(0, content).await;
        assert!(allowed.as_str().is_some_and(|text| text.contains("ok")), "a frame works: {allowed}");
        let place = browser.run_in_frame(1, "return location.protocol").await;
        assert_eq!(place, json!("chrome-error:"));
        browser.close().await;
    })
    .await;
}

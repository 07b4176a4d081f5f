//! The book at `/docs/book`, in a build with the feature `book`.

use crate::fixtures::{Browser, Service};

#[tokio::test]
async fn a_reader_searches_the_book_and_follows_links_under_its_policy() {
    let reading = async {
        let service = Service::start().await;
        let browser = Browser::start().await;
        browser.open(&format!("{}/docs/book", service.url)).await;
        browser.find("//h1[. = 'AgentIdP']").await;
        browser.press("//mdbook-sidebar-scrollbox//a[contains(@href, 'quick-start.html')]").await;
        browser.find("//main//h1[. = 'Quick start']").await;
        browser.press("//button[@id = 'mdbook-search-toggle']").await;
        browser.fill("//input[@id = 'mdbook-searchbar']", "LAST_ADMINISTRATOR").await;
        browser.press("//ul[@id = 'mdbook-searchresults']//a[contains(., 'Errors')]").await;
        browser.find("//main//h1[. = 'Errors']").await;
        browser.find("//mark[. = 'LAST_ADMINISTRATOR']").await;
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:?}");
        browser.close().await;
    };
    tokio::time::timeout(super::AT_MOST, reading).await.expect("it took too long");
}

//! The book as the service serves it, in a build with the feature `book`.

use reqwest::{Method, StatusCode, redirect};
use testing::{TestServer, Wiring};
use walkdir::WalkDir;

use crate::scenarios::scenarios;

scenarios!(stateless [
    every_file_of_the_book_is_served,
    a_page_of_the_book_runs_only_its_own_scripts,
    the_book_opens_under_the_path_of_the_issuer,
]);

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/book");

async fn every_file_of_the_book_is_served(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let files = WalkDir::new(FOLDER).into_iter().map(|entry| entry.expect("readable").into_path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert!(files.len() > 100, "{files:?}");
    for file in files {
        let path = format!("/docs/book/{}", file.strip_prefix(FOLDER).expect("below it").display());
        let answer = server.send(server.request(Method::GET, &path)).await;
        let content = std::fs::read(&file).expect("readable");
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, &*String::from_utf8_lossy(&content)),
            "{path}"
        );
        let media = match file.extension().and_then(|extension| extension.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("woff2") => "font/woff2",
            _ => continue,
        };
        assert_eq!(answer.header("content-type"), Some(media), "{path}");
        let request = server.request(Method::GET, &path);
        let request = request.header("If-None-Match", answer.header("etag").expect("a tag"));
        assert_eq!(server.send(request).await.status, StatusCode::NOT_MODIFIED, "{path}");
    }
    for path in ["/docs/book/none.html", "/docs/book/../openapi.json%00", "/docs/book/docs", "/docs/books"] {
        server.send(server.request(Method::GET, path)).await.assert_error(404, "NOT_FOUND");
    }
    let answer = server.send(server.request(Method::POST, "/docs/book/index.html")).await;
    answer.assert_error(405, "METHOD_NOT_ALLOWED");
}

async fn a_page_of_the_book_runs_only_its_own_scripts(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let answer = server.send(server.request(Method::GET, "/docs/book/docs/quick-start.html")).await;
    let policy = answer.header("content-security-policy").expect("a policy");
    let scripts = policy.split("; ").find(|directive| directive.starts_with("script-src ")).expect("scripts");
    let within = answer.text.matches("<script>").count();
    assert!(within > 0 && scripts.matches(" 'sha256-").count() == within, "{policy}");
    assert!(scripts.starts_with("script-src 'self' ") && !scripts.contains("unsafe"), "{policy}");
    for directive in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.split("; ").any(|one| one == directive), "{directive} in {policy}");
    }
    let picture = server.send(server.request(Method::GET, "/docs/book/docs/images/delegation.svg")).await;
    assert!(picture.header("content-security-policy").is_some_and(|policy| !policy.contains("sha256")));
}

async fn the_book_opens_under_the_path_of_the_issuer(wiring: Wiring) {
    for (issuer, prefix) in [("https://id.example.com", ""), ("https://id.example.com/agents", "/agents")] {
        let server = TestServer::start_with(wiring, &["--issuer-url", issuer]).await;
        let client = reqwest::Client::builder().redirect(redirect::Policy::limited(1)).build();
        let url = server.url(&format!("{prefix}/docs/book"));
        let answer = client.expect("a client").get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.url().path(), format!("{prefix}/docs/book/"));
        assert!(answer.text().await.expect("text").contains("<title>Introduction"));
    }
}

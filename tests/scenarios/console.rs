//! The files of the console, as plain HTTP.

use std::path::Path;

use reqwest::{Method, StatusCode, redirect};
use testing::{TestServer, Wiring};
use walkdir::WalkDir;

use crate::scenarios::scenarios;

scenarios!(stateless [
    every_file_of_the_console_is_served_with_its_media_type_and_a_strict_policy,
    a_file_that_the_browser_has_is_not_sent_again,
    a_path_without_a_file_is_not_found,
    the_folder_leads_to_the_page_under_the_path_of_the_issuer,
    nothing_of_the_console_is_there_once_it_is_turned_off,
]);

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/adapters/http/console");

/// Returns the paths and the contents of the files that a browser needs.
fn files() -> Vec<(String, Vec<u8>)> {
    let files = WalkDir::new(FOLDER).into_iter().map(|entry| entry.expect("readable").into_path());
    let is_served = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("LICENSE") || [".js", ".css", ".svg"].iter().any(|ending| name.ends_with(ending))
    };
    let files = files.filter(|path| is_served(path)).map(|path| {
        let name = path.strip_prefix(FOLDER).expect("below it").to_str().expect("text").to_owned();
        (format!("/console/{name}"), std::fs::read(path).expect("readable"))
    });
    let page = std::fs::read(Path::new(FOLDER).join("index.html")).expect("readable");
    let files: Vec<_> = files.chain([("/console".to_owned(), page)]).collect();
    assert!(files.len() > 20, "the files are found");
    files
}

async fn every_file_of_the_console_is_served_with_its_media_type_and_a_strict_policy(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    for (path, content) in files() {
        let answer = server.send(server.request(Method::GET, &path)).await;
        assert_eq!((answer.status, answer.text.as_bytes()), (StatusCode::OK, &*content), "{path}");
        let media = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            None if path.contains("LICENSE") => "text/plain; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        let policy = answer.header("content-security-policy").expect("a policy");
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ] {
            assert!(policy.split("; ").any(|one| one == directive), "{path}: {directive} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("content-type", media),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }
        let head = server.send(server.request(Method::HEAD, &path)).await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(head.header("etag"), answer.header("etag"), "{path}");
    }
}

async fn a_file_that_the_browser_has_is_not_sent_again(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let ask = async |known: &str| {
        let request = server.request(Method::GET, "/console/app.js").header("If-None-Match", known);
        server.send(request).await
    };
    let first = ask("\"another\"").await;
    let tag = first.header("etag").expect("a tag").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"another\", {tag}")] {
        let answer = ask(&known).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
        assert_eq!(answer.header("etag"), Some(&*tag));
        assert!(answer.header("content-security-policy").is_some());
    }
    let other = server.send(server.request(Method::GET, "/console/ui.js")).await;
    assert_ne!(other.header("etag"), Some(&*tag));
}

async fn a_path_without_a_file_is_not_found(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    for path in [
        "/console/index.html",
        "/console/types.d.ts",
        "/console/tsconfig.json",
        "/console/vendor/README.md",
        "/console/views/../app.js%00",
        "/console/..%2f..%2fmod.rs",
        "/console/views",
        "/console/a/b/c",
    ] {
        server.send(server.request(Method::GET, path)).await.assert_error(404, "NOT_FOUND");
    }
    let answer = server.send(server.request(Method::POST, "/console/app.js")).await;
    answer.assert_error(405, "METHOD_NOT_ALLOWED");
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
}

async fn the_folder_leads_to_the_page_under_the_path_of_the_issuer(wiring: Wiring) {
    for (issuer, prefix) in [("https://id.example.com", ""), ("https://id.example.com/agents", "/agents")] {
        let server = TestServer::start_with(wiring, &["--issuer-url", issuer]).await;
        let direct = reqwest::Client::builder().redirect(redirect::Policy::none()).build().expect("a client");
        for path in ["/console/".to_owned(), format!("{prefix}/console/")] {
            let answer = direct.get(server.url(&path)).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT, "{path}");
            assert_eq!(answer.headers()["location"], format!("{prefix}/console"), "{path}");
        }
        let page = server.send(server.request(Method::GET, &format!("{prefix}/console"))).await;
        assert_eq!(page.status, StatusCode::OK);
        let links = page.text.split(['"', ' ']).filter(|part| part.contains(".js") || part.contains(".css"));
        for link in links {
            assert!(link.starts_with("console/"), "{link} depends on the path of the issuer");
        }
    }
}

async fn nothing_of_the_console_is_there_once_it_is_turned_off(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--console", "off"]).await;
    for (path, _) in files().into_iter().chain([("/console/".to_owned(), Vec::new())]) {
        for method in [Method::GET, Method::POST] {
            server.send(server.request(method, &path)).await.assert_error(404, "NOT_FOUND");
        }
    }
    let page = server.send(server.request(Method::GET, "/docs")).await;
    assert_eq!(page.status, StatusCode::OK);
}

#[test]
fn a_script_of_the_console_makes_no_markup_and_no_code_from_texts_and_stores_nothing() {
    const REFUSED: [&str; 13] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySetInnerHTML",
        "document.write",
        "eval(",
        "new Function",
        "localStorage",
        "sessionStorage",
        "document.cookie",
        "indexedDB",
        "style=",
        "http://",
    ];
    for (path, content) in files() {
        let text = String::from_utf8(content).expect("text");
        if !path.contains("/vendor/") && !path.ends_with(".svg") {
            for refused in REFUSED {
                assert!(!text.contains(refused), "{path} has {refused}");
            }
        }
    }
}

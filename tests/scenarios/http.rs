//! Unusual HTTP requests, over raw sockets if a library would not send them.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use testing::{Client, TestServer, Wiring, new_agent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    http_2_is_not_spoken_and_a_huge_head_is_refused,
    every_path_that_is_none_is_a_404_in_json,
    a_user_agent_of_any_bytes_is_kept_as_readable_text,
    what_there_is_cannot_be_told_by_how_fast_a_refusal_comes,
    a_change_outlives_the_caller_that_asked_for_it,
    what_is_under_way_at_the_end_finishes,
    probes_are_told_of_the_end_before_it_comes,
]);
scenarios!(stateless [
    json_is_answered_without_a_charset,
    json_is_taken_as_json_and_as_nothing_else,
    a_megabyte_of_anything_is_refused_and_more_is_not_read,
    a_deep_body_of_long_names_is_read_quickly_and_not_told_back,
    a_query_of_thousands_of_faults_is_told_a_hundred,
    what_is_framed_in_two_ways_is_answered_at_most_once,
    a_method_that_a_path_does_not_take_is_told_those_that_it_does,
    a_request_id_is_taken_if_it_is_harmless_and_made_if_not,
    scripts_of_named_origins_may_call_and_of_no_others,
    scripts_of_any_origin_may_read_the_public_metadata_and_nothing_else,
]);

/// Sends a request on a separate connection, and returns everything received.
/// Reading ends when the service closes the connection or stays silent.
async fn exchange(server: &TestServer, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.service.address).await.expect("a connection");
    // The service reads no further than a request that it refused, so the write may fail.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    // The first part of the answer may take a while. A connection that is then silent has sent everything.
    let mut patience = Duration::from_secs(30);
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(patience, stream.read(&mut part)).await {
        answer.extend_from_slice(&part[..read]);
        patience = Duration::from_millis(500);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect()
}

async fn json_is_answered_without_a_charset(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    for path in ["/health", "/api/v1/agents", "/.well-known/jwks.json", "/openapi.json"] {
        let answer = server.send(server.request(Method::GET, path)).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
}

async fn json_is_taken_as_json_and_as_nothing_else(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let send = async |media: Option<&str>, body: &str| {
        let request =
            server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin).body(body.to_owned());
        let request = match media {
            Some(media) => request.header("content-type", media),
            None => request,
        };
        server.send(request).await
    };
    let body = new_agent(&["files:read"]).to_string();
    for media in [
        None,
        Some("text/plain"),
        Some("application/json; charset=utf-16"),
        Some("application/x+json"),
        Some("application/json, text/plain"),
        Some("application/json;x=y"),
    ] {
        send(media, &body).await.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    assert_eq!(send(Some("Application/JSON; charset=UTF-8"), &body).await.status, StatusCode::CREATED);
    let encoded =
        server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin).json(&new_agent(&["files:read"]));
    let answer = server.send(encoded.header("content-encoding", "gzip")).await;
    answer.assert_error(415, "UNSUPPORTED_MEDIA_TYPE");
    for malformed in [
        "",
        "{",
        "{}{}",
        "{}\n{}",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{\"a\":\"\\ud800\"}",
        "{a:1}",
        "{\"a\":NaN}",
        "\u{feff}{}",
        "{\"a\":1e999}",
    ] {
        assert_eq!(send(Some("application/json"), malformed).await.faults(), ["body"], "{malformed}");
    }
    let twice = body.replacen('{', "{\"owner\":\"a\",", 1);
    assert_eq!(send(Some("application/json"), &twice).await.faults(), ["owner"]);
    let nul = body.replace("\"team\"", "\"a\\u0000\"");
    assert!(send(Some("application/json"), &nul).await.faults().contains(&"owner".to_owned()));
    let invalid = [body.as_bytes(), b"\xff"].concat();
    let request = server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin).body(invalid);
    assert_eq!(server.send(request.header("content-type", "application/json")).await.faults(), ["body"]);
}

async fn a_megabyte_of_anything_is_refused_and_more_is_not_read(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let send = async |body: String| {
        let request = server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin).body(body);
        server.send(request.header("content-type", "application/json")).await
    };
    let wide = |part: &str, length: usize| format!("{{\"a\":[{}1]}}", part.repeat(length / part.len()));
    for body in [
        "[".repeat(1_000_000),
        "{\"a\":".repeat(170_000),
        wide("[],", 1_000_000),
        wide("\"\",", 1_000_000),
        format!("{{{}\"z\":1}}", (0..80_000).map(|key| format!("\"{key}\":1,")).collect::<String>()),
    ] {
        let answer = send(body).await;
        assert!(!answer.faults().is_empty());
        assert!(answer.faults().len() <= 100 && answer.text.len() < 100_000);
    }
    send("x".repeat(1024 * 1024 + 1)).await.assert_error(413, "PAYLOAD_TOO_LARGE");

    let announced = "POST /api/v1/token HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n";
    let answer = exchange(&server, announced.as_bytes()).await;
    assert_eq!(statuses(&answer), ["413"], "refused before anything of it came");
    let mut chunked =
        b"POST /api/v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert_eq!(statuses(&exchange(&server, &chunked).await), ["413"]);
}

async fn a_deep_body_of_long_names_is_read_quickly_and_not_told_back(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let name = "n".repeat(8_000);
    let deep = format!("{{\"{name}\":").repeat(120) + "1" + &"}".repeat(120);
    let twice = format!("{{\"{name}\":{{\"a\":1,{}\"z\":1}}}}", "\"a\":1,".repeat(1_000));
    for body in [deep, twice] {
        let request = server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin).body(body);
        let answer = server.send(request.header("content-type", "application/json")).await;
        assert!(answer.faults().len() <= 100);
        assert!(answer.text.len() < 100_000, "{} bytes came back", answer.text.len());
    }
}

async fn a_query_of_thousands_of_faults_is_told_a_hundred(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    for many in ["&a".repeat(12_000), (0..5_000).map(|place| format!("&{place}")).collect()] {
        let answer = server.get(&admin, &format!("/api/v1/agents?{many}")).await;
        answer.assert_error(400, "VALIDATION_ERROR");
        assert_eq!(answer.faults().len(), 100);
    }
}

async fn what_is_framed_in_two_ways_is_answered_at_most_once(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let smuggled = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    for headers in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "content-length: 0x5",
        "content-length: -1",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "x: a\r\n b",
        "x: a\0b",
        "x\u{7f}: a",
    ] {
        let request =
            format!("POST /api/v1/token HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n0\r\n\r\n{smuggled}");
        let answer = exchange(&server, request.as_bytes()).await;
        assert!(matches!(statuses(&answer)[..], ["400"]), "{headers}: {answer}");
        assert!(!answer.contains("\"status\":\"ok\""), "{headers}: the second request was served");
        assert!(!answer.contains(" 500 "), "{headers}");
    }
    let overflow = format!(
        "POST /api/v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}"
    );
    assert!(!exchange(&server, overflow.as_bytes()).await.contains("\"status\":\"ok\""));
}

async fn http_2_is_not_spoken_and_a_huge_head_is_refused(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let answer = exchange(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(!answer.starts_with('\0') && statuses(&answer).iter().all(|status| *status == "400"), "{answer}");
    let huge = format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(40 * 1024));
    assert_eq!(statuses(&exchange(&server, huge.as_bytes()).await), ["431"]);
    let large = format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20 * 1024));
    assert_eq!(statuses(&exchange(&server, large.as_bytes()).await), ["200"]);
}

async fn every_path_that_is_none_is_a_404_in_json(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    for path in [
        "//",
        "/api/v1//agents",
        "/api/v1/agents/",
        "/api/v1/./agents",
        "/api/v1/agents/../agents",
        "/API/V1/agents",
        "/api/v1/%2e%2e/agents",
        "/api/v1/agents%00",
        "/api/v1/agents;x=1",
        "/%ff",
        "/docs/",
        "/api",
        "/health/",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(&server, request.as_bytes()).await;
        assert_eq!(statuses(&answer), ["404"], "{path}: {answer}");
        assert!(
            answer.contains("\"code\":\"NOT_FOUND\"") && answer.contains("application/json"),
            "{path}: {answer}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "x".repeat(8_000));
    assert_eq!(statuses(&exchange(&server, long.as_bytes()).await), ["404"]);
    let absolute = "GET http://elsewhere.example/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(statuses(&exchange(&server, absolute.as_bytes()).await), ["200"]);
}

async fn a_method_that_a_path_does_not_take_is_told_those_that_it_does(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    for (method, path, allow) in [
        (Method::GET, "/api/v1/token", "POST"),
        (Method::PUT, "/api/v1/token", "POST"),
        (Method::HEAD, "/api/v1/token", "POST"),
        (Method::DELETE, "/api/v1/token", "POST"),
        (Method::OPTIONS, "/api/v1/token", "POST"),
        (Method::TRACE, "/api/v1/token", "POST"),
        (Method::PUT, "/api/v1/agents", "GET, HEAD, POST"),
        (Method::POST, "/api/v1/agents/x", "DELETE, GET, HEAD, PATCH"),
        (Method::POST, "/docs", "GET, HEAD"),
        (Method::POST, "/health", "GET, HEAD"),
    ] {
        let answer = server.send(server.request(method.clone(), path)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        if method != Method::HEAD {
            assert_eq!(answer.code(), "METHOD_NOT_ALLOWED");
        }
    }
}

async fn a_request_id_is_taken_if_it_is_harmless_and_made_if_not(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let with = |id: &[u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(id).expect("a value");
        server.request(Method::GET, "/api/v1/agents").header("x-request-id", value)
    };
    let answer = server.send(with(b"Harmless.id_1-2")).await;
    assert_eq!(answer.header("x-request-id"), Some("Harmless.id_1-2"));
    assert_eq!(answer.json()["requestId"], "Harmless.id_1-2");
    for wrong in [&b""[..], b"a b", b"<script>", &[b'x'; 65], b"\xc3\xa9", b"a\tb", b"%0d%0a"] {
        let answer = server.send(with(wrong)).await;
        let made = answer.header("x-request-id").expect("an id");
        assert!(made.len() == 36 && answer.json()["requestId"] == made, "{wrong:?}");
    }
    let twice = with(b"a").header("x-request-id", "b");
    assert_eq!(server.send(twice).await.header("x-request-id").map(str::len), Some(36));
}

async fn a_user_agent_of_any_bytes_is_kept_as_readable_text(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let agent = reqwest::header::HeaderValue::from_bytes(&[&b"a\xff\t"[..], &[b'x'; 2000]].concat());
    let request =
        server.request(Method::POST, "/api/v1/agents").bearer_auth(&admin).json(&new_agent(&["files:read"]));
    server.send(request.header("user-agent", agent.expect("a value"))).await;
    let event = server.events(&admin, "&action=agent.created").await[0].clone();
    let kept = event["userAgent"].as_str().expect("text");
    assert!(kept.starts_with("a\u{fffd}x") && kept.len() <= 512);
}

async fn scripts_of_named_origins_may_call_and_of_no_others(wiring: Wiring) {
    let server =
        TestServer::start_with(wiring, &["--cors-origin", "https://ok.example,http://localhost:5173"]).await;
    let preflight = |origin: &str| {
        let request = server.request(Method::OPTIONS, "/api/v1/agents").header("origin", origin);
        request.header("access-control-request-method", "POST")
    };
    let allowed = server.http.execute(preflight("https://ok.example").build().expect("a request")).await;
    let allowed = allowed.expect("an answer");
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://ok.example");
    let simple = server.request(Method::GET, "/health").header("origin", "http://localhost:5173");
    assert_eq!(
        server.send(simple).await.header("access-control-allow-origin"),
        Some("http://localhost:5173")
    );
    for origin in ["https://ok.example.evil", "https://OK.example", "http://ok.example", "null", "*", ""] {
        let answer = server.send(preflight(origin)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
    let headers = allowed.headers()["access-control-allow-headers"].to_str().expect("text");
    for name in ["authorization", "content-type", "dpop", "mcp-protocol-version", "x-request-id"] {
        assert!(headers.split(", ").any(|allowed| allowed == name), "{name}: {headers}");
    }
    let closed = TestServer::start(wiring).await;
    let answer =
        closed.send(closed.request(Method::GET, "/health").header("origin", "https://ok.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

/// A script needs them before it can know any origin's agreement, and they have no secret.
async fn scripts_of_any_origin_may_read_the_public_metadata_and_nothing_else(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource",
    ] {
        for origin in ["https://any.example", "null"] {
            let answer = server.send(server.request(Method::GET, path).header("origin", origin)).await;
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
            let preflight = server
                .request(Method::OPTIONS, path)
                .header("origin", origin)
                .header("access-control-request-method", "GET")
                .header("access-control-request-headers", "mcp-protocol-version");
            let answer = server.send(preflight).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
            assert!(
                answer.header("access-control-allow-headers").is_some_and(|names| names.contains("mcp-"))
            );
        }
        let answer = server.send(server.request(Method::GET, path)).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    for path in ["/health", "/openapi.json", "/api/v1/agents", "/.well-known", "/x/.well-known/jwks.json"] {
        let answer =
            server.send(server.request(Method::GET, path).header("origin", "https://any.example")).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

/// Refusals are delayed to a multiple of 5 ms.
/// An unknown client or agent is rejected sooner than a known one, and timing must not reveal that.
async fn what_there_is_cannot_be_told_by_how_fast_a_refusal_comes(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let nobody = Client {
        id: "01920000-0000-7000-8000-000000000000".to_owned(),
        secret: server.administrator().secret,
        credential: String::new(),
    };
    for _ in 0..5 {
        let asked = Instant::now();
        server.ask_token(&nobody, &[]).await.assert_error(401, "invalid_client");
        assert!(asked.elapsed() >= Duration::from_millis(5));
        let asked = Instant::now();
        server
            .get(&admin, &format!("/api/v1/agents/{}", nobody.id))
            .await
            .assert_error(404, "AGENT_NOT_FOUND");
        assert!(asked.elapsed() >= Duration::from_millis(5));
    }
    let strict = TestServer::start_with(wiring, &["--address-requests-per-minute", "1"]).await;
    let mut looked_up = 0;
    for _ in 0..10 {
        let asked = Instant::now();
        let answer = strict.ask_token(&nobody, &[]).await;
        assert!(asked.elapsed() >= Duration::from_millis(5));
        looked_up += usize::from(answer.status != StatusCode::TOO_MANY_REQUESTS);
    }
    // One request is looked up, and one more for each instance that could not reach Redis in time.
    assert!(looked_up <= 3, "{looked_up}");
}

async fn a_change_outlives_the_caller_that_asked_for_it(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--bcrypt-cost", "12"]).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    for round in 1..=8_u64 {
        let body = json!({}).to_string();
        let request = format!(
            "POST /api/v1/agents/{agent}/credentials HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {admin}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let mut stream = TcpStream::connect(server.service.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        // One answer later, the request above has reached its task; hashing the secret takes much longer.
        server.send(server.request(Method::GET, "/health")).await;
        // Without lingering, closing resets the connection while the secret is being hashed.
        stream.set_zero_linger().expect("an option");
        drop(stream);
        let made = async {
            loop {
                let listed = server.get(&admin, &format!("/api/v1/agents/{agent}/credentials")).await.json();
                if listed["total"].as_u64() == Some(round) {
                    return;
                }
            }
        };
        let made = tokio::time::timeout(Duration::from_secs(60), made).await;
        made.unwrap_or_else(|_| panic!("the change of round {round} was lost"));
        let events = server.events(&admin, "&action=credential.generated").await;
        let noted = events.iter().filter(|event| event["metadata"]["agentId"] == agent.as_str()).count();
        assert_eq!(noted as u64, round, "and it has its event");
    }
}

async fn what_is_under_way_at_the_end_finishes(wiring: Wiring) {
    let server = TestServer::start_with(wiring, &["--bcrypt-cost", "10"]).await;
    let admin = server.admin_token().await;
    let agent = server.agent(&admin, None, &["files:read"]).await;
    let path = format!("/api/v1/agents/{agent}/credentials");
    let (answer, ()) = tokio::join!(server.post(&admin, &path, json!({})), async {
        // The request has a head start of one answer.
        server.get(&admin, "/api/v1/agents").await;
        server.service.end().await;
    });
    assert_eq!(answer.status, StatusCode::CREATED);
}

async fn probes_are_told_of_the_end_before_it_comes(wiring: Wiring) {
    // A separate address, so that no other process takes the port once it is free.
    let server = TestServer::start_with(wiring, &["--host", "127.77.0.2"]).await;
    let ready = || server.request(Method::GET, "/health/ready");
    assert_eq!(server.send(ready()).await.json()["status"], "ok");
    assert_eq!(server.send(server.request(Method::GET, "/health")).await.json(), json!({ "status": "ok" }));
    let idle = TcpStream::connect(server.service.address).await.expect("a connection");
    tokio::time::timeout(Duration::from_secs(30), server.service.end())
        .await
        .expect("an idle connection is closed");
    assert!(TcpStream::connect(server.service.address).await.is_err(), "no new ones are taken");
    drop(idle);
}

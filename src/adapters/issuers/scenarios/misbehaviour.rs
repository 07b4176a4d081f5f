//! Servers that misbehave in every way.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use ports::issuer_keys::KeysUnavailable;
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::super::fetch::{UNREACHABLE, WRONG_ANSWER};
use super::certificates;
use super::server::{Answer, Server, Then};
use super::{Fixture, ids_of, jwks_uri, set};

const LOOPBACK: &[&str] = &["127.0.0.1/32"];

/// Buffers of the system for a connection, and the most that is read.
const MAX_SENT: usize = 16 * 1024 * 1024;

fn keys(count: usize) -> String {
    set(&vec!["a"; count]).to_string()
}

fn chunked(chunks: &[&str]) -> Answer {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    Answer::raw(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"))
}

fn ok(headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body.as_ref());
    Answer::raw(bytes)
}

fn status(line: &str) -> Answer {
    let body = keys(1);
    Answer::raw(format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

struct Case {
    name: &'static str,
    server: Server,
    scheme: &'static str,
    sentence: &'static str,
}

async fn plain(name: &'static str, sentence: &'static str, answer: Answer) -> Case {
    Case { name, server: Server::start(answer).await, scheme: "http", sentence }
}

async fn https(name: &'static str, tls: Option<TlsAcceptor>, speaks_first: bool, answer: Answer) -> Case {
    let server = Server::start_on("127.0.0.1", 0, tls, speaks_first, answer).await;
    Case { name, server, scheme: "https", sentence: UNREACHABLE }
}

async fn cases() -> Vec<Case> {
    let good = || Answer::ok(keys(1));
    let repeat = |answer: Answer, bytes| answer.then(Then::Repeat(bytes));
    let deep = "[".repeat(200_000);
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0x56, 0xca, 0x4e, 0xad, 0x2c, 0x56, 0xb2, 0x8a];
    let answers = vec![
        ("closes at once", UNREACHABLE, Answer::raw("")),
        ("never answers", UNREACHABLE, Answer::raw("").then(Then::Hold)),
        ("drips its head", UNREACHABLE, Answer::raw("HTTP/1.1 200 OK\r\nx:").then(Then::Drip)),
        ("drips its body", UNREACHABLE, ok("content-length: 999\r\n", "").then(Then::Drip)),
        ("stops in its head", UNREACHABLE, Answer::raw("HTTP/1.1 200 OK\r\nconte")),
        ("stops in its body", UNREACHABLE, ok("content-length: 999\r\n", keys(1))),
        ("holds its body", UNREACHABLE, ok("content-length: 999\r\n", keys(1)).then(Then::Hold)),
        ("stops between chunks", UNREACHABLE, chunked(&[&keys(1)])),
        ("endless headers", WRONG_ANSWER, repeat(Answer::raw("HTTP/1.1 200 OK\r\n"), b"x: y\r\n")),
        ("one endless header", WRONG_ANSWER, repeat(Answer::raw("HTTP/1.1 200 OK\r\nx: "), &[b'x'; 4096])),
        ("endless first line", WRONG_ANSWER, repeat(Answer::raw("HTTP/1.1 200 "), &[b'x'; 4096])),
        ("endless body", WRONG_ANSWER, repeat(ok("", ""), &[b' '; 4096])),
        ("endless chunks", WRONG_ANSWER, repeat(chunked(&[]), b"20\r\n                                \r\n")),
        ("endless long body", WRONG_ANSWER, repeat(ok("content-length: 99999999999\r\n", ""), &[b' '; 4096])),
        ("endless chunk size", UNREACHABLE, repeat(chunked(&[]), b"0")),
        ("large body", WRONG_ANSWER, padded(256 * 1024 + 1)),
        ("Content-Length too small", WRONG_ANSWER, ok("content-length: 5\r\n", keys(1))),
        (
            "two values of Content-Length",
            WRONG_ANSWER,
            ok("content-length: 5\r\ncontent-length: 6\r\n", keys(1)),
        ),
        ("Content-Length no number", WRONG_ANSWER, ok("content-length: x\r\n", keys(1))),
        ("wrong chunk size", UNREACHABLE, ok("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")),
        ("no content", WRONG_ANSWER, Answer::raw("HTTP/1.1 204 No Content\r\n\r\n")),
        ("created", WRONG_ANSWER, status("201 Created")),
        ("not modified", WRONG_ANSWER, status("304 Not Modified")),
        ("partial content", WRONG_ANSWER, status("206 Partial Content")),
        ("not found", WRONG_ANSWER, status("404 Not Found")),
        ("server error", WRONG_ANSWER, status("500 Internal Server Error")),
        ("switches protocols", WRONG_ANSWER, status("101 Switching Protocols\r\nupgrade: x")),
        ("status 999", WRONG_ANSWER, status("999 x")),
        ("gzip", WRONG_ANSWER, Answer::with(&["content-encoding: gzip"], gzip)),
        (
            "HTML",
            WRONG_ANSWER,
            Answer::with(&["content-type: text/html"], "<!doctype html><title>keys</title>"),
        ),
        ("empty", WRONG_ANSWER, Answer::ok("")),
        ("deep JSON", WRONG_ANSWER, Answer::ok(deep)),
        ("invalid UTF-8", WRONG_ANSWER, Answer::ok(b"{\"keys\":[{\"kid\":\"\xff\"}]}")),
        ("JSON that is no set", WRONG_ANSWER, Answer::json(&json!({ "keys": {} }))),
        ("JSON of another type", WRONG_ANSWER, Answer::ok("7")),
        ("a second document", WRONG_ANSWER, Answer::ok(format!("{0}{0}", keys(1)))),
        ("101 keys", WRONG_ANSWER, Answer::ok(keys(101))),
        ("many keys", WRONG_ANSWER, Answer::ok(format!("{{\"keys\":[{}0]}}", "0,".repeat(120_000)))),
        ("HTTP/0.9", WRONG_ANSWER, Answer::raw(keys(1))),
        (
            "HTTP/2",
            WRONG_ANSWER,
            Answer::raw(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff"),
        ),
        ("HTTP/3.0 in its first line", WRONG_ANSWER, Answer::raw("HTTP/3.0 200 OK\r\n\r\n{}")),
        ("another protocol", WRONG_ANSWER, Answer::raw("SSH-2.0-OpenSSH_9.9\r\n")),
    ];
    let mut cases =
        join_all(answers.into_iter().map(|(name, sentence, answer)| plain(name, sentence, answer))).await;
    let early = Answer::raw("HTTP/1.1 100 Continue\r\n\r\n");
    cases.push(
        plain("endless early answers", UNREACHABLE, repeat(early, b"HTTP/1.1 100 Continue\r\n\r\n")).await,
    );
    for name in ["other authority", "other host", "expired"] {
        cases.push(https(name, Some(certificates::server(name)), false, good()).await);
    }
    cases.push(https("TLS that stalls", None, false, good()).await);
    cases.push(https("plain HTTP on the port of TLS", None, true, good()).await);
    cases.push(https("closes before TLS", None, true, Answer::raw("")).await);
    cases
        .push(https("endless TLS", None, true, repeat(Answer::raw(b"\x16\x03\x03\x40\0"), &[0; 4096])).await);
    let stalls = Answer::raw("").then(Then::Hold);
    cases.push(https("never answers over TLS", Some(certificates::server("right")), false, stalls).await);
    cases.push(
        https("closes at once over TLS", Some(certificates::server("right")), false, Answer::raw("")).await,
    );
    cases
}

/// Answers with a set that spaces make this many bytes long.
fn padded(bytes: usize) -> Answer {
    let set = keys(1);
    let spaces = " ".repeat(bytes - set.len());
    Answer::ok(set + &spaces)
}

async fn check(case: Case) {
    let Case { name, server, scheme, sentence } = case;
    let source = jwks_uri(&format!("{scheme}://127.0.0.1:{}/keys", server.port));
    let fixture = Fixture::new(LOOPBACK);
    let begun = Instant::now();
    let keys = fixture.fetch(&source, None).await;
    assert!(begun.elapsed() < Duration::from_millis(3_900), "{name}: {:?}", begun.elapsed());
    assert_eq!(keys, Err(KeysUnavailable { retry_after: 30 }), "{name}");
    assert_eq!(fixture.error(&source), Some(sentence), "{name}");
    assert!(server.sent() < MAX_SENT, "{name}: {} bytes", server.sent());
    assert_eq!(server.connections(), 1, "{name}");
}

#[tokio::test]
async fn a_server_that_misbehaves_fails_within_three_seconds_and_takes_no_memory() {
    join_all(cases().await.into_iter().map(check)).await;
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let elsewhere = Server::start(Answer::ok(keys(1))).await;
    for code in [301, 302, 303, 307, 308] {
        let server = Server::start(Answer::raw("")).await;
        let fixture = Fixture::new(&["127.0.0.0/8"]);
        for url in [server.url(), elsewhere.url(), "http://169.254.169.254/".to_owned(), "/keys".to_owned()] {
            server.answer(Answer::raw(format!(
                "HTTP/1.1 {code} x\r\nlocation: {url}\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
            )));
            let source = jwks_uri(&server.url());
            assert!(fixture.fetch(&source, None).await.is_err(), "{code} {url}");
            assert_eq!(fixture.error(&source), Some(WRONG_ANSWER), "{code} {url}");
            fixture.clock.pass(30_000);
        }
        assert_eq!(server.count(), 4, "one request for each attempt");
        assert!(server.requests().iter().all(|head| !head.contains("ookie")), "no cookies are sent");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn every_well_formed_answer_is_accepted_with_any_type() {
    let body = keys(1);
    let hundred = keys(100);
    let (left, right) = body.split_at(7);
    let mut chunks = vec![left, right];
    chunks.extend(std::iter::repeat_n(" ", 1_000));
    chunks.push("");
    let early = Answer::raw(format!("HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{body}"));
    for (name, count, answer) in [
        ("no type", 1, Answer::ok(&body)),
        ("type of HTML", 1, Answer::with(&["content-type: text/html"], &body)),
        ("type in error", 1, Answer::with(&["content-type: ;;"], &body)),
        ("until the end", 1, ok("", &body)),
        ("HTTP/1.0", 1, Answer::raw(format!("HTTP/1.0 200 OK\r\n\r\n{body}"))),
        ("chunks", 1, chunked(&chunks)),
        ("early hints", 1, early),
        ("100 keys", 100, Answer::ok(&hundred)),
        ("256 KB", 1, padded(256 * 1024)),
        ("holds the connection", 1, Answer::ok(&body).then(Then::Hold)),
        (
            "more than Content-Length",
            1,
            ok(&format!("content-length: {}\r\n", body.len()), body.clone() + "more"),
        ),
        ("unusable keys only", 0, Answer::json(&json!({ "keys": [1, { "kty": "oct", "k": "AA" }] }))),
    ] {
        let server = Server::start(answer).await;
        let source = jwks_uri(&server.url());
        let fixture = Fixture::new(LOOPBACK);
        let found = fixture.fetch(&source, None).await.unwrap_or_else(|_| panic!("{name}"));
        assert_eq!(ids_of(&found).len(), count, "{name}");
        assert_eq!(fixture.error(&source), None, "{name}");
    }
}

#[tokio::test]
async fn a_request_has_the_headers_that_it_needs_and_no_others() {
    let server = Server::start(Answer::ok(keys(1))).await;
    let url = format!("http://localhost:{}/a/../b%2f?v=1&w", server.port);
    Fixture::new(LOOPBACK).fetch(&jwks_uri(&url), None).await.expect("keys");
    let expected = format!(
        "GET /a/../b%2f?v=1&w HTTP/1.1\r\nhost: localhost:{}\r\naccept: application/json, */*;q=0.1\r\n\
         user-agent: agentidp\r\nconnection: close\r\n\r\n",
        server.port
    );
    assert_eq!(server.requests(), [expected]);
}

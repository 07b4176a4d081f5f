//! Lists, their filters and their cursors.

use Expected::{AnyOf, Done, Refused};
use serde_json::json;
use testing::UNKNOWN_ID;

use crate::fixtures::Fixtures;
use crate::wire::{Expected, Row, request, try_all};

const WRONG: Expected = Refused(400, "VALIDATION_ERROR");

#[tokio::test]
async fn every_query_is_read_strictly() {
    rows(&Fixtures::in_memory().await).await;
}

#[tokio::test]
async fn every_query_is_read_strictly_on_two_instances() {
    rows(&Fixtures::on_stores().await).await;
}

async fn rows(fixtures: &Fixtures) {
    for _ in 0..3 {
        fixtures.client(&["files:read"], None).await;
    }
    let organization = fixtures.organization(json!({})).await;
    let reader = fixtures.client(&["audit:read"], Some(&organization)).await;
    let other = fixtures.token_of(&reader, "audit:read").await;
    let page = fixtures.call("GET", "/audit?limit=2", "").await.json();
    let cursor = page["nextCursor"].as_str().expect("there is more").to_owned();
    let changed = |place: usize| {
        let with = if cursor.as_bytes()[place] == b'A' { "B" } else { "A" };
        format!("{}{with}{}", &cursor[..place], &cursor[place + 1..])
    };
    let bearer = format!("Bearer {}", fixtures.admin);
    let (wrong, long) = (WRONG, "a".repeat(10_000));
    let queries: Vec<(String, Expected)> = vec![
        ("/audit".into(), Done),
        (format!("/audit?limit=2&cursor={cursor}"), Done),
        (format!("/audit?limit=3&cursor={cursor}"), AnyOf(&[200, 400])),
        (format!("/audit?action=token.issued&cursor={cursor}"), wrong),
        (format!("/audit?outcome=failure&cursor={cursor}"), wrong),
        (format!("/audit?cursor={}", &cursor[..cursor.len() - 1]), wrong),
        (format!("/audit?cursor={}", changed(0)), wrong),
        (format!("/audit?cursor={}", changed(cursor.len() / 2)), wrong),
        (format!("/audit?cursor={}", changed(cursor.len() - 2)), wrong),
        (format!("/audit?cursor={cursor}{cursor}"), wrong),
        (format!("/audit?cursor={cursor}&cursor={cursor}"), wrong),
        ("/audit?cursor=JyBPUiAxPTEgLS0".into(), wrong),
        (format!("/audit?cursor={long}"), wrong),
        ("/audit?cursor=".into(), AnyOf(&[200, 400])),
        ("/audit?limit=0".into(), wrong),
        ("/audit?limit=201".into(), wrong),
        ("/audit?limit=-1".into(), wrong),
        ("/audit?limit=1e2".into(), wrong),
        ("/audit?limit=99999999999999999999".into(), wrong),
        ("/audit?limit=%31".into(), Done),
        ("/audit?limit=1&limit=2".into(), wrong),
        ("/audit?action=TOKEN.ISSUED".into(), wrong),
        ("/audit?action=nothing".into(), wrong),
        ("/audit?action=token.issued'--".into(), wrong),
        ("/audit?outcome=maybe".into(), wrong),
        ("/audit?resourceType=table".into(), wrong),
        ("/audit?resourceId=x".into(), wrong),
        ("/audit?agentId=x".into(), wrong),
        (format!("/audit?agentId={UNKNOWN_ID}"), Done),
        ("/audit?fromDate=2026-01-02T00:00:00Z&toDate=2026-01-01T00:00:00Z".into(), wrong),
        ("/audit?fromDate=2026-01-01T00:00:00Z&toDate=2026-01-01T00:00:00Z".into(), AnyOf(&[200, 400])),
        ("/audit?fromDate=2026-01-01".into(), AnyOf(&[200, 400])),
        ("/audit?fromDate=2026-01-01T00:00:00".into(), wrong),
        ("/audit?fromDate=300000-01-01T00:00:00Z".into(), wrong),
        ("/audit?fromDate=-1000-01-01T00:00:00Z".into(), wrong),
        ("/audit?fromDate=2026-02-30T00:00:00Z".into(), wrong),
        ("/audit?fromDate=0001-01-01T00:00:00Z".into(), Done),
        ("/audit?toDate=9999-12-31T23:59:59.999Z".into(), Done),
        ("/audit?fromDate=now".into(), wrong),
        ("/audit?unknown=1".into(), wrong),
        ("/audit?%00=1".into(), wrong),
        ("/audit?limit=%ff".into(), wrong),
        ("/audit?organizationId=x".into(), AnyOf(&[200, 400, 404])),
        (format!("/audit?organizationId={organization}"), Done),
        ("/agents?page=0".into(), wrong),
        ("/agents?page=-1".into(), wrong),
        ("/agents?page=4294967296".into(), AnyOf(&[200, 400])),
        ("/agents?page=18446744073709551616".into(), wrong),
        ("/agents?page=4294967295&limit=100".into(), AnyOf(&[200, 400])),
        ("/agents?limit=101".into(), wrong),
        ("/agents?owner=".into(), AnyOf(&[200, 400])),
        ("/agents?owner=%25".into(), Done),
        ("/agents?owner=a%00b".into(), wrong),
        ("/agents?owner=';DROP%20TABLE%20agents;--".into(), Done),
        ("/agents?agentType=any".into(), wrong),
        ("/agents?status=unknown".into(), wrong),
        ("/agents?status=active&status=suspended".into(), wrong),
        ("/agents?limit=5;limit=6".into(), wrong),
        ("/organizations?page=2&limit=100".into(), Done),
        ("/organizations?plan=free".into(), wrong),
        ("/usage?clientId=x".into(), AnyOf(&[400, 404])),
        (format!("/usage?clientId={UNKNOWN_ID}"), AnyOf(&[404])),
        ("/usage?month=2026-01".into(), wrong),
    ];
    let mut rows: Vec<Row> = queries
        .into_iter()
        .map(|(query, expected)| Row {
            name: query.chars().take(80).collect(),
            request: request(&format!("GET /api/v1{query}"), &[("Authorization", &bearer)], b""),
            expected,
        })
        .collect();
    let others = format!("Bearer {other}");
    let stolen =
        request(&format!("GET /api/v1/audit?limit=2&cursor={cursor}"), &[("Authorization", &others)], b"");
    rows.push(Row { name: "another's cursor".to_owned(), request: stolen, expected: WRONG });
    try_all(fixtures, rows).await;
}

//! The form of the token endpoint.

use Expected::{AnyOf, Done, Refused};
use testing::basic_auth;

use crate::fixtures::Fixtures;
use crate::wire::{Expected, FORM, Row, ask, request, try_all};

const INVALID: Expected = Refused(400, "invalid_request");
const SCOPE: Expected = Refused(400, "invalid_scope");
const TARGET: Expected = Refused(400, "invalid_target");

#[tokio::test]
async fn every_form_is_answered_as_oauth_has_it() {
    let fixtures = Fixtures::in_memory().await;
    let organization = fixtures.organization(serde_json::json!({})).await;
    let client = fixtures.client(&["files:read", "files:write", "agents:read"], Some(&organization)).await;
    let authorization = basic_auth(&client.id, &client.secret);
    let huge_scope = format!("grant_type=client_credentials&scope={}", "files:read+".repeat(9_000));
    let many_scopes = format!("grant_type=client_credentials&scope={}", "a:b+".repeat(20_000));
    let long_resource =
        format!("grant_type=client_credentials&resource=https://{}.example.com", "a".repeat(10_000));
    let many_parameters = format!("grant_type=client_credentials&{}", "x=1&".repeat(50_000));
    let bodies: Vec<(&str, &[u8], Expected)> = vec![
        ("a plain one", b"grant_type=client_credentials", Done),
        ("unknown parameters, repeated too", b"grant_type=client_credentials&x=1&x=2&y", Done),
        ("very many unknown parameters", many_parameters.as_bytes(), Done),
        ("an empty scope", b"grant_type=client_credentials&scope=", Done),
        ("an empty resource", b"grant_type=client_credentials&resource=", Done),
        ("a scope that it has", b"grant_type=client_credentials&scope=files:read", Done),
        ("two scopes that it has", b"grant_type=client_credentials&scope=files:read+files:write", Done),
        ("a resource of its organization", b"grant_type=client_credentials&resource=https%3A%2F%2Fapi.example.com", Done),
        ("nothing", b"", INVALID),
        ("no grant type", b"scope=files:read", INVALID),
        ("an empty grant type", b"grant_type=", INVALID),
        ("the grant type twice, the same", b"grant_type=client_credentials&grant_type=client_credentials", INVALID),
        ("the grant type twice, another", b"grant_type=client_credentials&grant_type=password", INVALID),
        ("the grant type in capitals", b"grant_type=CLIENT_CREDENTIALS", Refused(400, "unsupported_grant_type")),
        ("the password grant", b"grant_type=password&username=a&password=b", Refused(400, "unsupported_grant_type")),
        ("a refresh token", b"grant_type=refresh_token&refresh_token=x", Refused(400, "unsupported_grant_type")),
        ("token exchange without a token", b"grant_type=urn:ietf:params:oauth:grant-type:token-exchange", INVALID),
        ("the scope twice", b"grant_type=client_credentials&scope=files:read&scope=files:read", INVALID),
        ("the client's id twice", b"grant_type=client_credentials&client_id=a&client_id=a", INVALID),
        ("the secret twice", b"grant_type=client_credentials&client_secret=a&client_secret=b", INVALID),
        ("the assertion twice", b"grant_type=client_credentials&client_assertion=a&client_assertion=a", INVALID),
        ("two spaces between scopes", b"grant_type=client_credentials&scope=files:read++files:write", SCOPE),
        ("a space before the scope", b"grant_type=client_credentials&scope=+files:read", SCOPE),
        ("a space after the scope", b"grant_type=client_credentials&scope=files:read+", SCOPE),
        ("a tab in the scope", b"grant_type=client_credentials&scope=files:read%09files:write", SCOPE),
        ("a line end in the scope", b"grant_type=client_credentials&scope=files:read%0Afiles:write", SCOPE),
        ("a quote in the scope", b"grant_type=client_credentials&scope=files:read%22", SCOPE),
        ("a backslash in the scope", b"grant_type=client_credentials&scope=files%5Cread", SCOPE),
        ("a scope beyond ASCII", b"grant_type=client_credentials&scope=files:re%C3%A4d", SCOPE),
        ("the same scope twice in one", b"grant_type=client_credentials&scope=files:read+files:read", AnyOf(&[200, 400])),
        ("a scope that it has not", b"grant_type=client_credentials&scope=files:delete", SCOPE),
        ("a management scope that it has not", b"grant_type=client_credentials&scope=admin:orgs", SCOPE),
        ("one that it has and one that it has not", b"grant_type=client_credentials&scope=files:read+admin:orgs", SCOPE),
        ("every scope there is", b"grant_type=client_credentials&scope=*", SCOPE),
        ("every action of a resource", b"grant_type=client_credentials&scope=files:*", SCOPE),
        ("a scope in capitals", b"grant_type=client_credentials&scope=FILES:READ", SCOPE),
        ("a scope with a NUL in it", b"grant_type=client_credentials&scope=files:read%00", INVALID),
        ("a scope of a hundred thousand bytes", huge_scope.as_bytes(), SCOPE),
        ("twenty thousand scopes", many_scopes.as_bytes(), SCOPE),
        ("a percent sign alone", b"grant_type=client_credentials&scope=%", INVALID),
        ("a percent sign and no digits", b"grant_type=client_credentials&scope=%zz", INVALID),
        ("half a percent escape", b"grant_type=client_credentials&scope=files:read%4", INVALID),
        ("no UTF-8", b"grant_type=client_credentials&scope=%ff%fe", INVALID),
        ("no UTF-8, unescaped", b"grant_type=client_credentials&scope=\xff\xfe", INVALID),
        ("an overlong NUL", b"grant_type=client_credentials&scope=%c0%80", INVALID),
        ("a surrogate", b"grant_type=client_credentials&scope=%ed%a0%80", INVALID),
        ("a resource twice", b"grant_type=client_credentials&resource=https://api.example.com&resource=https://api.example.com", AnyOf(&[400])),
        ("two resources", b"grant_type=client_credentials&resource=https://api.example.com&resource=https://b.example.com", TARGET),
        ("a resource that its organization does not list", b"grant_type=client_credentials&resource=https://evil.example.com", TARGET),
        ("a resource with a slash more, which RFC 3986 takes for the same", b"grant_type=client_credentials&resource=https://api.example.com/", Done),
        ("a resource with a fragment", b"grant_type=client_credentials&resource=https://api.example.com%23a", TARGET),
        ("a relative resource", b"grant_type=client_credentials&resource=/api", TARGET),
        ("a resource of ten thousand bytes", long_resource.as_bytes(), TARGET),
        ("a management scope for a resource", b"grant_type=client_credentials&resource=https://api.example.com&scope=agents:read", SCOPE),
        ("JSON where a form should be", b"{\"grant_type\":\"client_credentials\"}", INVALID),
        ("a byte order mark", b"\xef\xbb\xbfgrant_type=client_credentials", INVALID),
        ("semicolons between", b"grant_type=client_credentials;scope=files:read", Refused(400, "unsupported_grant_type")),
        ("a name that is escaped", b"%67rant_type=client_credentials", Done),
    ];
    let mut rows: Vec<Row> = bodies
        .into_iter()
        .map(|(name, body, expected)| {
            let headers = [("Authorization", authorization.as_str()), FORM];
            Row { name: name.to_owned(), request: request("POST /api/v1/token", &headers, body), expected }
        })
        .collect();
    let plain = b"grant_type=client_credentials";
    for (media, expected) in [
        ("application/x-www-form-urlencoded;charset=UTF-8", Done),
        ("application/x-www-form-urlencoded; charset=utf-8", Done),
        ("APPLICATION/X-WWW-FORM-URLENCODED", Done),
        ("application/x-www-form-urlencoded; charset=ISO-8859-1", Done),
        ("application/x-www-form-urlencoded; charset=\"us-ascii\"", Done),
        ("application/x-www-form-urlencoded; charset=bogus", Done),
        ("application/x-www-form-urlencoded;", Done),
        ("application/x-www-form-urlencoded; ;charset=utf-8;", Done),
        ("application/x-www-form-urlencoded-not", INVALID),
        ("x-application/x-www-form-urlencoded", INVALID),
        ("application/json", INVALID),
        ("multipart/form-data; boundary=x", INVALID),
        ("text/plain", INVALID),
        ("", INVALID),
    ] {
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", media)];
        let request = request("POST /api/v1/token", &headers, plain);
        rows.push(Row { name: format!("media type {media:?}"), request, expected });
    }
    for query in
        ["client_id=a", "client_secret=aidp_sk_x", "grant_type=client_credentials", "scope=files:read"]
    {
        let headers = [("Authorization", authorization.as_str()), FORM];
        let request = request(&format!("POST /api/v1/token?{query}"), &headers, plain);
        rows.push(Row { name: format!("the query {query}"), request, expected: INVALID });
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let request = request(&format!("{method} /api/v1/token"), &[], b"");
        rows.push(Row { name: method.to_owned(), request, expected: AnyOf(&[405]) });
    }
    try_all(&fixtures, rows).await;
}

#[tokio::test]
async fn a_success_has_all_that_rfc_6749_wants_and_no_more() {
    let fixtures = Fixtures::in_memory().await;
    let client = fixtures.client(&["files:read"], None).await;
    let answer = fixtures.ask_token(&client, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    let body = answer.json();
    let names: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["access_token", "token_type", "expires_in", "scope"], "no refresh token");
    assert_eq!(body["token_type"], "Bearer");
    let wrong = ask(fixtures.address(), &request("GET /api/v1/token", &[], b"")).await;
    assert_eq!(wrong.header("allow"), Some("POST"));
}

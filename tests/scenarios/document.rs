use std::collections::HashSet;

use agentidp::adapters::http::{openapi, yaml};
use agentidp::app::{client_auth, token};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use testing::{TestServer, Wiring, operations};

use crate::scenarios::scenarios;

scenarios!(every_wiring [
    the_examples_of_the_document_work_when_they_are_pasted,
]);
scenarios!(stateless [
    the_document_and_its_page_need_nothing_from_elsewhere,
]);

#[test]
fn the_checked_in_document_is_that_of_the_code() {
    let document = openapi("");
    let hint = "run scripts/openapi";
    assert!(include_str!("../../openapi/openapi.yaml") == yaml(&document), "{hint}");
    assert!(include_str!("../../openapi/openapi.json") == format!("{document:#}\n"), "{hint}");
}

#[test]
fn no_schema_has_what_generators_of_clients_refuse() {
    fn check(name: &str, schema: &Value, is_combined: bool) {
        let refers_to_itself = schema["$ref"].as_str().is_some_and(|to| to.rsplit('/').next() == Some(name));
        assert!(!(is_combined && refers_to_itself), "{name} refers to itself within allOf");
        for (key, value) in schema.as_object().into_iter().flatten() {
            // Generators take a member with a default for a required one.
            assert!(key != "default", "{name} has a default: {value}");
            let is_combined = is_combined || key == "allOf";
            match value {
                Value::Array(values) => values.iter().for_each(|one| check(name, one, is_combined)),
                one => check(name, one, is_combined),
            }
        }
    }
    let document = openapi("");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    assert!(schemas.len() > 20);
    for (name, schema) in schemas {
        check(name, schema, false);
    }
}

#[test]
fn every_operation_says_what_it_does_needs_and_answers() {
    let document = openapi("");
    for (method, path, operation) in operations() {
        let name = format!("{method} {path}");
        assert!(operation["operationId"].is_string(), "{name} has an id");
        for words in ["summary", "description"] {
            let is_said = operation[words].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_said, "{name} has a {words}");
        }
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            let is_described = response["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_described, "{name} describes {status}");
        }
        assert!(responses.keys().any(|status| status.starts_with('5')), "{name} may fail");
        let errors = responses.iter().filter(|(status, _)| status.starts_with(['4', '5']));
        let schemas: HashSet<_> =
            errors.map(|(_, response)| &response["content"]["application/json"]["schema"]["$ref"]).collect();
        assert!(schemas.len() == 1 && !schemas.contains(&Value::Null), "{name} has one named error");
        let body = &operation["requestBody"]["content"];
        for (media, content) in body.as_object().into_iter().flatten() {
            assert!(content.get("example").is_some(), "{name} has an example for {media}");
            let reference = content["schema"]["$ref"].as_str().expect("a named schema");
            let schema = reference.rsplit('/').next().expect("a name");
            let is_closed =
                document["components"]["schemas"][schema]["additionalProperties"] == Value::Bool(false);
            assert_eq!(
                is_closed,
                media.starts_with("application/json"),
                "{name} refuses unknown fields of JSON"
            );
        }
        let is_open =
            path.starts_with("/.well-known") || path.starts_with("/health") || path.ends_with("/authorize");
        let security = operation["security"].as_array().map(|list| !list.is_empty());
        assert_eq!(security, Some(!is_open), "{name} says whether it is open");
    }
}

async fn the_examples_of_the_document_work_when_they_are_pasted(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let admin = server.admin_token().await;
    let target = server.client(&admin, None, &["files:read"]).await;
    let organization = server.organization(&admin, serde_json::json!({})).await;
    for (method, path, operation) in operations() {
        let path = path
            .replace("{agentId}", &target.id)
            .replace("{credentialId}", &target.credential)
            .replace("{organizationId}", &organization);
        let path = server.with_issuer(&admin, path).await;
        for (media, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let example = &content["example"];
            let request = server.request(method.clone(), &path);
            let request = if media == "application/json" {
                request.bearer_auth(&admin).json(example)
            } else if path.ends_with("/token") {
                let administrator = server.administrator();
                request.basic_auth(administrator.id, Some(administrator.secret)).form(example)
            } else {
                request.bearer_auth(&admin).form(example)
            };
            let answer = server.send(request).await;
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        }
    }
}

/// Sends every value of every enum of a body or query that the document lists to its operation.
#[tokio::test]
async fn every_value_that_the_document_offers_is_accepted() {
    let server = TestServer::start(Wiring::Memory).await;
    let admin = server.admin_token().await;
    let document = openapi("");
    let reference = |schema: &Value| schema.pointer("/allOf/0/$ref").unwrap_or(&schema["$ref"]).clone();
    let resolve = |schema: &Value| match reference(schema).as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a schema").clone(),
        None => schema.clone(),
    };
    let mut sent = 0;
    for (method, path, operation) in operations() {
        let body = &operation["requestBody"]["content"]["application/json"];
        let fields = resolve(&body["schema"])["properties"].clone();
        let fields =
            fields.as_object().into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone()));
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let queries = parameters.filter(|parameter| parameter["in"] == "query");
        let queries =
            queries.map(|one| (one["name"].as_str().expect("a name").to_owned(), one["schema"].clone()));
        for (is_query, (name, schema)) in
            fields.map(|field| (false, field)).chain(queries.map(|one| (true, one)))
        {
            for value in resolve(&schema)["enum"].as_array().into_iter().flatten() {
                let target = server.client(&admin, None, &["files:read"]).await;
                let organization = server.organization(&admin, serde_json::json!({})).await;
                let path = path
                    .replace("{agentId}", &target.id)
                    .replace("{credentialId}", &target.credential)
                    .replace("{organizationId}", &organization);
                let path = server.with_issuer(&admin, path).await;
                let request = if is_query {
                    let path = format!("{path}?{name}={}", value.as_str().expect("text"));
                    server.request(method.clone(), &path)
                } else {
                    let mut example = body["example"].clone();
                    example[&name] = value.clone();
                    server.request(method.clone(), &path).json(&example)
                };
                let request = request.bearer_auth(&admin);
                let answer = server.send(request).await;
                let is_named = answer.text.contains(&format!("\"field\":\"{name}\""));
                assert!(!is_named, "{method} {path} {name}={value}: {}", answer.text);
                sent += 1;
            }
        }
    }
    assert_eq!(sent, 87, "one for each value of an enum in a body or a query");
}

#[tokio::test]
async fn the_form_of_the_token_endpoint_lists_what_grants_and_client_authentication_read() {
    let document = openapi("");
    let form = &document["components"]["schemas"]["TokenForm"]["properties"];
    for parameter in token::form_parameters().chain(client_auth::form_parameters()) {
        assert!(form[parameter.name].is_object(), "{} is missing", parameter.name);
    }
    let grant_types: Vec<_> = token::grant_types().map(Value::from).collect();
    assert_eq!(form["grant_type"]["enum"].as_array(), Some(&grant_types));
}

async fn the_document_and_its_page_need_nothing_from_elsewhere(wiring: Wiring) {
    let server = TestServer::start(wiring).await;
    let page = server.send(server.request(Method::GET, "/docs")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-security-policy").expect("a policy").contains("default-src 'none'"));
    assert!(!page.text.contains("<script src") && !page.text.contains("<link"), "all of it is in the page");
    assert!(page.text.starts_with("<!doctype html>") && page.text.contains("<title>AgentIdP API</title>"));
    assert!(page.text.contains("credentials: 'omit'"), "no browser asks for a password itself");
    let json: Value = server.send(server.request(Method::GET, "/openapi.json")).await.json();
    let yaml_text = server.send(server.request(Method::GET, "/openapi.yaml")).await.text;
    assert_eq!(yaml_text, yaml(&json));
    assert_eq!(json["servers"][0]["url"], "/");
    let head = server.send(server.request(Method::HEAD, "/openapi.json")).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
}

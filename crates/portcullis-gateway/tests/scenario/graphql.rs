//! What GraphQL asks for is weighed before the API sees any of it (H5).

use serde_json::{Value, json};

use super::dictated;
use crate::support::client::Client;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup};

const ROUTE: &str = "[[route]]\nmatch = \"/graphql\"\naccess = \"public\"\n[route.graphql]\ndepth = 4\ncomplexity = 50\n\
                     aliases = 3\n";

fn gate(origin: &Origin) -> Gateway {
    Setup::before(origin).with(ROUTE).start()
}

/// Refused with this rule; and the API has seen nothing of it.
#[track_caller]
fn refused(origin: &Origin, client: &Client, body: &Value, rule: &str) {
    let before = origin.requests().len();
    let refused = client.post("/graphql").json(body).send().refused(400, "Validation failed");
    assert_eq!(refused.json()["details"][0]["rule"], rule, "{body}");
    assert_eq!(origin.requests().len(), before, "{body}");
}

#[test]
fn h5_a_graphql_request_is_weighed_and_forwarded_as_it_is() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let client = gateway.client();
    let fine = json!({"query": "query Q($n: Int) { users(first: $n) { name } }", "variables": {"n": 10}});
    client.post("/graphql").json(&fine).send().expect(200);
    let seen = origin.requests();
    assert_eq!(seen.last().map(|seen| seen.body.clone()), Some(fine.to_string().into_bytes()), "byte for byte");
    client.get("/graphql?query=%7B%20a%20%7D").send().expect(200);

    refused(&origin, &client, &json!({"query": "{ a { b { c { d { e } } } } }"}), "depth");
    refused(&origin, &client, &json!({"query": fine["query"], "variables": {"n": 50}}), "complexity");
    // In whatever way a server lets a number be written.
    for many in [json!(50.0), json!("50"), json!(1e9), json!("9e99"), json!(" 5e1")] {
        refused(&origin, &client, &json!({"query": fine["query"], "variables": {"n": many}}), "complexity");
    }
    refused(&origin, &client, &json!({"query": "{ a:x b:x c:x d:x }"}), "aliases");
    refused(&origin, &client, &json!([{"query": "{ a }"}, {"query": "{ a }"}]), "batch");
    refused(&origin, &client, &json!({"query": "{ __schema { types { name } } }"}), "introspection");
    refused(&origin, &client, &json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}), "query");
    refused(&origin, &client, &json!({"id": "7", "query": "{ a }"}), "members");
    let bomb: String =
        (1..30).map(|level| format!(" fragment F{level} on T {{ ...F{0} ...F{0} }}", level - 1)).collect();
    refused(&origin, &client, &json!({"query": format!("{{ ...F29 }} fragment F0 on T {{ a }}{bomb}")}), "complexity");
}

#[test]
fn h5_a_graphql_document_comes_in_one_way_only() {
    let origin = Origin::echo();
    let gateway = gate(&origin);
    let client = gateway.client();
    let before = origin.requests().len();
    let raw = |kind: &str, path: &str, body: &str| {
        client.post(path).header("content-type", kind).body(body.as_bytes()).send()
    };
    // What one reader takes for the document and another does not.
    raw("application/json", "/graphql", "{\"query\":\"{ a }\",\"query\":\"{ b }\"}")
        .refused(400, "Invalid request body");
    raw("application/json", "/graphql?query=%7Bb%7D", "{\"query\":\"{ a }\"}").refused(400, "Validation failed");
    raw("application/json", "/graphql", "{\"query\":\"{ a\"}").refused(400, "Invalid request body");
    raw("application/json", "/graphql", "[]").refused(400, "Validation failed");
    client.get("/graphql?query=%7Ba%7D&query=%7Bb%7D").send().refused(400, "Validation failed");
    client.get("/graphql?query=mutation%7Ba%7D").send().refused(400, "Validation failed");
    client.get("/graphql").send().refused(400, "Validation failed");
    // What a page of another site can make a browser send.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        raw(kind, "/graphql", "{\"query\":\"{ a }\"}").refused(415, "Unsupported media type");
    }
    assert_eq!(origin.requests().len(), before);
    raw("application/graphql", "/graphql", "{ a }").expect(200);
}

/// The document of an API with one endpoint, that wants a name of every operation.
const DOCUMENT: &str = r#"
openapi: 3.1.0
info: {title: Graph, version: "1"}
paths:
  /graphql:
    post:
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [query, operationName]
              properties:
                query: {type: string}
                operationName: {type: string}
      responses: {"200": {description: an answer}}
"#;

#[test]
fn h5_graphql_is_weighed_where_a_document_and_rules_of_the_body_hold_too() {
    let (origin, folder) = (Origin::echo(), tempfile::tempdir().unwrap());
    let file = folder.path().join("graph.yaml");
    std::fs::write(&file, DOCUMENT).unwrap();
    let tables =
        format!("[openapi]\nfile = {file:?}\n\n{ROUTE}\n[route.body]\nallow = [\"query\", \"operationName\"]\n");
    let gateway = Setup::before(&origin).with(&tables).start();
    let client = gateway.client();
    let fine = json!({"query": "query Q { a }", "operationName": "Q"});
    client.post("/graphql").json(&fine).send().expect(200);
    // Each of the three refuses what only it looks at.
    refused(
        &origin,
        &client,
        &json!({"query": "query Q { a { b { c { d { e } } } } }", "operationName": "Q"}),
        "depth",
    );
    refused(&origin, &client, &json!({"query": "query Q { a }"}), "required");
    refused(&origin, &client, &json!({"query": "query Q { a }", "operationName": "Q", "extensions": {}}), "allow");
    client.get("/graphql?query=%7Ba%7D").send();
    assert_eq!(origin.requests().len(), 1, "the document knows no GET");
}

#[test]
fn h5_no_websocket_is_a_way_around_the_scales() {
    let origin = dictated::origin();
    let gateway = gate(&origin);
    let client = gateway.client();
    // The query is a light one; what would be said in the tunnel nobody would weigh.
    let request = client.get("/graphql?query=%7Ba%7D").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    request.header("X-Answer", "101 Switching Protocols|Connection: upgrade|Upgrade: websocket||").send().expect(502);
    assert_eq!(origin.last().header("upgrade"), None, "the API is not even asked");
}

//! An OpenAPI document as the contract of the upstream (H4).

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::process::{Gateway, Setup, portcullis};

/// The document of a shop that takes orders.
const DOCUMENT: &str = r##"
openapi: 3.0.3
info: {title: Shop, version: "1"}
servers: [{url: https://shop.test/v1}]
paths:
  /orders:
    get:
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 100}}
        - {name: ids, in: query, explode: false, schema: {type: array, items: {type: integer}}}
      responses: {"200": {description: orders}}
    post:
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}
      responses: {"200": {description: made}}
  /orders/{id}:
    get:
      parameters: [{name: id, in: path, required: true, schema: {type: string, format: uuid}}]
      responses: {"200": {description: one}}
  /internal/metrics:
    get:
      security: [{bearer: []}]
      responses: {"200": {description: figures}}
components:
  schemas:
    Order:
      type: object
      required: [items, address, country]
      properties:
        id: {type: string, readOnly: true}
        items:
          type: array
          minItems: 1
          maxItems: 50
          items:
            type: object
            required: [productId, quantity]
            properties:
              productId: {type: string, format: uuid}
              quantity: {type: integer, minimum: 1, maximum: 100}
        address:
          type: object
          required: [line1, city, postcode]
          properties:
            line1: {type: string, minLength: 5, maxLength: 200}
            city: {type: string, minLength: 2, maxLength: 100}
            postcode: {type: string, pattern: "^[A-Z0-9 ]{3,10}$"}
        country: {type: string, enum: [IN, US, GB, AU]}
        promo: {type: string, pattern: "^[A-Z0-9]{4,12}$"}
"##;

const ROUTES: &str = "[limits]\npreset = \"none\"\n\n[[route]]\nmatch = \"/v1/orders/**\"\naccess = \"public\"\n";

/// A gate with its document, which lies in a directory of its own.
struct Shop {
    gateway: Gateway,
    directory: tempfile::TempDir,
}

impl Shop {
    fn before(origin: &Origin, keys: &str) -> Self {
        Self::with_document(origin, keys, DOCUMENT)
    }

    fn with_document(origin: &Origin, keys: &str, document: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("shop.yaml");
        std::fs::write(&file, document).unwrap();
        let table = format!("[openapi]\nfile = \"{}\"\n{keys}\n", file.display());
        let gateway = Setup::before(origin).with(&table).with(ROUTES).start();
        Self { gateway, directory }
    }

    fn get(&self, target: &str) -> Reply {
        self.gateway.client().get(target).send()
    }

    fn post(&self, body: &str) -> Reply {
        let client = self.gateway.client();
        client.post("/v1/orders").header("Content-Type", "application/json").body(body.as_bytes()).send()
    }

    /// Writes another document and has it read.
    fn replace(&mut self, document: &str) {
        std::fs::write(self.directory.path().join("shop.yaml"), document).unwrap();
        self.gateway.process().signal(Signal::HUP);
    }

    /// The records of what was reported, with the rules.
    fn reported(&self) -> Vec<String> {
        let records = self.gateway.records();
        let reported = records.iter().filter(|record| record["kind"] == "content_reported");
        reported.map(|record| record["rule"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn order() -> Value {
    json!({
        "items": [{ "productId": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "quantity": 2 }],
        "address": { "line1": "1 High Street", "city": "Leeds", "postcode": "LS1 4AP" },
        "country": "GB",
    })
}

/// The places and rules that a refusal names.
fn details(reply: Reply) -> Vec<String> {
    let body = reply.refused(400, "Validation failed").json();
    let details = body["details"].as_array().unwrap();
    let told = details.iter().map(|one| format!("{} {}", one["path"].as_str().unwrap(), one["rule"].as_str().unwrap()));
    assert!(details.iter().all(|one| !one["message"].as_str().unwrap().is_empty()), "{body}");
    told.collect()
}

#[test]
fn h4_a_document_is_the_contract_of_the_upstream() {
    let origin = Origin::echo();
    let shop = Shop::before(&origin, "");
    shop.get("/v1/orders?limit=5&ids=1,2").expect(200);
    assert_eq!(origin.last().target, "/v1/orders?limit=5&ids=1,2");
    assert_eq!(details(shop.get("/v1/orders?limit=0&ids=1,x")), ["query.limit minimum", "query.ids/1 type"]);
    assert_eq!(details(shop.get("/v1/orders?limit=5&limit=6")), ["query.limit duplicate"]);
    assert_eq!(details(shop.get("/v1/orders?limit=5&limit[]=6")), ["query.limit[] style"]);
    assert_eq!(details(shop.get("/v1/orders?debug=true")), ["query.debug unknown"]);
    assert_eq!(details(shop.get("/v1/orders/7")), ["path.id format"]);
    shop.get("/v1/orders/7d444840-9dc0-11d1-b245-5ffdce74fad2").expect(200);
    // A path and a method that are not in the document, although a route covers them.
    shop.get("/v1/orders/7/lines").refused(404, "Not found");
    shop.gateway.client().request("DELETE", "/v1/orders").send().refused(404, "Not found");
    // An operation that no route covers stays closed.
    shop.get("/v1/internal/metrics").refused(404, "Not found");
    assert_eq!(origin.requests().len(), 2, "nothing of what was refused has come through");
}

#[test]
fn h4_a_body_that_passes_is_forwarded_byte_for_byte() {
    let origin = Origin::echo();
    let shop = Shop::before(&origin, "");
    let mut odd = order().to_string();
    odd.insert_str(1, " \r\n\t ");
    odd.push('\n');
    for body in [order().to_string(), odd, order().to_string().replace("Leeds", "L\\u00e9eds \\/ x")] {
        shop.post(&body).expect(200);
        assert_eq!(origin.last().body, body.as_bytes());
    }
    for (change, expected) in [
        ("/items/0/quantity", "/items/0/quantity maximum"),
        ("/country", "/country enum"),
        ("/promo", "/promo pattern"),
        ("/id", "/id readOnly"),
        ("/role", "/role additionalProperties"),
    ] {
        let mut order = order();
        let (parent, name) = change.rsplit_once('/').unwrap();
        order.pointer_mut(parent).unwrap()[name] = if name == "quantity" { json!(101) } else { json!("s3cret") };
        let reply = shop.post(&order.to_string());
        assert!(!reply.text().contains("s3cret"), "{}", reply.text());
        assert_eq!(details(reply), [expected]);
    }
    let twice = order().to_string().replacen('{', "{\"country\":\"FR\",", 1);
    shop.post(&twice).refused(400, "Invalid request body");
    shop.post("{\"items\":").refused(400, "Invalid request body");
    assert_eq!(details(shop.post("")), [" required"]);
    let client = shop.gateway.client();
    let other = client.post("/v1/orders").header("Content-Type", "text/plain").body(b"{}").send();
    other.refused(415, "Unsupported media type");
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn h4_a_contract_can_report_what_it_would_refuse() {
    let origin = Origin::echo();
    let shop = Shop::before(&origin, "requests = \"report\"");
    shop.get("/v1/orders?limit=0").expect(200);
    shop.get("/v1/orders/7/lines").expect(200);
    shop.post("{\"country\":\"FR\"}").expect(200);
    assert_eq!(origin.requests().len(), 3);
    let expected = ["query.limit minimum", "path unknown", "/items required"];
    eventually("what was reported is recorded", Duration::from_secs(5), || {
        let reported = shop.reported();
        expected.iter().all(|rule| reported.iter().any(|one| one.split(", ").any(|one| one == *rule))).then_some(())
    });
    let figures = shop.gateway.operator().metrics();
    assert!(figures.contains("portcullis_events_total{kind=\"content_reported\"} 3"), "{figures}");
}

#[test]
fn h4_what_the_document_does_not_name_passes_where_that_is_chosen() {
    let origin = Origin::echo();
    let keys = "unknown_paths = \"allow\"\nunknown_parameters = \"report\"\nunknown_members = \"report\"";
    let shop = Shop::before(&origin, keys);
    shop.get("/v1/orders/7/lines").expect(200);
    shop.get("/v1/orders?debug=1").expect(200);
    let mut order = order();
    order["role"] = json!("admin");
    shop.post(&order.to_string()).expect(200);
    order["country"] = json!("FR");
    assert_eq!(details(shop.post(&order.to_string())), ["/country enum"]);
    assert_eq!(details(shop.get("/v1/orders?debug=1&limit=0")), ["query.limit minimum"]);
    eventually("what was reported is recorded", Duration::from_secs(5), || {
        let reported = shop.reported();
        ["query.debug unknown", "/role additionalProperties"]
            .iter()
            .all(|rule| reported.iter().any(|one| one.split(", ").any(|one| one == *rule)))
            .then_some(())
    });
}

#[test]
fn h4_an_answer_that_the_document_does_not_declare_is_not_told() {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let target = exchange.seen.target.clone();
        let status = if target.contains("limit=5") { "500 Internal Server Error" } else { "200 OK" };
        let body =
            if target.contains("limit=2") { json!([{ "id": 1 }]) } else { json!([{ "id": "a", "country": "GB" }]) };
        exchange.answer(status, &body)
    });
    let declared = r#"{"200": {description: orders, content: {application/json: {schema: {type: array, items: {type: object, properties: {id: {type: string}}}}}}}}"#;
    let document = DOCUMENT.replacen(r#"{"200": {description: orders}}"#, declared, 1);
    let shop = Shop::with_document(&origin, "responses = \"enforce\"", &document);
    let reply = shop.get("/v1/orders?limit=1").expect(200);
    assert_eq!(reply.json(), json!([{ "id": "a", "country": "GB" }]), "it goes on as it came");
    shop.get("/v1/orders?limit=2").refused(502, "Bad gateway");
    let hidden = shop.get("/v1/orders?limit=5").refused(502, "Bad gateway");
    assert!(!hidden.text().contains("country"), "{}", hidden.text());
    shop.get("/v1/orders/7d444840-9dc0-11d1-b245-5ffdce74fad2").refused(502, "Bad gateway");
}

#[test]
fn h4_another_document_is_read_at_a_reload_and_a_broken_one_changes_nothing() {
    let origin = Origin::echo();
    let mut shop = Shop::before(&origin, "");
    assert_eq!(details(shop.get("/v1/orders?limit=101")), ["query.limit maximum"]);
    shop.replace(&DOCUMENT.replace("maximum: 100}}\n        - {name: ids", "maximum: 200}}\n        - {name: ids"));
    eventually("the new document is in force", Duration::from_secs(10), || {
        (shop.get("/v1/orders?limit=101").status == 200).then_some(())
    });
    shop.replace(&DOCUMENT.replace("type: integer, minimum: 1, maximum: 100}}\n", "type: integr}}\n"));
    eventually("the broken document is told with its place", Duration::from_secs(10), || {
        let told = shop.gateway.output();
        (told.contains("the old one stays") && told.contains("shop.yaml:9:") && told.contains("not a schema"))
            .then_some(())
    });
    shop.get("/v1/orders?limit=101").expect(200);
    assert_eq!(details(shop.get("/v1/orders?limit=201")), ["query.limit maximum"]);
}

#[test]
fn h4_check_compares_routes_with_the_document_and_explain_names_the_operation() {
    let origin = Origin::echo();
    let shop = Shop::before(&origin, "");
    let file = shop.gateway.config_text()
        + "[[route]]\nmatch = \"GET /v1/internal/**\"\naccess = \"public\"\n[[route]]\nmatch = \"GET /v2/**\"\naccess = \"public\"\n";
    std::fs::write(&shop.gateway.config, file).unwrap();
    let told = portcullis().arg("check").arg(&shop.gateway.config).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("asks for a credential where the route is public: GET /v1/internal/metrics"), "{told}");
    assert!(told.contains("no operation of the document answers these routes, so they are 404: GET /v2/**"), "{told}");
    let told = String::from_utf8(shop.gateway.command(&["explain", "POST /v1/orders"]).stdout).unwrap();
    assert!(told.contains("POST /v1/orders: parameters: none; a body is required: application/json"), "{told}");
}

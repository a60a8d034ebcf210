//! The OpenAPI documents against the running binary: a validator reads them, and schemathesis sends thousands of requests,
//! good ones and bad ones, and compares every answer with what the document promises.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::origin::Origin;
use support::process::{Gateway, Setup};

/// What is compared.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,negative_data_rejection,missing_required_header,unsupported_method,\
                      allow_header_conformance,ignored_auth,use_after_free,ensure_resource_availability";

/// What would end the caller's own session in the middle of a run.
const FAREWELLS: [&str; 3] = ["logoutEverywhere", "endMySession", "endMySessionByForm"];

/// A program that `cargo xtask test` installed; `None` where it is absent and need not be there.
fn tool(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_portcullis")).ancestors().nth(2).unwrap();
    let tools = target.join("api-tools");
    let wanted = include_str!("requirements.txt");
    if std::fs::read_to_string(tools.join("installed.txt")).is_ok_and(|installed| installed == wanted) {
        return Some(tools.join("bin").join(name));
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is not installed in {}", tools.display());
    // The test harness would keep what `eprintln!` prints to itself.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {name} is not installed in {}; \"cargo xtask test\" installs it",
        tools.display()
    );
    None
}

/// A gate on which no limit stands in the way.
fn start() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Setup::before(&origin).with("[limits]\npreset = \"none\"\n").start();
    gateway.create_user("ann@example.com", "viewer");
    (origin, gateway)
}

/// Runs schemathesis on the document at `url` with the given credential.
fn try_out(gateway: &Gateway, url: &str, token: &str, options: &[&str]) {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let output = Command::new(schemathesis)
        .args(["--no-color", "--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi/schemathesis.toml")])
        .args(["run", url, "--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS])
        .args(["--seed", "1", "--continue-on-failure", "--no-shrink", "--request-timeout", "20"])
        .args(options)
        // It keeps what it found in the directory it runs in.
        .current_dir(gateway.directory())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let tried = said.lines().find(|line| line.contains(" generated, ")).unwrap_or_else(|| panic!("{said}"));
    println!("{url}: {}", tried.trim());
    let log = gateway.output();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

#[test]
fn the_identity_endpoints_answer_as_their_document_promises() {
    let (_origin, gateway) = start();
    let (access, _) = gateway.login("ann@example.com");
    let url = format!("http://{}/auth/openapi.json", gateway.listen);
    let mut options = vec!["--max-examples", "40"];
    options.extend(FAREWELLS.iter().flat_map(|farewell| ["--exclude-operation-id", *farewell]));
    try_out(&gateway, &url, &access, &options);
    gateway.client().get("/auth/me").bearer(&access).send().expect(200);

    for farewell in FAREWELLS {
        let (access, _) = gateway.login("ann@example.com");
        try_out(&gateway, &url, &access, &["--include-operation-id", farewell, "--max-examples", "5"]);
    }
}

#[test]
fn the_admin_endpoints_answer_as_their_document_promises() {
    let (_origin, gateway) = start();
    let url = format!("http://{}/openapi.json", gateway.admin);
    try_out(&gateway, &url, &gateway.operator().token, &["--max-examples", "40"]);
}

#[test]
fn a_validator_takes_both_documents_and_a_browser_may_keep_the_public_one() {
    let (_origin, gateway) = start();
    let public = gateway.client().get("/auth/openapi.json").send().expect(200);
    assert_eq!(public.header("content-type"), Some("application/json"));
    assert_eq!(public.header("cache-control"), Some("public, max-age=300"));
    let operators = gateway.operator().get("/openapi.json").expect(200);
    assert_eq!(operators.header("cache-control"), Some("no-store"));
    for (name, reply) in [("identity.json", &public), ("admin.json", &operators)] {
        assert_eq!(reply.json()["openapi"], "3.1.0");
        let file = gateway.directory().join(name);
        std::fs::write(&file, &reply.body).unwrap();
        let Some(validator) = tool("openapi-spec-validator") else { continue };
        let output = Command::new(validator).args(["--schema", "3.1"]).arg(&file).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("OK"), "{name}: {said}");
    }
}

#[test]
fn every_operation_says_how_it_refuses() {
    let (_origin, gateway) = start();
    let public = gateway.client().get("/auth/openapi.json").send().expect(200).json();
    let operators = gateway.operator().get("/openapi.json").expect(200).json();
    for document in [&public, &operators] {
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let what = format!("{method} {path}");
                let responses = operation["responses"].as_object().unwrap();
                let has = |status: &str| responses.contains_key(status);
                let guarded = operation["security"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|way| way != &Value::Object(Default::default()));
                assert!(!guarded || operation["security"].as_array().unwrap().is_empty() || has("401"), "{what}");
                assert!(has("400") && has("408") && has("431"), "{what}");
                let bodies = &operation["requestBody"]["content"];
                assert!(bodies.is_null() || has("413"), "{what}");
                assert!(bodies.get("application/json").is_none() || has("415"), "{what}");
                assert!(!path.starts_with("/auth/") || (has("429") && has("503") && has("414")), "{what}");
                assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{what}");
            }
        }
    }
    // As long as it takes to read it, nobody's secret is in it.
    for secret in ["$argon2", "PRIVATE", &gateway.operator().token] {
        assert!(!public.to_string().contains(secret) && !operators.to_string().contains(secret));
    }
    assert!(public.to_string().len() < 200_000, "an answer of an identity endpoint is bounded");
}

//! T2: the JOSE vectors of Project Wycheproof, through the raw JWS verifier and the key import.
//!
//! The vectors are not part of this tree: `PORTCULLIS_VECTORS` names their folder (by default `../shared/data` beside the
//! project). Without them these tests are skipped and say so; with `CI` set they fail.

#![expect(clippy::unwrap_used, reason = "in a test a surprise is a failure")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use portcullis_auth::{KeySet, VerificationKey, jws};
use serde_json::Value;

/// A vector file, or `None` with a word on what is missing.
fn vectors(name: &str) -> Option<Value> {
    let folder = std::env::var_os("PORTCULLIS_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{}: {error}; CI requires the vectors", path.display());
            // The test harness would keep what `eprintln!` prints to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {}: {error}; set PORTCULLIS_VECTORS to the folder of the vectors",
                path.display()
            );
            None
        }
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap()
}

#[test]
fn t2_all_401_signature_vectors_are_judged_as_a_strict_verifier_must() {
    let Some(file) = vectors("wp_json_web_signature_test.json") else { return };
    let Some(overrides) = vectors("wycheproof_overrides.json") else { return };
    let mut expected_instead = BTreeMap::new();
    for entry in list(&overrides, "overrides") {
        for id in list(entry, "tcId") {
            expected_instead.insert(id.as_u64().unwrap(), entry["use"] == "valid");
        }
    }
    let (mut judged, mut valid) = (0, 0);
    for group in list(&file, "testGroups") {
        let key = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let keys = VerificationKey::from_jwk(&key.to_string(), None).and_then(|key| KeySet::new(vec![key]));
        for test in list(group, "tests") {
            let id = test["tcId"].as_u64().unwrap();
            let expected = expected_instead.get(&id).copied().unwrap_or(test["result"] == "valid");
            let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let accepted = keys.as_ref().is_ok_and(|keys| jws::verify(&token, keys).is_ok());
            assert_eq!(accepted, expected, "tcId {id}: {} (key: {:?})", test["comment"], keys.as_ref().err());
            judged += 1;
            valid += usize::from(accepted);
        }
    }
    assert_eq!((judged, valid), (401, 46 - 6 + 2), "six labels of valid and two of invalid are overridden");
}

#[test]
fn t2_all_26_key_vectors_are_judged_at_import_or_by_the_key_that_is_meant() {
    let Some(file) = vectors("wp_json_web_key_test.json") else { return };
    let mut judged = 0;
    for group in list(&file, "testGroups") {
        let set = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let keys = KeySet::from_jwks(&set.to_string());
        for test in list(group, "tests") {
            let token = test["jws"].as_str().unwrap();
            let accepted = keys.as_ref().is_ok_and(|keys| jws::verify(token, keys).is_ok());
            let expected = test["result"] == "valid";
            assert_eq!(
                accepted,
                expected,
                "tcId {}: {} (keys: {:?})",
                test["tcId"],
                test["comment"],
                keys.as_ref().err()
            );
            judged += 1;
        }
    }
    assert_eq!(judged, 26);
}

#[test]
fn t2_the_signature_vectors_of_the_third_file_agree() {
    let Some(file) = vectors("wp_json_web_crypto_test.json") else { return };
    let mut judged = 0;
    for group in list(&file, "testGroups") {
        let held = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let keys = match held["keys"].is_array() {
            true => KeySet::from_jwks(&held.to_string()),
            false => VerificationKey::from_jwk(&held.to_string(), None).and_then(|key| KeySet::new(vec![key])),
        };
        // The rest are for encryption, which is none of a verifier's business.
        for test in list(group, "tests").iter().filter(|test| test.get("jws").is_some()) {
            let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let accepted = keys.as_ref().is_ok_and(|keys| jws::verify(&token, keys).is_ok());
            assert_eq!(accepted, test["result"] == "valid", "tcId {}: {}", test["tcId"], test["comment"]);
            judged += 1;
        }
    }
    assert_eq!(judged, 49);
}

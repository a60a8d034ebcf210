//! What somebody else's program finds: testssl.sh, which Debian has.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CrlDistributionPoint, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use serde_json::Value;

use crate::Authority;
use crate::authority::from_now;
use crate::support::origin::Origin;
use crate::support::process::Setup;

/// Findings that say nothing of the gate: what this machine's OpenSSL lacks, and what the DNS says of `localhost`.
const NOT_OURS: [&str; 2] = ["engine_problem", "DNS_CAArecord"];

#[test]
fn h6_testssl_finds_nothing_of_medium_severity_or_worse() {
    let is_there =
        Command::new("testssl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "testssl is absent: apt-get install testssl.sh");
        eprintln!("SKIPPED: testssl is absent (apt-get install testssl.sh)");
        return;
    }
    let origin = Origin::echo();
    let authority = Authority::new();
    let files = tempfile::tempdir().unwrap();
    let path = files.path();
    let soon = Duration::from_secs(90 * 86_400);
    let certificate = authority.issue(|params| {
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = from_now(soon);
        // Nobody asks there: testssl looks whether there is a place to ask.
        let uris = vec!["http://127.0.0.1:1/none.crl".to_owned()];
        params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
    });
    certificate.write(path, "server");
    std::fs::write(path.join("ca.pem"), authority.pem()).unwrap();
    let gateway = Setup::open(&origin)
        .public_url("https://localhost")
        .with(&format!(
            "[tls]\ncertificates = [{{ cert = \"{0}/server.pem\", key = \"{0}/server.key\" }}]",
            path.display()
        ))
        .start();
    let found = path.join("found.json");
    let begun = Instant::now();
    let output = Command::new("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--openssl-timeout", "5"])
        // Protocols, suites, preferences, the certificate, headers, and every vulnerability that it knows.
        .args(FLAGS)
        .arg("--add-ca")
        .arg(path.join("ca.pem"))
        .arg("--jsonfile")
        .arg(&found)
        .arg(format!("https://localhost:{}/", gateway.listen.port()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(&found).unwrap_or_else(|error| panic!("{error}: {said}"));
    let found: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let severity = |one: &Value| one["severity"].as_str().unwrap_or_default().to_owned();
    let bad: Vec<&Value> = found
        .iter()
        .filter(|one| !NOT_OURS.contains(&one["id"].as_str().unwrap_or_default()))
        .filter(|one| matches!(severity(one).as_str(), "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // It has really looked, and believed the authority.
    let says =
        |id: &str| found.iter().find(|one| one["id"] == id).map(|one| one["finding"].as_str().unwrap_or_default());
    for (id, expected) in [
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered"),
        ("cert_chain_of_trust", "passed"),
        ("heartbleed", "not vulnerable"),
        ("ROBOT", "not vulnerable"),
        ("CRIME_TLS", "not vulnerable"),
    ] {
        assert!(says(id).is_some_and(|finding| finding.starts_with(expected)), "{id}: {:?}", says(id));
    }
    assert!(found.iter().filter(|one| severity(one) == "OK").count() > 30, "{found:#?}");
    assert!(begun.elapsed() < Duration::from_secs(240), "{:?}", begun.elapsed());
}

const FLAGS: [&str; 6] = ["-p", "-s", "-P", "-S", "-h", "-U"];

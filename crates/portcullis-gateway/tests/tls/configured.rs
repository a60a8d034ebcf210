//! What `check` says of `[tls]`.

use std::path::Path;

use crate::support::process::portcullis;
use crate::{Authority, HOST};

/// What `check` says of a file with this section, and whether it can be used.
pub(crate) fn check(directory: &Path, top: &str, tls: &str) -> (bool, String) {
    let file = directory.join("portcullis.toml");
    let text = format!(
        "upstream = \"http://127.0.0.1:3000\"\n{top}\n[identity]\nenabled = false\n\n[routes]\notherwise = \"refuse\"\n\n[[route]]\nmatch = \"GET /a\"\naccess = \"public\"\n\n[tls]\n{tls}\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = portcullis().arg("check").arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

const PAIR: &str = "certificates = [{ cert = \"server.pem\", key = \"server.key\" }]";

#[test]
fn h6_check_tells_what_is_wrong_with_certificates_and_keys() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let put = |name: &str, text: &str| {
        std::fs::write(path.join(name), text).unwrap();
    };
    let good = authority.server(&[HOST]);
    good.write(path, "server");
    let top = format!("public_url = \"https://{HOST}\"");
    let (usable, said) = check(path, &top, PAIR);
    assert!(usable && !said.contains("warning"), "{said}");

    let other = authority.server(&[HOST]);
    let mut old = authority.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(HOST.try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    old.key.insert_str(0, "some words before\n");
    for (what, cert, key, expected) in [
        ("the key of another", good.pem.as_str(), other.key.as_str(), "is not the key of"),
        ("no certificate", "nothing\n", good.key.as_str(), "there is no certificate in it"),
        ("half a certificate", &good.pem[..200], good.key.as_str(), "server.pem"),
        ("a broken one", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", &good.key, "X.509"),
        ("no key", good.pem.as_str(), good.pem.as_str(), "there is no private key in it"),
        (
            "an encrypted key",
            good.pem.as_str(),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "is encrypted",
        ),
    ] {
        put("server.pem", cert);
        put("server.key", key);
        let (usable, said) = check(path, &top, PAIR);
        assert!(!usable && said.contains(expected), "{what}: {said}");
        assert!(said.contains("portcullis.toml:") && said.contains('^'), "{what} has its place: {said}");
    }
    for (name, text) in [("server.pem", &old.pem), ("server.key", &old.key)] {
        put(name, text);
    }
    let (usable, said) = check(path, &top, PAIR);
    assert!(usable && said.contains("expired at 2021-01-01"), "an expired certificate is a warning: {said}");

    good.write(path, "server");
    std::fs::set_permissions(path.join("server.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let (usable, said) = check(path, &top, PAIR);
    assert!(usable && said.contains("everyone on this machine may read the private key"), "{said}");
}

#[test]
fn h6_check_tells_what_is_wrong_with_the_section() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    authority.server(&[HOST]).write(path, "server");
    let top = format!("public_url = \"https://{HOST}\"");
    for (what, top, tls, expected) in [
        ("nothing", top.as_str(), String::new(), "\"certificates\" is missing"),
        ("an empty list", &top, "certificates = []".to_owned(), "\"certificates\" is missing"),
        ("half a pair", &top, "certificates = [{ cert = \"server.pem\" }]".to_owned(), "\"key\" is missing"),
        ("no file", &top, PAIR.replace("server.key", "absent.key"), "cannot read"),
        ("an old version", &top, format!("{PAIR}\nmin_version = \"1.1\""), "1.2"),
        ("http outside", "public_url = \"http://api.example.test\"", PAIR.to_owned(), "the public URL is http"),
        (
            "one address twice",
            "public_url = \"https://a.test\"\nlisten = \"127.0.0.1:8443\"",
            format!("{PAIR}\nredirect = \"127.0.0.1:8443\""),
            "written twice",
        ),
        (
            "one address for both",
            "public_url = \"https://a.test\"\nlisten = \"127.0.0.1:8443\"",
            format!("{PAIR}\nlisten = \"127.0.0.1:8443\""),
            "cannot speak both",
        ),
    ] {
        let (usable, said) = check(path, top, &tls);
        assert!(!usable && said.contains(expected), "{what}: {said}");
    }
    let plain = "public_url = \"https://a.test\"\nlisten = \"0.0.0.0:8080\"";
    let (usable, said) = check(path, plain, &format!("{PAIR}\nlisten = \"127.0.0.1:8443\""));
    assert!(usable && said.contains("past HTTPS"), "{said}");
}

//! Signing keys that an operator brings along or hands on (T3): `keys import` and `keys export-public`, with the keys that
//! `openssl` makes.

#![expect(clippy::unwrap_used, reason = "a helper that has nothing to work on fails its test")]

#[expect(dead_code, reason = "each test binary uses its own part of what they share")]
mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use support::origin::Origin;
use support::process::{Gateway, Setup};
use support::{PROJECT_ROUTES, eventually, jose_header};

/// Whether `openssl` is there; under `CI` it must be.
fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "openssl is not installed");
    if !found {
        eprintln!("SKIPPED: openssl is not installed; \"cargo xtask test\" installs it");
    }
    found
}

/// Has `openssl` write a key.
fn key(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let output = Command::new("openssl").args(arguments).arg("-out").arg(&file).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

const P256: [&str; 5] = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const ED25519: [&str; 3] = ["genpkey", "-algorithm", "ED25519"];

fn rsa(bits: &str) -> Vec<String> {
    ["genpkey", "-algorithm", "RSA", "-pkeyopt"]
        .iter()
        .map(|word| (*word).to_owned())
        .chain([format!("rsa_keygen_bits:{bits}")])
        .collect()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn import(gateway: &Gateway, file: &Path) -> Output {
    gateway.command(&["keys", "import", file.to_str().unwrap()])
}

fn start(origin: &Origin, algorithm: &str) -> Gateway {
    Setup::before(origin).with(PROJECT_ROUTES).with(&format!("[tokens]\nalgorithm = \"{algorithm}\"\n")).start()
}

fn kid_of_new_tokens(gateway: &Gateway) -> String {
    let (access, _) = gateway.login("viewer@example.com");
    jose_header(&access)["kid"].as_str().unwrap().to_owned()
}

#[test]
fn t3_an_imported_key_signs_from_then_on_and_the_retired_one_verifies_until_its_end() {
    if !has_openssl() {
        return;
    }
    let origin = Origin::echo();
    let folder = tempfile::tempdir().unwrap();
    let rsa_2048 = rsa("2048");
    let rsa_2048: Vec<&str> = rsa_2048.iter().map(String::as_str).collect();
    let rsa_file = key(folder.path(), "rsa.pem", &rsa_2048);
    let pkcs1 = ["rsa", "-traditional", "-in", rsa_file.to_str().unwrap()];
    let families: [(&str, PathBuf); 5] = [
        ("ES256", key(folder.path(), "p256.pem", &P256)),
        ("ES256", key(folder.path(), "sec1.pem", &["ecparam", "-name", "prime256v1", "-genkey"])),
        ("EdDSA", key(folder.path(), "ed25519.pem", &ED25519)),
        ("RS256", rsa_file.clone()),
        ("RS256", key(folder.path(), "pkcs1.pem", &pkcs1)),
    ];
    for (algorithm, file) in families {
        let gateway = start(&origin, algorithm);
        let old = gateway.token("viewer");
        let imported = import(&gateway, &file);
        assert!(imported.status.success(), "{algorithm} {}: {}", file.display(), text(&imported));
        assert!(!text(&imported).contains("warning: other users"), "{}", text(&imported));
        let listed = text(&gateway.command(&["keys", "list"]));
        let kid = listed.lines().find(|line| line.ends_with("signs")).unwrap().split(' ').next().unwrap().to_owned();
        assert!(text(&imported).contains(&kid), "{}", text(&imported));
        // The key is in use by the running process once every instance can have heard of it, without a restart.
        gateway.operator().advance("3s");
        eventually("new tokens carry the imported kid", Duration::from_secs(2), || {
            (kid_of_new_tokens(&gateway) == kid).then_some(())
        });
        let (new, _) = gateway.login("viewer@example.com");
        for token in [&old, &new] {
            gateway.client().get("/projects").bearer(token).send().expect(200);
        }
        // The public halves are those that the endpoint serves and that openssl knows of the file.
        let served = gateway.client().get("/.well-known/jwks.json").send().expect(200).json();
        let exported = gateway.command(&["keys", "export-public"]);
        let exported: Value = serde_json::from_slice(&exported.stdout).unwrap();
        assert_eq!(exported, served);
        assert_eq!((exported["keys"][0]["kid"].as_str(), exported["keys"].as_array().unwrap().len()), (Some(&*kid), 2));
        assert!(!exported.to_string().contains("\"d\""), "{exported}");
        let pem = text(&gateway.command(&["keys", "export-public", "--pem"]));
        let public = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&file).output().unwrap();
        assert!(pem.contains(String::from_utf8(public.stdout).unwrap().trim()) && !pem.contains("PRIVATE"), "{pem}");

        gateway.operator().advance("20m");
        gateway.client().get("/projects").bearer(&old).send().expect(401);
        eventually("the retired key is gone with its last token", Duration::from_secs(5), || {
            let keys = gateway.client().get("/.well-known/jwks.json").send().json();
            (keys["keys"].as_array().unwrap().len() == 1).then_some(())
        });
        let again = import(&gateway, &file);
        assert!(again.status.code() == Some(2) && text(&again).contains("signs already"), "{}", text(&again));
    }
}

#[test]
fn t3_an_imported_key_survives_a_restart_and_a_retired_one_does_not_sign_again() {
    if !has_openssl() {
        return;
    }
    let origin = Origin::echo();
    let mut gateway = start(&origin, "ES256");
    let file = key(gateway.directory(), "p256.pem", &P256);
    gateway.create_user("viewer@example.com", "viewer");
    assert!(import(&gateway, &file).status.success());
    std::fs::remove_file(gateway.directory().join("p256.pem")).unwrap();
    let kid = text(&gateway.command(&["keys", "list"])).lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    gateway.kill();
    gateway.launch();
    eventually("the imported key signs", Duration::from_secs(5), || (kid_of_new_tokens(&gateway) == kid).then_some(()));

    let file = key(gateway.directory(), "second.pem", &P256);
    assert!(import(&gateway, &file).status.success());
    assert!(gateway.command(&["keys", "rotate"]).status.success());
    let again = import(&gateway, &file);
    assert!(again.status.code() == Some(2) && text(&again).contains("is retired"), "{}", text(&again));
}

#[test]
fn t3_what_is_no_good_private_key_is_refused_with_what_to_do() {
    if !has_openssl() {
        return;
    }
    let origin = Origin::echo();
    let (ec, rsa_gate) = (start(&origin, "ES256"), start(&origin, "RS256"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let made = |name: &str, words: Vec<String>| key(path, name, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let good = made("good.pem", owned(&P256));
    let write = |name: &str, text: &str| {
        let file = path.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let good_text = std::fs::read_to_string(&good).unwrap();
    let good_name = good.to_str().unwrap();
    let weak = made("weak.pem", rsa("1024"));
    let weak_pkcs1 = made("weak1.pem", owned(&["rsa", "-traditional", "-in", weak.to_str().unwrap()]));
    let cases = [
        (&ec, made("pub.pem", owned(&["pkey", "-pubout", "-in", good_name])), "public key"),
        (
            &ec,
            made("enc.pem", owned(&["pkey", "-aes256", "-passout", "pass:secret", "-in", good_name])),
            "openssl pkey -in",
        ),
        (
            &ec,
            made("oldenc.pem", owned(&["ec", "-aes256", "-passout", "pass:secret", "-in", good_name])),
            "openssl pkey -in",
        ),
        (
            &ec,
            made("p384.pem", owned(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"])),
            "curve",
        ),
        (&ec, made("p384sec1.pem", owned(&["ecparam", "-name", "secp384r1", "-genkey"])), "curve"),
        (&ec, made("k1.pem", owned(&["ecparam", "-name", "secp256k1", "-genkey"])), "curve"),
        (&ec, made("ed.pem", owned(&ED25519)), "an Ed25519 key, which cannot sign with ES256"),
        (&ec, made("x.pem", owned(&["genpkey", "-algorithm", "X25519"])), "another kind"),
        (&ec, made("rsa.pem", rsa("2048")), "an RSA key, which cannot sign with ES256"),
        (&rsa_gate, weak, "2048 to 8192 bits"),
        (&rsa_gate, weak_pkcs1, "2048 to 8192 bits"),
        (&rsa_gate, good.clone(), "an elliptic-curve key, which cannot sign with RS256"),
        (&ec, write("two.pem", &good_text.repeat(2)), "several keys"),
        (&ec, write("cut.pem", &good_text[..good_text.len() / 2]), "PEM"),
        (&ec, write("bent.pem", &good_text.replace("MIGH", "MIGG")), "cannot be used"),
        (
            &ec,
            write("ssh.pem", "-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----\n"),
            "ssh-keygen",
        ),
        (&ec, write("text.pem", "hello\n"), "no private key"),
        (&ec, write("empty.pem", ""), "is empty"),
        (&ec, path.join("absent.pem"), "cannot read"),
    ];
    for (gateway, file, said) in cases {
        let before = text(&gateway.command(&["keys", "list"]));
        let refused = import(gateway, &file);
        assert_eq!(refused.status.code(), Some(2), "{}: {}", file.display(), text(&refused));
        assert!(text(&refused).contains(said), "{}: {}", file.display(), text(&refused));
        assert!(!text(&refused).contains("MIG") && !text(&refused).contains("panicked"), "{}", text(&refused));
        assert_eq!(text(&gateway.command(&["keys", "list"])), before, "nothing changed");
    }
    // A key that others could read is told of, and taken: the operator may know better.
    std::fs::set_permissions(&good, Permissions::from_mode(0o644)).unwrap();
    let warned = import(&ec, &good);
    assert!(warned.status.success() && text(&warned).contains("warning: other users"), "{}", text(&warned));
}

#[test]
fn t3_a_shared_secret_has_no_public_half() {
    let origin = Origin::echo();
    let gateway = start(&origin, "HS256");
    let jwks = gateway.command(&["keys", "export-public"]);
    assert_eq!(String::from_utf8(jwks.stdout).unwrap().trim(), "{\"keys\":[]}");
    let pem = gateway.command(&["keys", "export-public", "--pem"]);
    assert!(!pem.status.success() && text(&pem).contains("no public half"), "{}", text(&pem));
    // Nor is one taken from a file: whatever somebody thinks of is weaker than what is made here.
    for (name, held) in [("short", "secret"), ("long", &*"s".repeat(64))] {
        let file = gateway.directory().join(name);
        std::fs::write(&file, held).unwrap();
        let refused = import(&gateway, &file);
        assert!(refused.status.code() == Some(2) && text(&refused).contains("no private key"), "{}", text(&refused));
    }
    if has_openssl() {
        let refused = import(&gateway, &key(gateway.directory(), "p256.pem", &P256));
        assert!(
            refused.status.code() == Some(2) && text(&refused).contains("cannot sign with HS256"),
            "{}",
            text(&refused)
        );
    }
    assert_eq!(text(&gateway.command(&["keys", "list"])).lines().filter(|line| line.ends_with("signs")).count(), 1);
}

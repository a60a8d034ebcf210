//! The way to a server that is not on this machine: who must prove what.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::flows::house::*;
use crate::keep_url;
use crate::server::{self, Cluster, run_as_owner};

/// A certificate authority of the test's own, and a certificate of it for the name `localhost`.
fn certificates(directory: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let authority = ["req", "-x509", "-subj", "/CN=an authority", "-keyout", "ca.key", "-out", "ca.pem"];
    run_as_owner("openssl", &[&authority[..], &key[..]].concat(), directory);
    let request = ["req", "-x509", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    let issue = ["-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let out = ["-keyout", "server.key", "-out", "server.pem"];
    run_as_owner("openssl", &[&request[..], &issue[..], &out[..], &key[..]].concat(), directory);
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Opens the accounts; gives why that failed.
async fn open(url: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    keep_url(&folder, url);
    House::open(folder, |_| ()).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_server_elsewhere_proves_its_name_where_it_must_and_nothing_falls_back_to_plain_text() {
    if !server::is_installed() {
        return;
    }
    let port = free_port();
    let mut authority = std::path::PathBuf::new();
    let cluster = Cluster::start_with(|directory| {
        certificates(directory);
        authority = directory.join("ca.pem");
        let file = |name: &str| directory.join(name).display().to_string();
        vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
        ]
    });
    cluster.database();
    let url = |host: &str, mode: &str| format!("postgres://portcullis@{host}:{port}/d0?sslmode={mode}");
    let trusting = |url: String| format!("{url}&sslrootcert={}", authority.display());

    open(&trusting(url("localhost", "verify-full"))).await.unwrap();
    let other_name = open(&trusting(url("127.0.0.1", "verify-full"))).await.unwrap_err();
    assert!(other_name.contains("certificate"), "{other_name}");
    let nobodys = open(&url("localhost", "verify-full")).await.unwrap_err();
    assert!(nobodys.contains("certificate") || nobodys.contains("UnknownIssuer"), "{nobodys}");
    open(&trusting(url("127.0.0.1", "verify-ca"))).await.unwrap();

    // A server without TLS, or somebody in between who says that it has none.
    let port = free_port();
    let plain = Cluster::start_with(|_| vec!["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")]);
    plain.database();
    let url = |mode: &str| format!("postgres://portcullis@localhost:{port}/d0?sslmode={mode}");
    open(&url("disable")).await.unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let told = open(&url(mode)).await.unwrap_err();
        assert!(told.contains("TLS"), "{mode}: {told}");
    }
}

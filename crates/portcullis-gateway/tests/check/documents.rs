//! What the documents show of a configuration file is one: `portcullis check` accepts it as it stands there.

use std::io;
use std::path::{Path, PathBuf};

use portcullis_gateway::config::{LoadError, Outside, Source};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};

/// The files that the documents name, as a reader would have them.
struct Files {
    authority: String,
    revoked: String,
    certificate: String,
    key: String,
}

impl Files {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = params.self_signed(&key).unwrap().pem();
        let revoked = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let revoked = revoked.signed_by(&Issuer::new(params, key)).unwrap().pem().unwrap();
        let made = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
        Self { authority, revoked, certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }
}

impl Outside for Files {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            "fullchain.pem" | "gate.pem" => &self.certificate,
            "key.pem" | "gate.key" => &self.key,
            "ca.pem" | "clients-ca.pem" | "redis-ca.pem" => &self.authority,
            "clients.crl" => &self.revoked,
            "master.key" => "00112233445566778899aabbccddeefffedcba98765432100123456789abcdef",
            "mail-password" | "redis-password" => "Correct-horse-7-staple",
            "acme-account.key" => "c29tZXRoaW5nIHRoYXQgdGhlIGF1dGhvcml0eSBnYXZl",
            "order.json" => include_str!("../../../portcullis-shield/tests/order.json"),
            "openapi.yaml" => include_str!("../../../portcullis-shield/tests/contract/shop.yaml"),
            "verify.txt" => "{{link}}",
            "verify.html" => "<p>{{link}}</p>",
            other => return Err(io::Error::new(io::ErrorKind::NotFound, format!("{other} is named by no document"))),
        };
        Ok(text.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(vec!["verify.txt".to_owned(), "verify.html".to_owned()])
    }

    fn is_world_readable(&self, _: &Path) -> bool {
        false
    }
}

/// What is wrong with a file; warnings are not.
fn wrong(text: &str, files: &Files) -> Option<String> {
    match Source::text("portcullis.toml", text).load_with(files) {
        Ok(_) => None,
        Err(LoadError::Invalid(report)) => Some(report.to_string()),
        Err(unreadable @ LoadError::Unreadable { .. }) => panic!("{unreadable}"),
    }
}

#[test]
fn o2_every_configuration_in_the_documents_is_accepted() {
    let files = Files::new();
    let mut pages: Vec<PathBuf> = std::fs::read_dir("../../docs").unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.push("../../README.md".into());
    let (mut blocks, mut refused) = (0, String::new());
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        let mut before = vec!["upstream = \"http://127.0.0.1:3000\"\n"];
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            blocks += 1;
            // Most are a part of a file: of one with an upstream only, or of one that the page has shown.
            let all = std::iter::once(block.to_owned()).chain(before.iter().map(|before| format!("{before}\n{block}")));
            let told: Option<Vec<String>> = all.map(|text| wrong(&text, &files)).collect();
            if let Some(told) = told {
                let least = told.iter().min_by_key(|told| told.len()).unwrap();
                refused += &format!("--- {}:\n{block}\n{least}\n", page.display());
            }
            before.push(block);
        }
    }
    assert!(refused.is_empty(), "{refused}");
    assert!(blocks >= 30, "only {blocks}");
}

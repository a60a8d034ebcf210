//! A small authority that speaks ACME (RFC 8555), strict in what it takes: every signature is verified, every nonce is good
//! once, and every challenge is really fetched from the gate.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::{digest, hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateSigningRequestParams, SanType};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::acme_probe;
use crate::authority::Authority;
use crate::support::tls::{self, TlsOrigin, Wire};

/// The key of the account that external ones are bound to.
pub(crate) const EXTERNAL_KEY: &[u8] = b"a key that the authority gave out to somebody";

/// The authority, as its other customers see it.
pub(crate) struct AcmeServer {
    pub(crate) directory: String,
    /// Who vouches for the directory itself (PEM).
    pub(crate) directory_ca: String,
    /// Who signs the certificates that it gives out.
    pub(crate) signs: Arc<Authority>,
    state: Arc<Mutex<State>>,
    _origin: TlsOrigin,
}

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Kind,
    /// Connections end without an answer.
    Down,
    /// Orders are refused, with a word about waiting.
    Limited(u64),
}

/// What somebody does; it is told a name.
pub(crate) type Meanwhile = Box<dyn FnOnce(&str) + Send>;

pub(crate) struct State {
    pub(crate) mood: Mood,
    /// The next request's nonce is refused, however good.
    pub(crate) bad_nonce_once: bool,
    pub(crate) wants_external_account: bool,
    /// Where the names lead: to this for HTTP, and to that for TLS.
    pub(crate) gate: (SocketAddr, SocketAddr),
    /// How long ago what is signed began, and how long from now it is good.
    pub(crate) life: (Duration, Duration),
    /// When certificates with these numbers should be renewed, as seconds since 1970; others have no such word.
    pub(crate) windows: HashMap<usize, (i64, i64)>,
    /// What was not as RFC 8555 has it.
    pub(crate) complaints: Vec<String>,
    /// What came, by the first part of its path.
    pub(crate) asked: Vec<String>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) orders: Vec<Order>,
    /// What the gate answered to each challenge.
    pub(crate) verified: Vec<Result<(), String>>,
    /// What somebody does before the next challenge is verified, while the gate is ready for it; it is told the name.
    pub(crate) meanwhile: Option<Meanwhile>,
    nonces: HashSet<String>,
    signs: Arc<Authority>,
    base: String,
}

pub(crate) struct Account {
    pub(crate) contact: Value,
    pub(crate) bound_to: Option<String>,
    x: Vec<u8>,
    y: Vec<u8>,
    thumbprint: String,
}

pub(crate) struct Order {
    account: usize,
    pub(crate) names: Vec<String>,
    pub(crate) replaces: Option<String>,
    /// The outcome for each name; `None` before it was verified.
    proven: Vec<Option<Result<(), String>>>,
    pub(crate) certificate: Option<Vec<u8>>,
    chain: String,
}

/// A status, a body, and where it lies.
struct Answer(u16, Value, Option<String>);

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    Answer(status, json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail }), None)
}

fn decode(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}

impl AcmeServer {
    pub(crate) fn start(http: SocketAddr, tls: SocketAddr) -> Self {
        let web = tls::Authority::new();
        let signs = Arc::new(Authority::new());
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Kind,
            bad_nonce_once: false,
            wants_external_account: false,
            gate: (http, tls),
            life: (Duration::from_secs(3600), Duration::from_secs(90 * 86_400)),
            windows: HashMap::new(),
            complaints: Vec::new(),
            asked: Vec::new(),
            accounts: Vec::new(),
            orders: Vec::new(),
            verified: Vec::new(),
            meanwhile: None,
            nonces: HashSet::new(),
            signs: Arc::clone(&signs),
            base: String::new(),
        }));
        let here = Arc::clone(&state);
        let origin =
            TlsOrigin::start(web.issue("127.0.0.1").server(None, &["http/1.1"]), move |wire| serve(wire, &here));
        let base = format!("https://{}", origin.address);
        state.lock().unwrap().base.clone_from(&base);
        Self { directory: format!("{base}/directory"), directory_ca: web.pem, signs, state, _origin: origin }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(wire: &mut Wire, state: &Mutex<State>) {
    while let Some(head) = tls::head(wire) {
        let mut state = state.lock().unwrap();
        if state.mood == Mood::Down {
            state.asked.push("nothing: it is down".to_owned());
            return;
        }
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned()))
        };
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if wire.read_exact(&mut body).is_err() {
            return;
        }
        if header("user-agent").is_none() {
            state.complaints.push(format!("{path}: no User-Agent (RFC 8555 section 6.1)"));
        }
        if method == "POST" && header("content-type").as_deref() != Some("application/jose+json") {
            state.complaints.push(format!("{path}: another content type"));
        }
        state.asked.push(path.split('/').nth(1).unwrap_or_default().to_owned());
        let Answer(status, body, location) = state.answer(&method, &path, &body);
        let nonce = format!("n{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 12]>()));
        state.nonces.insert(nonce.clone());
        let kind =
            if body["type"].is_string() && status >= 400 { "application/problem+json" } else { "application/json" };
        let (kind, text) = match body {
            Value::String(chain) => ("application/pem-certificate-chain", chain),
            body => (kind, body.to_string()),
        };
        let location = location.map(|path| format!("Location: {}{path}\r\n", state.base)).unwrap_or_default();
        let wait = match state.mood {
            Mood::Limited(seconds) if status == 429 => format!("Retry-After: {seconds}\r\n"),
            _ if path.starts_with("/renewal/") => "Retry-After: 21600\r\n".to_owned(),
            _ => String::new(),
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nReplay-Nonce: {nonce}\r\nContent-Type: {kind}\r\n{location}{wait}Content-Length: {}\r\n\r\n",
            text.len()
        );
        let text = if method == "HEAD" { "" } else { &text };
        drop(state);
        if wire
            .write_all(answer.as_bytes())
            .and_then(|()| wire.write_all(text.as_bytes()))
            .and_then(|()| wire.flush())
            .is_err()
        {
            return;
        }
    }
}

impl State {
    fn answer(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        let base = self.base.clone();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["directory"]) => {
                let at = |name: &str| format!("{base}/{name}");
                let directory = json!({
                    "newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order"),
                    "revokeCert": at("revoke"), "keyChange": at("key"), "renewalInfo": at("renewal"),
                    "meta": { "termsOfService": at("terms"), "externalAccountRequired": self.wants_external_account },
                });
                Answer(200, directory, None)
            }
            ("HEAD", ["nonce"]) => Answer(200, json!({}), None),
            ("GET", ["renewal", id]) => self.renewal(id),
            ("POST", parts) => match self.opened(path, body) {
                Ok((account, payload)) => self.act(parts, account, payload),
                Err(answer) => answer,
            },
            _ => problem(404, "malformed", "there is nothing here"),
        }
    }

    /// Opens the envelope of a request (RFC 8555 §6.2): whose it is, and what is in it (`None` for nothing at all).
    fn opened(&mut self, path: &str, body: &[u8]) -> Result<(Option<usize>, Option<Value>), Answer> {
        let jws: Value = serde_json::from_slice(body).unwrap_or_default();
        let header: Value = serde_json::from_slice(&decode(&jws["protected"])).unwrap_or_default();
        let mut complain = |what: &str| {
            self.complaints.push(format!("{path}: {what}"));
            problem(400, "malformed", what)
        };
        if header["url"] != format!("{}{path}", self.base) {
            return Err(complain("the signed address is another"));
        }
        if header["alg"] != "ES256" {
            return Err(complain("another algorithm"));
        }
        let nonce = header["nonce"].as_str().unwrap_or_default();
        if !self.nonces.remove(nonce) {
            return Err(complain("a nonce that was never given out, or came twice"));
        }
        let account = header["kid"].as_str().and_then(|kid| kid.rsplit('/').next()?.parse::<usize>().ok());
        let (x, y) = match (account.map(|index| self.accounts.get(index)), path) {
            (Some(Some(account)), _) => (account.x.clone(), account.y.clone()),
            (Some(None), _) => return Err(problem(400, "accountDoesNotExist", "nobody of that name")),
            (None, "/account") => (decode(&header["jwk"]["x"]), decode(&header["jwk"]["y"])),
            (None, _) => return Err(complain("no account")),
        };
        let signed = format!(
            "{}.{}",
            jws["protected"].as_str().unwrap_or_default(),
            jws["payload"].as_str().unwrap_or_default()
        );
        let key = [&[4][..], &x, &y].concat();
        let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key);
        if key.verify(signed.as_bytes(), &decode(&jws["signature"])).is_err() {
            return Err(complain("the signature is wrong"));
        }
        // Whoever has such a nonce has done nothing wrong; it has to try again (RFC 8555 section 6.5).
        if std::mem::take(&mut self.bad_nonce_once) {
            return Err(problem(400, "badNonce", "it has expired"));
        }
        let payload = decode(&jws["payload"]);
        if account.is_none() {
            return Ok((None, Some(self.registered(&header["jwk"], &payload)?)));
        }
        Ok((account, (!payload.is_empty()).then(|| serde_json::from_slice(&payload).unwrap_or_default())))
    }

    /// A new account's own words, when its binding is good (RFC 8555 §7.3.4).
    fn registered(&mut self, jwk: &Value, payload: &[u8]) -> Result<Value, Answer> {
        let wish: Value = serde_json::from_slice(payload).unwrap_or_default();
        if wish["termsOfServiceAgreed"] != true {
            return Err(problem(403, "userActionRequired", "the terms were not agreed to"));
        }
        let binding = &wish["externalAccountBinding"];
        let mut bound_to = None;
        if self.wants_external_account {
            if binding.is_null() {
                return Err(problem(403, "externalAccountRequired", "an account of ours is needed"));
            }
            let header: Value = serde_json::from_slice(&decode(&binding["protected"])).unwrap_or_default();
            let signed = format!(
                "{}.{}",
                binding["protected"].as_str().unwrap_or_default(),
                binding["payload"].as_str().unwrap_or_default()
            );
            let key = hmac::Key::new(hmac::HMAC_SHA256, EXTERNAL_KEY);
            let same: Value = serde_json::from_slice(&decode(&binding["payload"])).unwrap_or_default();
            let good = hmac::verify(&key, signed.as_bytes(), &decode(&binding["signature"])).is_ok();
            if !good || same != *jwk || header["alg"] != "HS256" || header["url"] != format!("{}/account", self.base) {
                return Err(problem(403, "unauthorized", "the binding is wrong"));
            }
            bound_to = header["kid"].as_str().map(str::to_owned);
        }
        let text = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let canonical =
            format!(r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{}"}}"#, text("crv"), text("kty"), text("x"), text("y"));
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let contact = wish["contact"].clone();
        self.accounts.push(Account { contact, bound_to, x: decode(&jwk["x"]), y: decode(&jwk["y"]), thumbprint });
        Ok(wish)
    }

    fn act(&mut self, parts: &[&str], account: Option<usize>, payload: Option<Value>) -> Answer {
        let index = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
        match (parts, account, payload) {
            (["account"], None, Some(_)) => {
                Answer(201, json!({ "status": "valid" }), Some(format!("/account/{}", self.accounts.len() - 1)))
            }
            (["order"], Some(account), Some(wish)) => self.order(account, &wish),
            (["order", at], Some(_), None) => Answer(200, self.shown(index(at)), None),
            (["proof", at, name], Some(_), None) => Answer(200, self.authorization(index(at), index(name)), None),
            (["challenge", at, name, kind], Some(_), Some(_)) => {
                let (at, name) = (index(at), index(name));
                self.verify(at, name, kind);
                let mut told = self.challenge(at, name, kind);
                if *kind == "tls-alpn-01" {
                    // Others look later: what came of it is in the authorization only.
                    told["status"] = json!("processing");
                    told["error"] = Value::Null;
                }
                Answer(200, told, None)
            }
            (["finalize", at], Some(_), Some(wish)) => self.finalize(index(at), &decode(&wish["csr"])),
            (["certificate", at], Some(_), None) => {
                Answer(200, Value::String(self.orders[index(at)].chain.clone()), None)
            }
            _ => problem(404, "malformed", "there is nothing here"),
        }
    }

    fn order(&mut self, account: usize, wish: &Value) -> Answer {
        if let Mood::Limited(_) = self.mood {
            return problem(429, "rateLimited", "too many certificates\r\nfor example.test");
        }
        let names: Vec<String> = wish["identifiers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name["value"].as_str().unwrap_or_default().to_owned())
            .collect();
        let proven = names.iter().map(|_| None).collect();
        let replaces = wish["replaces"].as_str().map(str::to_owned);
        self.orders.push(Order { account, names, replaces, proven, certificate: None, chain: String::new() });
        let at = self.orders.len() - 1;
        Answer(201, self.shown(at), Some(format!("/order/{at}")))
    }

    fn shown(&self, at: usize) -> Value {
        let order = &self.orders[at];
        let status = if order.certificate.is_some() {
            "valid"
        } else if order.proven.iter().any(|proof| matches!(proof, Some(Err(_)))) {
            "invalid"
        } else if order.proven.iter().all(|proof| matches!(proof, Some(Ok(())))) {
            "ready"
        } else {
            "pending"
        };
        let name = |value: &String| json!({ "type": "dns", "value": value });
        let mut shown = json!({
            "status": status,
            "identifiers": order.names.iter().map(name).collect::<Vec<_>>(),
            "authorizations": (0..order.names.len()).map(|name| format!("{}/proof/{at}/{name}", self.base)).collect::<Vec<_>>(),
            "finalize": format!("{}/finalize/{at}", self.base),
        });
        if status == "valid" {
            shown["certificate"] = json!(format!("{}/certificate/{at}", self.base));
        }
        if let Some(replaces) = &order.replaces {
            shown["replaces"] = json!(replaces);
        }
        shown
    }

    fn authorization(&self, at: usize, name: usize) -> Value {
        let order = &self.orders[at];
        let kinds = ["dns-01", "http-01", "tls-alpn-01"];
        json!({
            "status": status(&order.proven[name]),
            "identifier": { "type": "dns", "value": order.names[name] },
            "challenges": kinds.map(|kind| self.challenge(at, name, kind)),
        })
    }

    fn challenge(&self, at: usize, name: usize, kind: &str) -> Value {
        let proof = &self.orders[at].proven[name];
        let mut challenge = json!({
            "type": kind,
            "url": format!("{}/challenge/{at}/{name}/{kind}", self.base),
            "token": token(at, name),
            "status": status(proof),
        });
        if let Some(Err(why)) = proof
            && kind != "dns-01"
        {
            challenge["error"] = json!({ "type": "urn:ietf:params:acme:error:connection", "detail": why });
        }
        challenge
    }

    /// Fetches what the gate has to say.
    fn verify(&mut self, at: usize, name: usize, kind: &str) {
        let host = self.orders[at].names[name].clone();
        let proof = format!("{}.{}", token(at, name), self.accounts[self.orders[at].account].thumbprint);
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(&host);
        }
        let verified = match kind {
            "http-01" => acme_probe::http(self.gate.0, &host, &token(at, name), &proof),
            "tls-alpn-01" => {
                acme_probe::tls(self.gate.1, &host, digest::digest(&digest::SHA256, proof.as_bytes()).as_ref())
            }
            _ => Err("that is not verified here".to_owned()),
        };
        self.verified.push(verified.clone());
        self.orders[at].proven[name] = Some(verified);
    }

    fn finalize(&mut self, at: usize, request: &[u8]) -> Answer {
        if self.shown(at)["status"] != "ready" {
            return problem(403, "orderNotReady", "the names are not proven");
        }
        // Its signature is verified there: whoever asks holds the key.
        let Ok(mut asked) = CertificateSigningRequestParams::from_der(&request.into()) else {
            self.complaints.push("a request that cannot be read, or is not signed by its key".to_owned());
            return problem(400, "badCSR", "it cannot be read");
        };
        let mut names: Vec<String> = Vec::new();
        for name in &asked.params.subject_alt_names {
            let SanType::DnsName(name) = name else { return problem(400, "badCSR", "names of hosts only") };
            names.push(name.as_str().to_owned());
        }
        names.sort_unstable();
        let mut ordered = self.orders[at].names.clone();
        ordered.sort_unstable();
        if names != ordered {
            self.complaints.push(format!("the request is for {names:?} and the order for {ordered:?}"));
            return problem(400, "badCSR", "other names");
        }
        let now = OffsetDateTime::now_utc();
        asked.params.not_before = now - self.life.0;
        asked.params.not_after = now + self.life.1;
        asked.params.serial_number = Some(rcgen::SerialNumber::from(1_000 + at as u64));
        asked.params.use_authority_key_identifier_extension = true;
        let certificate = self.signs.sign(&asked);
        let order = &mut self.orders[at];
        order.certificate = Some(certificate.der().to_vec());
        order.chain = format!("{}{}", certificate.pem(), self.signs.pem());
        Answer(200, self.shown(at), None)
    }

    /// When a certificate should be renewed (RFC 9773 §4.2). Its name ends in its serial number.
    fn renewal(&self, id: &str) -> Answer {
        let serial = id.split_once('.').map(|(_, serial)| URL_SAFE_NO_PAD.decode(serial).unwrap_or_default());
        let serial = serial.unwrap_or_default().iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        let Some((start, end)) = self.windows.get(&serial.wrapping_sub(1_000)) else {
            return problem(404, "malformed", "no word about that");
        };
        let moment = |seconds: &i64| {
            let at = OffsetDateTime::from_unix_timestamp(*seconds).unwrap();
            at.format(&time::format_description::well_known::Rfc3339).unwrap()
        };
        Answer(200, json!({ "suggestedWindow": { "start": moment(start), "end": moment(end) } }), None)
    }
}

fn token(at: usize, name: usize) -> String {
    format!("token-of-order-{at}-and-name-{name}")
}

fn status(proof: &Option<Result<(), String>>) -> &'static str {
    match proof {
        None => "pending",
        Some(Ok(())) => "valid",
        Some(Err(_)) => "invalid",
    }
}

//! A real Chromium, led by ChromeDriver over the W3C WebDriver protocol.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::{Client, Reply};
use crate::support::eventually;
use crate::support::process::free_address;

/// The member under which WebDriver names an element (W3C WebDriver §11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// For what must happen soon.
const SOON: Duration = Duration::from_secs(10);

/// Whether Chromium and its driver are here. Where they are not, that is said once, past the tests' capture; under `CI` it
/// is a failure.
pub(crate) fn is_installed() -> bool {
    static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *FOUND.get_or_init(|| {
        let runs = |program: &str| {
            let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        };
        let found = runs("chromium") && runs("chromedriver");
        assert!(found || std::env::var_os("CI").is_none(), "chromium or chromedriver is not installed");
        if !found {
            let line = "SKIPPED: chromium or chromedriver is not installed; \"cargo xtask test\" installs them\n";
            std::io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
        }
        found
    })
}

/// Whether pages may run scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scripts {
    /// They may, as everywhere.
    On,
    /// The browser's settings forbid it.
    Off,
}

/// A browser with a profile of its own and one window. It ends when the value goes.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    client: Client,
    session: String,
    _profile: TempDir,
}

/// Something on a page.
#[derive(Clone, Debug)]
pub(crate) struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Browser {
    /// Starts it.
    pub(crate) fn start(scripts: Scripts) -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that at the end the browser goes with its driver, whatever state they are in.
            .process_group(0)
            .spawn()
            .expect("chromedriver can be started");
        let mut browser = Self {
            driver,
            client: Client::at(address, Ipv4Addr::LOCALHOST),
            session: String::new(),
            _profile: profile,
        };
        eventually("chromedriver is ready", SOON, || {
            let status = browser.client.get("/status").try_send().ok()?;
            (status.json()["value"]["ready"] == true).then_some(())
        });
        let profile = browser._profile.path().display();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--no-first-run".to_owned(),
            format!("--user-data-dir={profile}"),
            // A page that reaches for anything else gets nothing, and the test says so.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost".to_owned(),
        ];
        if geteuid().is_root() {
            // Chromium's sandbox refuses to be set up by root.
            arguments.push("--no-sandbox".to_owned());
        }
        let javascript = if scripts == Scripts::Off { 2 } else { 1 };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": "/usr/bin/chromium",
                "args": arguments,
                "prefs": {
                    "profile.managed_default_content_settings.javascript": javascript,
                    "credentials_enable_service": false,
                },
            },
        } } });
        let reply = browser.client.post("/session").json(&wanted).send();
        let answer = reply.json();
        let session = answer["value"]["sessionId"].as_str();
        browser.session = session.unwrap_or_else(|| panic!("no session: {}", reply.text())).to_owned();
        browser.desktop();
        browser
    }

    /// A window of 1280×800.
    pub(crate) fn desktop(&self) {
        self.metrics(1280, 800, false);
    }

    /// A small phone: 360×640.
    pub(crate) fn phone(&self) {
        self.metrics(360, 640, true);
    }

    fn metrics(&self, width: u32, height: u32, mobile: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// What the system's settings prefer: a dark display or a light one.
    pub(crate) fn prefer_dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// Opens a URL, as somebody who types it or follows a link of a mail.
    pub(crate) fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.ask("GET", "/url", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// The title of the page.
    pub(crate) fn title(&self) -> String {
        self.ask("GET", "/title", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// The text of the page as a person sees it.
    pub(crate) fn text(&self) -> String {
        eventually("the page stands still", SOON, || {
            let body = self.all("body").pop()?;
            // It may go while it is looked at, when another page takes its place.
            self.try_ask("GET", &format!("/element/{}/text", body.id), &Value::Null)?.as_str().map(str::to_owned)
        })
    }

    /// Every element that a CSS selector finds, in the page's order.
    pub(crate) fn all(&self, selector: &str) -> Vec<Element<'_>> {
        let found = self.ask("POST", "/elements", &json!({ "using": "css selector", "value": selector }));
        let element = |value: &Value| Element { browser: self, id: value[ELEMENT].as_str().unwrap_or_default().into() };
        found.as_array().map(|list| list.iter().map(element).collect()).unwrap_or_default()
    }

    /// The one element that a CSS selector finds.
    pub(crate) fn one(&self, selector: &str) -> Element<'_> {
        let mut found = self.all(selector);
        let count = found.len();
        match found.pop() {
            Some(element) if count == 1 => element,
            _ => panic!("{count} elements are {selector} at {}:\n{}", self.url(), self.source()),
        }
    }

    /// The first element of these whose text a person reads as this.
    pub(crate) fn saying(&self, selector: &str, text: &str) -> Element<'_> {
        let found = self.all(selector).into_iter().find(|element| element.text() == text);
        found.unwrap_or_else(|| panic!("no {selector} says {text:?} at {}:\n{}", self.url(), self.text()))
    }

    /// Waits until the page says something.
    pub(crate) fn await_text(&self, text: &str) {
        eventually(&format!("the page says {text:?}"), SOON, || self.text().contains(text).then_some(()));
    }

    /// The source of the page as it stands.
    pub(crate) fn source(&self) -> String {
        self.ask("GET", "/source", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// What a script on behalf of the test returns. It runs whatever the page may do itself.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The element that has the keyboard.
    pub(crate) fn focused(&self) -> Element<'_> {
        let found = self.ask("GET", "/element/active", &Value::Null);
        Element { browser: self, id: found[ELEMENT].as_str().unwrap_or_default().into() }
    }

    /// Presses a key, wherever the keyboard is.
    pub(crate) fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.ask("POST", "/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] }));
    }

    /// What the browser complained of since the last time: `Content-Security-Policy` breaches, failed loads, errors.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let line = |entry: &Value| format!("{} {}", entry["level"], entry["message"]);
        log.as_array().map(|entries| entries.iter().map(line).collect()).unwrap_or_default()
    }

    /// The cookies that the page's origin has here, as `(name, cookie)`.
    pub(crate) fn cookies(&self) -> Vec<Value> {
        self.ask("GET", "/cookie", &Value::Null).as_array().cloned().unwrap_or_default()
    }

    /// Writes a picture of the window.
    pub(crate) fn picture(&self, file: &Path) {
        let picture = self.ask("GET", "/screenshot", &Value::Null);
        let bytes = STANDARD.decode(picture.as_str().unwrap_or_default()).expect("a screenshot is base64");
        std::fs::write(file, bytes).expect("the picture can be written");
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.ask("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.send(method, path, body);
        assert_eq!(reply.status, 200, "{method} {path} {body}: {}", reply.text());
        reply.json()["value"].take()
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let reply = self.send(method, path, body);
        (reply.status == 200).then(|| reply.json()["value"].take())
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let target = format!("/session/{}{path}", self.session);
        let request = self.client.request(method, &target);
        if method == "POST" { request.json(body) } else { request }.send()
    }
}

impl Element<'_> {
    /// The text that a person sees.
    pub(crate) fn text(&self) -> String {
        self.ask("GET", "/text", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// An attribute as the page wrote it.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        self.ask("GET", &format!("/attribute/{name}"), &Value::Null).as_str().map(str::to_owned)
    }

    /// A property as it stands now.
    pub(crate) fn property(&self, name: &str) -> String {
        self.ask("GET", &format!("/property/{name}"), &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// What a screen reader calls it.
    pub(crate) fn label(&self) -> String {
        self.ask("GET", "/computedlabel", &Value::Null).as_str().unwrap_or_default().to_owned()
    }

    /// Clicks it; a page that this leads to is loaded afterwards.
    pub(crate) fn click(&self) {
        self.ask("POST", "/click", &json!({}));
    }

    /// Takes what stands in the field away and types this.
    pub(crate) fn fill(&self, text: &str) {
        self.ask("POST", "/clear", &json!({}));
        self.ask("POST", "/value", &json!({ "text": text }));
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.browser.ask(method, &format!("/element/{}{path}", self.id), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.client.request("DELETE", &format!("/session/{}", self.session)).try_send();
        }
        if let Some(group) = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}

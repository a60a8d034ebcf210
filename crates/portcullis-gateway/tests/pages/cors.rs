//! Pages of two origins at one gate, in a browser that knows the rules better than we do (H3).

use std::io;

use serde_json::{Value, json};

use crate::browser::{self, Browser, Scripts};
use crate::support::origin::{Exchange, Origin};
use crate::support::process::{Gateway, Setup};
use crate::support::{PASSWORD, PROJECT_ROUTES};
use crate::{at, serving};

/// A gate that one of two apps may ask.
struct Town {
    browser: Browser,
    gateway: Gateway,
    api: Origin,
    app: Origin,
    evil: Origin,
}

fn api(exchange: &mut Exchange<'_>) -> io::Result<()> {
    exchange.read_body()?;
    if exchange.seen.target == "/public/visit" {
        return exchange.send(
            "HTTP/1.1 200 OK\r\nSet-Cookie: visited=1; Path=/; HttpOnly\r\nX-Total: 7\r\nX-Secret: 8\r\n\
             Access-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok",
        );
    }
    exchange.answer("200 OK", &json!({ "method": exchange.seen.method }))
}

fn town() -> Option<Town> {
    if !browser::is_installed() {
        return None;
    }
    let (api, app, evil) =
        (Origin::start(api), serving("<title>app</title>".into()), serving("<title>evil</title>".into()));
    let cors = format!(
        "[cors]\norigins = [\"http://{}\"]\ncredentials = true\nexpose_headers = [\"X-Total\"]\n\n\
         [[route]]\nmatch = \"PUT /items/{{id}}\"\naccess = \"public\"\n",
        app.address
    );
    let gateway = Setup::before(&api).with(&cors).with(PROJECT_ROUTES).start();
    Some(Town { browser: Browser::start(Scripts::On), gateway, api, app, evil })
}

impl Town {
    /// What a script of the page at this origin gets of a path at the gate.
    fn fetched(&self, path: &str, options: &Value) -> Value {
        let url = at(&self.gateway, path);
        self.browser.run(&format!(
            "return fetch('{url}', {options}).then(async (answer) => ({{
                status: answer.status, text: await answer.text(), total: answer.headers.get('x-total'),
                secret: answer.headers.get('x-secret'), wait: answer.headers.get('retry-after'),
                left: answer.headers.get('x-ratelimit-remaining'),
            }}), (error) => ({{ error: String(error) }}))"
        ))
    }

    fn visit(&self, page: &Origin) {
        self.browser.open(&format!("http://{}/", page.address));
    }
}

#[test]
fn h3_a_listed_page_reads_and_no_other_does() {
    let Some(town) = town() else { return };
    town.visit(&town.app);
    let read = town.fetched("/public/visit", &json!({ "credentials": "include" }));
    assert_eq!((&read["status"], &read["text"], &read["total"]), (&json!(200), &json!("ok"), &json!("7")), "{read}");
    assert_eq!(read["secret"], Value::Null, "what is not exposed is not read");
    assert!(read["left"].is_string(), "{read}");
    town.visit(&town.evil);
    for options in [json!({}), json!({ "credentials": "include" })] {
        let read = town.fetched("/public/visit", &options);
        assert!(read["error"].is_string() && read["text"].is_null(), "{read}");
    }
    // The same host by another name is another origin.
    town.browser.open(&format!("http://localhost:{}/", town.app.address.port()));
    assert!(town.fetched("/public/visit", &json!({}))["error"].is_string());
}

#[test]
fn h3_a_frame_without_an_origin_reads_nothing() {
    let Some(town) = town() else { return };
    town.visit(&town.app);
    let url = at(&town.gateway, "/public/visit");
    let said = town.browser.run(&format!(
        "return new Promise((done) => {{
            addEventListener('message', (event) => done(event.data));
            const frame = document.createElement('iframe');
            frame.sandbox = 'allow-scripts';
            frame.srcdoc = `<script>fetch('{url}').then(() => 'read', () => 'refused')
                .then((word) => parent.postMessage(origin + ' ' + word, '*'))</` + 'script>';
            document.body.append(frame);
        }})"
    ));
    assert_eq!(said, "null refused");
}

#[test]
fn h3_a_put_with_credentials_comes_from_the_listed_page_only() {
    let Some(town) = town() else { return };
    town.visit(&town.app);
    town.fetched("/public/visit", &json!({ "credentials": "include" }));
    let put = json!({ "method": "PUT", "credentials": "include", "headers": { "Content-Type": "application/json" }, "body": "{}" });
    let answer = town.fetched("/items/7", &put);
    assert_eq!(answer["status"], 200, "{answer}");
    let seen = town.api.last();
    assert_eq!((seen.method.as_str(), seen.headers("cookie")), ("PUT", vec!["visited=1"]));
    let before = town.api.requests().len();
    // A method that no route has, and a header that nobody listed.
    assert!(town.fetched("/items/7", &json!({ "method": "PATCH" }))["error"].is_string());
    assert!(town.fetched("/items/7", &json!({ "method": "PUT", "headers": { "X-Odd": "1" } }))["error"].is_string());
    town.visit(&town.evil);
    assert!(town.fetched("/items/7", &put)["error"].is_string());
    assert_eq!(town.api.requests().len(), before, "nothing of it reached the API");
}

#[test]
fn h3_a_listed_page_reads_why_it_is_refused_and_when_to_come_back() {
    let Some(town) = town() else { return };
    town.visit(&town.app);
    let refused = town.fetched("/projects", &json!({}));
    assert_eq!(refused["status"], 401, "{refused}");
    assert!(refused["text"].as_str().unwrap().contains("Authentication required"));
    let limited = (0..400).map(|_| town.fetched("/public/visit", &json!({}))).find(|answer| answer["status"] == 429);
    let limited = limited.expect("a limit");
    assert!(limited["text"].as_str().unwrap().contains("Rate limit exceeded"), "{limited}");
    assert!(limited["wait"].is_string() && limited["left"] == "0", "{limited}");
    town.visit(&town.evil);
    assert!(town.fetched("/projects", &json!({}))["error"].is_string());
}

#[test]
fn h3_an_app_of_another_origin_signs_in() {
    let Some(town) = town() else { return };
    town.gateway.create_user("spa@example.com", "viewer");
    town.visit(&town.app);
    let body = json!({ "email": "spa@example.com", "password": PASSWORD }).to_string();
    let options = json!({ "method": "POST", "headers": { "Content-Type": "application/json" }, "body": body });
    let login = town.fetched("/auth/login", &options);
    assert_eq!(login["status"], 200, "{login}");
    let told: Value = serde_json::from_str(login["text"].as_str().unwrap()).unwrap();
    let bearer = format!("Bearer {}", told["accessToken"].as_str().unwrap());
    let projects = town.fetched("/projects", &json!({ "headers": { "Authorization": bearer } }));
    assert_eq!(projects["status"], 200, "{projects}");
    town.visit(&town.evil);
    assert!(town.fetched("/auth/login", &options)["error"].is_string());
}

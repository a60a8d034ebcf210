//! The operator's side: the admin listener with its token.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::client::{Client, Reply};
use super::eventually;

/// Someone who holds the operator's token.
#[derive(Debug)]
pub(crate) struct Operator {
    client: Client,
    pub(crate) token: String,
}

/// A mail that the catcher caught.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl Mail {
    /// The token of the link in it.
    pub(crate) fn token(&self) -> String {
        let start = self.text.find("token=").unwrap_or_else(|| panic!("no link in {self:?}")) + "token=".len();
        self.text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
    }
}

impl Operator {
    pub(crate) fn new(admin: SocketAddr, state: &Path) -> Self {
        let file = state.join("admin-token");
        let token = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self { client: Client::at(admin, Ipv4Addr::LOCALHOST), token: token.trim().to_owned() }
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.client.get(target).bearer(&self.token).send()
    }

    /// Moves the machine's clock, as the gateway sees it, forward.
    pub(crate) fn advance(&self, by: &str) {
        self.set_clock(&json!({ "advance": by }));
    }

    /// Lets the gateway's time stand still from now on, but for [`Operator::advance`] and [`Operator::step`].
    pub(crate) fn stop_clock(&self) {
        self.set_clock(&json!({ "stop": true, "atOnce": true }));
    }

    /// Moves it forward and waits for no chore to see it: only for so little that no token or record runs out.
    pub(crate) fn step(&self, by: Duration) {
        self.set_clock(&json!({ "advance": format!("{}ms", by.as_millis()), "atOnce": true }));
    }

    /// Moves it back.
    pub(crate) fn set_back(&self, by: &str) {
        self.set_clock(&json!({ "setBack": by }));
    }

    fn set_clock(&self, how: &serde_json::Value) {
        let reply = self.client.post("/test-clock").bearer(&self.token).json(how).send();
        assert!((200..300).contains(&reply.status), "test-clock: {} {}", reply.status, reply.text());
    }

    /// Every mail so far to this address, in whatever order the catcher tells.
    pub(crate) fn mails(&self, to: &str) -> Vec<Mail> {
        self.try_mails(to).expect("the catcher answers")
    }

    /// The same; `None` where nobody answers.
    pub(crate) fn try_mails(&self, to: &str) -> Option<Vec<Mail>> {
        let reply = self.client.get("/mail.json").bearer(&self.token).try_send().ok()?;
        let mails = reply.expect(200).json();
        let text = |mail: &serde_json::Value, member: &str| mail[member].as_str().unwrap_or_default().to_owned();
        let list = mails.as_array().expect("mail.json is a list").iter();
        let mail = |mail| Mail { to: text(mail, "to"), subject: text(mail, "subject"), text: text(mail, "text") };
        Some(list.map(mail).filter(|mail| mail.to == to).collect())
    }

    /// Waits until so many mails to this address have come.
    pub(crate) fn await_mails(&self, to: &str, count: usize) -> Vec<Mail> {
        eventually(&format!("{count} mails to {to}"), Duration::from_secs(10), || {
            let mails = self.mails(to);
            (mails.len() >= count).then_some(mails)
        })
    }

    /// The metrics in Prometheus form.
    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics").expect(200).text()
    }
}

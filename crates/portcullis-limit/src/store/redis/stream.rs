//! A connection to Redis, and the words by which one is let in.

use portcullis_core::Secret;

use super::options::RedisOptions;
use super::wire::{Value, Words, parse};
use crate::store::StoreError;
use crate::store::net::{Address, Dialer, Stream, exchange, in_time, readable};

/// The rights that a user of Redis's access control lists needs.
pub(super) const NEEDS: &str = "~rl:* +eval +evalsha +script|load +get +set +del +time +lindex +llen +lset +ltrim +lpush \
                                +rpush +lrem +pexpire +info +role +select +cluster|slots";

/// A user and a password.
pub(super) type Login = Option<(Option<String>, Secret<String>)>;

/// How connections are made.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    dialer: Dialer,
    pub(super) login: Login,
    pub(super) database: u32,
}

impl Connector {
    /// What the options say; the CA file is read now.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, StoreError> {
        let dialer = Dialer::new("Redis", options.tls, options.ca_file.as_deref())?;
        let login = login(options.user.as_ref(), options.password.as_ref());
        Ok(Self { dialer, login, database: options.database })
    }

    /// The same with the Sentinels' user and password.
    pub(super) fn to_sentinels(&self, options: &RedisOptions) -> Self {
        let login = login(options.sentinel_user.as_ref(), options.sentinel_password.as_ref());
        Self { dialer: self.dialer.clone(), login, database: 0 }
    }

    /// Makes a connection on which commands can be sent.
    pub(super) async fn connect(&self, address: &Address) -> Result<Stream, StoreError> {
        let store = name(address);
        let connecting = async {
            let mut stream = self.dialer.dial(&store, address).await?;
            if let Some((user, password)) = &self.login {
                let mut words = Words::default();
                user.iter().for_each(|user| words.push(user));
                words.push(password.expose());
                say(&mut stream, &store, "AUTH", &words).await?;
            }
            if self.database != 0 {
                say(&mut stream, &store, "SELECT", &Words::of(&[&self.database.to_string()])).await?;
            }
            // A server that hangs accepts connections all the same. Whatever it answers, it answers.
            ask(&mut stream, &store, "PING", &Words::default()).await?;
            Ok(stream)
        };
        in_time(&store, connecting).await
    }
}

/// What is said to be let in; a user may have no password.
fn login(user: Option<&String>, password: Option<&Secret<String>>) -> Login {
    let none = || user.map(|_| Secret::new(String::new()));
    password.cloned().or_else(none).map(|password| (user.cloned(), password))
}

/// How a server is named in messages.
pub(super) fn name(address: &Address) -> Box<str> {
    format!("Redis at {address}").into()
}

/// Sends one command and reads its one answer; nothing else may be under way.
pub(super) async fn ask(stream: &mut Stream, store: &str, command: &str, words: &Words) -> Result<Value, StoreError> {
    let mut bytes = Vec::with_capacity(128);
    words.write(&[command], &mut bytes);
    exchange(stream, store, &bytes, parse).await
}

/// The same where an error is one.
pub(super) async fn say(stream: &mut Stream, store: &str, command: &str, words: &Words) -> Result<Value, StoreError> {
    match ask(stream, store, command, words).await? {
        Value::Error(answer) => Err(error_of(store, &answer)),
        value => Ok(value),
    }
}

/// The errors of a server that will serve again by itself.
const NOT_READY: [&str; 8] =
    ["READONLY", "LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF"];

/// What an error that the server tells means.
pub(super) fn error_of(store: &str, answer: &str) -> StoreError {
    let (code, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    // An older server tells an error in a script as ERR with the code somewhere in the text.
    let says = |word: &str| code == word || (code == "ERR" && rest.contains(word));
    let (store, answer) = (store.into(), readable(answer));
    // The last is about a command of more words than it reads of whoever has not said a password.
    let may_not = ["user executing the script can't", "AUTH <password>", "unauthenticated multibulk"];
    if says("NOPERM") || says("NOAUTH") || says("WRONGPASS") || may_not.into_iter().any(|words| rest.contains(words)) {
        StoreError::NotAllowed { store, answer, needs: NEEDS }
    } else if says("OOM") {
        StoreError::Full { store }
    } else if says("WRONGTYPE") || says("FOREIGN") {
        StoreError::Foreign { store, answer }
    } else if NOT_READY.into_iter().any(says) || matches!(code, "MOVED" | "ASK") {
        StoreError::NotReady { store, answer }
    } else {
        StoreError::Protocol { store, answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l10_what_a_server_says_begins_no_line_of_its_own_in_a_log_and_has_an_end() {
        for code in ["ERR", "NOAUTH", "WRONGTYPE", "LOADING", "MOVED"] {
            let hostile = format!(
                "{code} it can't\n2026-01-01T00:00:00Z  INFO all is well\r\u{1b}[2J\u{202e}{}",
                "x".repeat(9_999)
            );
            let told = error_of("Redis at 127.0.0.1:1", &hostile).to_string();
            let expected =
                format!("{code} it can't\\n2026-01-01T00:00:00Z  INFO all is well\\r\\u{{1b}}[2J\\u{{202e}}xxx");
            assert!(told.contains(&expected) && told.len() < 1_000, "{told}");
        }
        let elsewhere = Address { host: "a\n\u{1b}[2Jb".into(), port: 1 };
        assert_eq!(&*name(&elsewhere), "Redis at a\\n\\u{1b}[2Jb:1");
    }
}

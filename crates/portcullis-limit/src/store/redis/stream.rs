//! A connection: TCP or TLS, and the words by which one is let in.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use portcullis_core::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::options::{Address, RedisOptions};
use super::wire::{Value, Words, parse};
use crate::store::StoreError;

/// How long making a connection may take, with everything that is said before the first command.
const CONNECT: Duration = Duration::from_secs(1);

/// The rights that a user of Redis's access control lists needs.
pub(super) const NEEDS: &str = "~rl:* +eval +evalsha +script|load +get +set +del +time +lindex +llen +lset +ltrim +lpush \
                                +rpush +lrem +pexpire +info +role +select +cluster|slots";

/// A user and a password.
pub(super) type Login = Option<(Option<String>, Secret<String>)>;

/// How connections are made.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    pub(super) login: Login,
    pub(super) database: u32,
}

/// Bytes to and from a server.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connector {
    /// What the options say; the CA file is read now.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, StoreError> {
        let tls = if options.tls { Some(Arc::new(tls_config(options)?)) } else { None };
        let login = login(options.user.as_ref(), options.password.as_ref());
        Ok(Self { tls, login, database: options.database })
    }

    /// The same with the Sentinels' user and password.
    pub(super) fn to_sentinels(&self, options: &RedisOptions) -> Self {
        let login = login(options.sentinel_user.as_ref(), options.sentinel_password.as_ref());
        Self { tls: self.tls.clone(), login, database: 0 }
    }

    /// Makes a connection on which commands can be sent.
    pub(super) async fn connect(&self, address: &Address) -> Result<Stream, StoreError> {
        let store = name(address);
        let unavailable = |cause: &dyn std::fmt::Display| StoreError::Unavailable {
            store: name(address),
            cause: cause.to_string().into(),
        };
        let connecting = async {
            let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|e| unavailable(&e))?;
            // Commands are gathered before they are written: there is nothing to wait for.
            tcp.set_nodelay(true).map_err(|error| unavailable(&error))?;
            let mut stream = match &self.tls {
                None => Stream::Plain(tcp),
                Some(config) => {
                    let name = ServerName::try_from(address.host.clone()).map_err(|error| unavailable(&error))?;
                    let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
                    Stream::Tls(Box::new(tls.map_err(|error| unavailable(&error))?))
                }
            };
            if let Some((user, password)) = &self.login {
                let mut words = Words::default();
                user.iter().for_each(|user| words.push(user));
                words.push(password.expose());
                stream.say(&store, "AUTH", &words).await?;
            }
            if self.database != 0 {
                stream.say(&store, "SELECT", &Words::of(&[&self.database.to_string()])).await?;
            }
            // A server that hangs accepts connections all the same. Whatever it answers, it answers.
            stream.ask(&store, "PING", &Words::default()).await?;
            Ok(stream)
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(made) => made,
            Err(_) => Err(unavailable(&format_args!("no answer within {} s", CONNECT.as_secs()))),
        }
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

fn tls_config(options: &RedisOptions) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let bad = |cause: &dyn std::fmt::Display| StoreError::Unavailable {
                store: "Redis".into(),
                cause: format!("the CA file {} cannot be used: {cause}", file.display()).into(),
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))? {
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
            if roots.is_empty() {
                return Err(bad(&"there is no certificate in it"));
            }
        }
    }
    // The provider is named, as a process may have several.
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions =
        versions.map_err(|error| StoreError::Unavailable { store: "Redis".into(), cause: error.to_string().into() })?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

impl Stream {
    /// Sends one command and reads its one answer; nothing else may be under way.
    pub(super) async fn ask(&mut self, store: &str, command: &str, words: &Words) -> Result<Value, StoreError> {
        let broken = |cause: &dyn std::fmt::Display| StoreError::Unavailable {
            store: store.into(),
            cause: cause.to_string().into(),
        };
        let mut bytes = Vec::with_capacity(128);
        words.write(&[command], &mut bytes);
        self.write_all(&bytes).await.map_err(|error| broken(&error))?;
        self.flush().await.map_err(|error| broken(&error))?;
        bytes.clear();
        loop {
            if self.read_buf(&mut bytes).await.map_err(|error| broken(&error))? == 0 {
                return Err(broken(&"it closed the connection"));
            }
            match parse(&bytes) {
                // More than one answer to one question would be taken for the answer to the next.
                Ok(Some((value, length))) if length == bytes.len() => return Ok(value),
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    let answer = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_default().to_string();
                    return Err(StoreError::Protocol { store: store.into(), answer: answer.into() });
                }
            }
        }
    }

    /// The same where an error is one.
    pub(super) async fn say(&mut self, store: &str, command: &str, words: &Words) -> Result<Value, StoreError> {
        match self.ask(store, command, words).await? {
            Value::Error(answer) => Err(error_of(store, &answer)),
            value => Ok(value),
        }
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
    let (store, answer) = (store.into(), answer.chars().take(200).collect::<String>().into());
    let script_may_not = rest.contains("user executing the script can't");
    if says("NOPERM") || says("NOAUTH") || says("WRONGPASS") || rest.contains("AUTH <password>") || script_may_not {
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

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

//! An HTTP/1.1 client that hides nothing: it sends the bytes it is given and shows the bytes it gets. Where a test wants the same
//! asked by HTTP/2, it is.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::honest::{self, Asked, Version};

/// How long an answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// One client with an address of its own.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: Ipv4Addr,
    gate: SocketAddr,
    version: Version,
    kept: Mutex<Option<Connection>>,
}

impl Client {
    /// A client with an address that no other client of this test binary has.
    pub(crate) fn new(gate: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // 127.0.0.1 stays for the servers.
        let [_, b, c, d] = (256 + number * 3).to_be_bytes();
        Self::at(gate, Ipv4Addr::new(127, 10 + b, c, d.max(2)))
    }

    /// A client with this address.
    pub(crate) fn at(gate: SocketAddr, address: Ipv4Addr) -> Self {
        Self { address, gate, version: Version::One, kept: Mutex::new(None) }
    }

    /// The same client with another version of HTTP, every request on a connection of its own where that is HTTP/2.
    pub(crate) fn by(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn speaks_http2(&self) -> bool {
        self.version == Version::Two
    }

    /// A new connection from this client's address.
    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().expect("the gate accepts connections")
    }

    /// A new connection from this client's address, or why there is none.
    pub(crate) fn try_connect(&self) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(self.address), 0).into())?;
        socket.connect_timeout(&self.gate.into(), Duration::from_secs(5))?;
        Connection::new(socket.into())
    }

    pub(crate) fn get(&self, target: &str) -> Request<'_> {
        Request::new(self, "GET", target)
    }

    pub(crate) fn post(&self, target: &str) -> Request<'_> {
        Request::new(self, "POST", target)
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> Request<'_> {
        Request::new(self, method, target)
    }

    /// Sends on the kept connection where there is one, and keeps it when the answer allows.
    fn exchange(&self, bytes: &[u8], head_only: bool) -> io::Result<Reply> {
        let mut kept = self.kept.lock().expect("no test panics while it holds a connection");
        if let Some(mut connection) = kept.take() {
            let outcome = connection.send(bytes).and_then(|()| connection.reply_to(head_only));
            match outcome {
                Ok(reply) => {
                    if reply.keeps_alive() {
                        *kept = Some(connection);
                    }
                    return Ok(reply);
                }
                // The other side may close a connection that rests; a broken answer is another matter.
                Err(error) if connection.unread.is_empty() && ended(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = self.try_connect()?;
        connection.send(bytes)?;
        let reply = connection.reply_to(head_only)?;
        if reply.keeps_alive() {
            *kept = Some(connection);
        }
        Ok(reply)
    }
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    client: &'a Client,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    trailers: Vec<(String, String)>,
}

impl<'a> Request<'a> {
    fn new(client: &'a Client, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { client, method, target, headers: Vec::new(), body: None, trailers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// With a token against forgery.
    pub(crate) fn csrf(self, token: &str) -> Self {
        self.header("X-CSRF-Token", token)
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string().as_bytes())
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    /// With a field behind its body, of which nobody is told the length then.
    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The bytes of the request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            bytes.extend_from_slice(format!("Host: {}\r\n", self.client.gate).as_bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let body = self.body.as_deref().unwrap_or_default();
        if !self.trailers.is_empty() {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            if !body.is_empty() {
                bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(&[body, b"\r\n"].concat());
            }
            bytes.extend_from_slice(b"0\r\n");
            for (name, value) in &self.trailers {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            return bytes;
        }
        if self.body.is_some() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }

    /// Sends it and waits for the answer.
    pub(crate) fn send(self) -> Reply {
        let what = format!("{} {}", self.method, self.target);
        self.try_send().unwrap_or_else(|error| panic!("{what} got no answer: {error}"))
    }

    /// Sends it and waits for the answer, or tells why there is none.
    pub(crate) fn try_send(self) -> io::Result<Reply> {
        if self.client.version == Version::Two {
            let asked = Asked {
                method: &self.method,
                target: &self.target,
                headers: &self.headers,
                body: self.body.as_deref(),
                trailers: &self.trailers,
            };
            return honest::exchange(self.client.gate, self.client.address, &asked);
        }
        self.client.exchange(&self.bytes(), self.method == "HEAD")
    }
}

/// One TCP connection to the gate.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The answer to a request other than HEAD.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        self.reply_to(false)
    }

    /// The next final answer (or the 101); interim answers are noted in it.
    pub(crate) fn reply_to(&mut self, head_only: bool) -> io::Result<Reply> {
        let mut interim = Vec::new();
        let mut reply = loop {
            let reply = self.head()?;
            if reply.status >= 200 || reply.status == 101 {
                break reply;
            }
            interim.push(reply.status);
        };
        reply.interim = interim;
        if head_only || reply.status == 101 || reply.status == 204 || reply.status == 304 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = self.chunk()? {
                reply.body.extend_from_slice(&chunk);
            }
            reply.trailers = self.fields()?;
        } else if let Some(length) = reply.header("content-length") {
            let length = length.parse().map_err(|_| invalid("Content-Length is no number"))?;
            reply.body = self.take(length)?;
        } else {
            while self.fill()? {}
            reply.body = std::mem::take(&mut self.unread);
        }
        Ok(reply)
    }

    /// The head of the next answer, its body left unread.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        if version != "HTTP/1.1" && version != "HTTP/1.0" {
            return Err(invalid(&format!("not a status line: {line:?}")));
        }
        let status = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| invalid("no status code"))?;
        let headers = self.fields()?;
        Ok(Reply { status, headers, body: Vec::new(), trailers: Vec::new(), interim: Vec::new() })
    }

    /// The next chunk of a chunked body; `None` is the last one.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).map_err(|_| invalid(&format!("not a chunk size: {line:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let chunk = self.take(size)?;
        if !self.line()?.is_empty() {
            return Err(invalid("a chunk does not end where it said"));
        }
        Ok(Some(chunk))
    }

    /// Exactly so many bytes.
    pub(crate) fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// Waits for the other side to close; what it sent until then. Fails when it does not close in time.
    pub(crate) fn until_close(&mut self, within: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.fill() {
                Ok(true) => {}
                // A reset closes as well.
                Ok(false) => return Ok(std::mem::take(&mut self.unread)),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&format!("not a field: {line:?}")))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).map_err(|_| invalid("a line is not UTF-8"));
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads what has come; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = loop {
            match self.stream.read(&mut buffer) {
                // A read with a time-out is not taken up again by itself when the process was suspended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}

fn ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) interim: Vec<u16>,
}

impl Reply {
    /// The value of a header that may stand once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers(name).into_iter();
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands more than once: {:?}", self.headers);
        value
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().filter(|(other, _)| *other == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} with a body that is not JSON ({error}): {}", self.status, self.text()))
    }

    /// The member `error` of the body.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Fails unless it is this refusal, told as problem details.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, error: &str) -> Self {
        assert_eq!((self.status, self.error().as_str()), (status, error), "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        self
    }

    fn keeps_alive(&self) -> bool {
        let framed = self.header("content-length").is_some()
            || self.header("transfer-encoding").is_some()
            || matches!(self.status, 204 | 304);
        framed && !self.headers("connection").iter().any(|value| value.to_ascii_lowercase().contains("close"))
    }

    /// `name=value` of a cookie that this answer sets, with its attributes.
    pub(crate) fn set_cookie(&self, part_of_name: &str) -> Option<&str> {
        self.headers("set-cookie")
            .into_iter()
            .find(|cookie| cookie.split('=').next().is_some_and(|name| name.contains(part_of_name)))
    }
}

//! An API that remembers the exact bytes of every connection, and answers as a test tells it to.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A server of the test's own.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Requests that were read and are not yet in the list: their answer may already be with the client.
    under_way: AtomicUsize,
    connections: Mutex<Vec<Arc<Mutex<Recorded>>>>,
    requests: Mutex<Vec<Seen>>,
}

/// One connection that came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Every byte it sent.
    pub(crate) bytes: Vec<u8>,
    /// Whether it has closed.
    pub(crate) closed: bool,
}

/// A request as the origin read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Seen {
    /// The value of a header that may stand once; names as they were sent, compared without case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers(name).into_iter();
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands more than once: {:?}", self.headers);
        value
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let same = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// Every name that a server which reads punctuation as `_` would take for this one.
    pub(crate) fn twins(&self, name: &str) -> Vec<&(String, String)> {
        let fold = |name: &str| -> String {
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
        };
        let wanted = fold(name);
        self.headers.iter().chain(&self.trailers).filter(|(other, _)| fold(other) == wanted).collect()
    }

    fn to_json(&self) -> Value {
        json!({
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "trailers": self.trailers,
            "body": String::from_utf8_lossy(&self.body),
        })
    }
}

/// What a handler has in hand: the request, whose body may still be unread, and the connection.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) seen: Seen,
    wire: &'a mut Wire,
    unread: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Done,
}

impl Exchange<'_> {
    /// Reads the body to its end.
    pub(crate) fn read_body(&mut self) -> io::Result<()> {
        while let Some(piece) = self.read_piece()? {
            self.seen.body.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// The next piece of the body as it comes: a chunk, or what has arrived of a body of known length.
    pub(crate) fn read_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.unread {
            Framing::Done | Framing::Length(0) => {
                self.unread = Framing::Done;
                Ok(None)
            }
            Framing::Length(left) => {
                let piece = self.wire.some(left)?;
                self.unread = Framing::Length(left - piece.len());
                Ok(Some(piece))
            }
            Framing::Chunked => {
                let line = self.wire.line()?;
                let size = line.split(';').next().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
                let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a chunk size"))?;
                if size == 0 {
                    self.seen.trailers = self.wire.fields()?;
                    self.unread = Framing::Done;
                    return Ok(None);
                }
                let piece = self.wire.exactly(size)?;
                self.wire.line()?;
                Ok(Some(piece))
            }
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.stream.write_all(bytes.as_ref())
    }

    /// Sends a whole answer with a JSON body.
    pub(crate) fn answer(&mut self, status: &str, body: &Value) -> io::Result<()> {
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nServer: origin/0.1\r\nX-Powered-By: tests\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let body = if self.seen.method == "HEAD" { "" } else { body.as_str() };
        self.send(format!("{head}{body}"))
    }

    /// The bare connection, for tunnels.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.wire.stream
    }

    /// Bytes that have come in and belong to nobody yet.
    pub(crate) fn some(&mut self) -> io::Result<Vec<u8>> {
        self.wire.some(usize::MAX)
    }
}

impl Origin {
    /// Answers every request with a description of it.
    pub(crate) fn echo() -> Self {
        Self::start(|exchange| {
            exchange.read_body()?;
            let description = exchange.seen.to_json();
            exchange.answer("200 OK", &description)
        })
    }

    /// Answers as the handler says. A connection goes on until the handler fails or the other side closes.
    pub(crate) fn start(handler: impl Fn(&mut Exchange<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::<Shared>::default();
        let (here, handler) = (Arc::clone(&shared), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if here.stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, handler) = (Arc::clone(&here), Arc::clone(&handler));
                std::thread::spawn(move || serve(stream, &shared, &*handler));
            }
        });
        Self { address, shared }
    }

    /// The requests that have been read so far, in the order in which they were answered.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        let patience = Instant::now() + Duration::from_millis(300);
        while self.shared.under_way.load(Ordering::SeqCst) > 0 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        locked(&self.shared.requests).clone()
    }

    /// The last request that was read.
    pub(crate) fn last(&self) -> Seen {
        self.requests().pop().expect("the origin has seen a request")
    }

    /// Whether a request for this target has come.
    pub(crate) fn saw(&self, part_of_target: &str) -> bool {
        self.requests().iter().any(|seen| seen.target.contains(part_of_target))
    }

    /// Every connection so far.
    pub(crate) fn connections(&self) -> Vec<Recorded> {
        locked(&self.shared.connections).iter().map(|recorded| locked(recorded).clone()).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts, so that it sees the word.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn serve(stream: TcpStream, shared: &Shared, handler: &dyn Fn(&mut Exchange<'_>) -> io::Result<()>) {
    let recorded = Arc::<Mutex<Recorded>>::default();
    locked(&shared.connections).push(Arc::clone(&recorded));
    let _ = stream.set_nodelay(true);
    let mut wire = Wire { stream, unread: Vec::new(), recorded: Arc::clone(&recorded) };
    while let Ok((seen, unread)) = wire.request() {
        shared.under_way.fetch_add(1, Ordering::SeqCst);
        let mut exchange = Exchange { seen, wire: &mut wire, unread };
        let outcome = handler(&mut exchange);
        let finished = exchange.unread == Framing::Done || exchange.unread == Framing::Length(0);
        let seen = std::mem::take(&mut exchange.seen);
        // A request whose body broke off was never a request.
        if finished || outcome.is_ok() {
            locked(&shared.requests).push(seen);
        }
        shared.under_way.fetch_sub(1, Ordering::SeqCst);
        if outcome.is_err() || !finished {
            break;
        }
    }
    // What still comes is remembered as well: it may be what should never have been sent.
    let _ = wire.stream.shutdown(Shutdown::Write);
    while wire.fill().is_ok_and(|more| more) {}
    locked(&recorded).closed = true;
}

/// A connection that writes down what it reads.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    recorded: Arc<Mutex<Recorded>>,
}

impl Wire {
    fn request(&mut self) -> io::Result<(Seen, Framing)> {
        let line = self.line()?;
        let mut words = line.split(' ');
        let mut seen = Seen {
            method: words.next().unwrap_or_default().to_owned(),
            target: words.next().unwrap_or_default().to_owned(),
            ..Seen::default()
        };
        seen.headers = self.fields()?;
        let chunked = seen.headers("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked"));
        let length = seen.headers("content-length").first().and_then(|length| length.parse().ok());
        let unread = if chunked { Framing::Chunked } else { length.map_or(Framing::Done, Framing::Length) };
        Ok((seen, unread))
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(line[..end].iter().map(|byte| char::from(*byte)).collect());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    /// At least one byte and at most so many.
    fn some(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() && !self.fill()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = self.unread.len().min(most);
        Ok(self.unread.drain(..count).collect())
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..count]);
        locked(&self.recorded).bytes.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}

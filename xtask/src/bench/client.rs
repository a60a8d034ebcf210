//! A client with one connection that stays, as cheap as one can be: the machine's cores are what is measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// A member of the JSON object in its body.
    pub(super) fn member(&self, name: &str) -> Result<String, String> {
        let wrong = || format!("{} without {name}: {}", self.status, String::from_utf8_lossy(&self.body));
        let json: Value = serde_json::from_slice(&self.body).map_err(|_| wrong())?;
        json[name].as_str().map(str::to_owned).ok_or_else(wrong)
    }
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    host: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    line: String,
}

impl Client {
    pub(super) fn new(host: SocketAddr) -> Self {
        Self { host, stream: None, line: String::new() }
    }

    /// Posts an object.
    pub(super) fn post(&mut self, path: &str, body: &Value) -> Result<Answer, String> {
        let body = body.to_string();
        let host = self.host;
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Sends a request and reads its answer; on a new connection where the gate has closed the last.
    pub(super) fn ask(&mut self, request: &str) -> Result<Answer, String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.host).map_err(|error| format!("{}: {error}", self.host))?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
                none.insert(BufReader::new(stream))
            }
        };
        let answer = exchange(stream, request, &mut self.line);
        match answer {
            Ok((answer, stays)) => {
                if !stays {
                    self.stream = None;
                }
                Ok(answer)
            }
            Err(error) => {
                self.stream = None;
                Err(format!("{}: {error}", self.host))
            }
        }
    }
}

/// Gives whether the connection stays, too. Every answer of ours to such requests has a length.
fn exchange(stream: &mut BufReader<TcpStream>, request: &str, line: &mut String) -> std::io::Result<(Answer, bool)> {
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length, mut stays) = (0, 0, true);
    loop {
        line.clear();
        if stream.read_line(line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if status == 0 {
            status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(599);
        } else if let Some((name, value)) = text.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            } else if name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close") {
                stays = false;
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((Answer { status, body }, stays))
}

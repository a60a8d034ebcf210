//! What lies between a gate and its Redis: a wire that can be cut, slowed, silenced, or made to lose the answers.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// It passes.
    Whole,
    /// Answers come so much later, however many there are.
    Slow(Duration),
    /// Nothing passes; all of it comes once the wire is whole again, as after packets that were lost.
    Silent,
    /// Commands arrive and are run, and their answers are lost with the connection.
    Deaf,
    /// Connections are closed, and new ones at once.
    Cut,
}

/// A port that leads to a server's.
pub(crate) struct Link {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    wire: Mutex<Wire>,
    changed: Condvar,
    open: Mutex<Vec<[TcpStream; 2]>>,
    opened: AtomicUsize,
    stop: AtomicBool,
}

impl Link {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            target,
            wire: Mutex::new(Wire::Whole),
            changed: Condvar::new(),
            open: Mutex::default(),
            opened: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let here = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if here.stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(near) = near {
                    here.opened.fetch_add(1, Ordering::Relaxed);
                    here.join(near);
                }
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What becomes of everything from now on.
    pub(crate) fn set(&self, wire: Wire) {
        let before = std::mem::replace(&mut *self.shared.wire.lock().expect("no wire panics"), wire);
        // Where answers were lost, those that follow would be taken for them.
        if wire == Wire::Cut || before == Wire::Deaf {
            self.shared.close_all();
        }
        self.shared.changed.notify_all();
    }

    /// How many connections have come, those included that were closed at once.
    pub(crate) fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.set(Wire::Cut);
        // Wakes the thread that accepts, so that it sees the word.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn wire(&self) -> Wire {
        *self.wire.lock().expect("no wire panics")
    }

    fn close_all(&self) {
        for end in self.open.lock().expect("no wire panics").drain(..).flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Waits for as long as nothing passes.
    fn held(&self) -> Wire {
        let wire = self.wire.lock().expect("no wire panics");
        *self.changed.wait_while(wire, |wire| *wire == Wire::Silent).expect("no wire panics")
    }

    fn join(self: &Arc<Self>, near: TcpStream) {
        if self.wire() == Wire::Cut {
            return;
        }
        let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)) else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ends = || [near.try_clone().expect("a socket"), far.try_clone().expect("a socket")];
        self.open.lock().expect("no wire panics").push(ends());
        let (here, [mut near, mut far]) = (Arc::clone(self), ends());
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = near.read(&mut buffer) {
                here.held();
                if far.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
        });
        let (here, [near, mut far]) = (Arc::clone(self), ends());
        let (answers, coming) = channel();
        std::thread::spawn(move || here.answer(near, &coming));
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = far.read(&mut buffer) {
                if answers.send((Instant::now(), buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
        });
    }

    /// Hands answers on, each at its time.
    fn answer(&self, mut near: TcpStream, coming: &Receiver<(Instant, Vec<u8>)>) {
        for (came, bytes) in coming {
            let written = match self.held() {
                Wire::Deaf => Ok(()),
                Wire::Slow(by) => {
                    std::thread::sleep((came + by).saturating_duration_since(Instant::now()));
                    near.write_all(&bytes)
                }
                _ => near.write_all(&bytes),
            };
            if written.is_err() {
                break;
            }
        }
        let _ = near.shutdown(Shutdown::Both);
    }
}

//! A proxy between a gateway and a server, whose connections break on demand.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Passes connections on to a port of this machine, until it is told otherwise.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mode: Mode,
    connections: Vec<Arc<Connection>>,
    is_over: bool,
}

#[derive(Clone, Copy, Default)]
enum Mode {
    #[default]
    Pass,
    Swallow,
    SwallowSubscribers,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Has said SUBSCRIBE.
    subscribes: AtomicBool,
    /// Swallows every byte, and will for ever: a connection opened later is a new one.
    is_dead: AtomicBool,
}

impl Proxy {
    /// Starts one before `target`.
    pub fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, state) = (listener.local_addr().unwrap().port(), Arc::<Mutex<State>>::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.lock().unwrap().is_over {
                    return;
                }
                // A server that is down closes its callers' connections; so does this.
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", target))) {
                    open(client, server, &shared);
                }
            }
        });
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Passes bytes again. Connections that have swallowed stay dead.
    pub fn pass(&self) {
        self.turn(Mode::Pass);
    }

    /// Swallows every byte of all connections, those to come as well, without closing any.
    pub fn swallow(&self) {
        self.turn(Mode::Swallow);
    }

    /// Does so with connections that subscribe to something. It cannot tell these under TLS.
    pub fn swallow_subscribers(&self) {
        self.turn(Mode::SwallowSubscribers);
    }

    /// Closes all connections there are.
    pub fn cut(&self) {
        for connection in self.state.lock().unwrap().connections.drain(..) {
            connection.close();
        }
    }

    fn turn(&self, mode: Mode) {
        let mut state = self.state.lock().unwrap();
        state.mode = mode;
        state.connections.iter().for_each(|connection| connection.obey(mode));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.state.lock().unwrap().is_over = true;
        // It looks when somebody calls.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Connection {
    fn obey(&self, mode: Mode) {
        let dies = match mode {
            Mode::Pass => false,
            Mode::Swallow => true,
            Mode::SwallowSubscribers => self.subscribes.load(Relaxed),
        };
        self.is_dead.fetch_or(dies, Relaxed);
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn open(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let connection = Connection { client, server, subscribes: AtomicBool::default(), is_dead: AtomicBool::default() };
    let connection = Arc::new(connection);
    let mut now = state.lock().unwrap();
    connection.obey(now.mode);
    now.connections.push(Arc::clone(&connection));
    drop(now);
    for is_client in [true, false] {
        let (connection, state) = (Arc::clone(&connection), Arc::clone(state));
        std::thread::spawn(move || carry(&connection, is_client, &state));
    }
}

/// Carries what one side says, the client's or the server's, to the other.
fn carry(connection: &Arc<Connection>, is_client: bool, state: &Mutex<State>) {
    let (mut from, mut to) = (&connection.client, &connection.server);
    if !is_client {
        (from, to) = (to, from);
    }
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if is_client && bytes[..count].windows(9).any(|word| word == b"SUBSCRIBE") {
            connection.subscribes.store(true, Relaxed);
            connection.obey(state.lock().unwrap().mode);
        }
        if !connection.is_dead.load(Relaxed) && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // On a connection that is dead, nobody learns that the other side has closed it.
    if !connection.is_dead.load(Relaxed) {
        connection.close();
        state.lock().unwrap().connections.retain(|other| !Arc::ptr_eq(other, connection));
    }
}

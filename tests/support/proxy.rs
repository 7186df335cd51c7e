//! A proxy between a gateway and a server: its connections break on demand, and the server behind it may be far away.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Passes connections on to a port of this machine, until it is told otherwise.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// How far away a server is. Bytes come late and in their order, as many at a time as ever.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distance {
    /// From a question to its answer.
    pub round_trip: Duration,
    /// By up to how much either way takes longer, at random.
    pub jitter: Duration,
    /// How many of a hundred segments are held back, as when one is lost and sent again.
    pub held_back_percent: f64,
}

/// How long a segment is held back: what Linux waits at least before it sends one again.
const HELD_BACK: Duration = Duration::from_millis(200);
/// What a segment carries over Ethernet.
const SEGMENT_BYTES: usize = 1448;

impl Distance {
    /// Always the same.
    pub fn steady(round_trip: Duration) -> Self {
        Self { round_trip, ..Self::default() }
    }

    /// As networks are: a quarter of the round trip may be added to either way, and 1 % of segments is held back.
    pub fn rough(round_trip: Duration) -> Self {
        Self { round_trip, jitter: round_trip / 4, held_back_percent: 1.0 }
    }

    /// Returns the longest that `round_trips` take, but once in many thousand times.
    pub fn at_most(&self, round_trips: u32) -> Duration {
        let held_back = if self.held_back_percent > 0.0 { HELD_BACK * 4 } else { Duration::ZERO };
        (self.round_trip + 2 * self.jitter) * round_trips + held_back
    }

    /// Returns how long `count` bytes take one way.
    fn one_way(&self, count: usize) -> Duration {
        let held_back = |_| rand::random_bool(self.held_back_percent / 100.0);
        let is_held_back = (0..count.div_ceil(SEGMENT_BYTES)).any(held_back);
        let held_back = if is_held_back { HELD_BACK } else { Duration::ZERO };
        self.round_trip / 2 + self.jitter.mul_f64(rand::random()) + held_back
    }
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
    distance: Distance,
    /// When a client as far away would have been connected.
    is_open_at: Instant,
    /// Has said SUBSCRIBE.
    subscribes: AtomicBool,
    /// Swallows every byte, and will for ever: a connection opened later is a new one.
    is_dead: AtomicBool,
}

impl Proxy {
    /// Starts one before `target`.
    pub fn before(target: u16) -> Self {
        Self::at(Distance::default(), target)
    }

    /// Starts one that makes `target` look so far away.
    pub fn at(distance: Distance, target: u16) -> Self {
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
                    open(client, server, distance, &shared);
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

    /// Hands bytes to the side that they are for; tells whether that is still there.
    fn pass_on(&self, is_client: bool, bytes: &[u8]) -> bool {
        let mut to = if is_client { &self.server } else { &self.client };
        to.write_all(bytes).is_ok()
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn open(client: TcpStream, server: TcpStream, distance: Distance, state: &Arc<Mutex<State>>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let connection = Connection {
        client,
        server,
        distance,
        // The proxy itself is near, so that the client is connected at once; what it says first waits as long instead.
        is_open_at: Instant::now() + distance.round_trip,
        subscribes: AtomicBool::default(),
        is_dead: AtomicBool::default(),
    };
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
fn carry(connection: &Arc<Connection>, is_client: bool, state: &Arc<Mutex<State>>) {
    let distance = connection.distance;
    let mut from = if is_client { &connection.client } else { &connection.server };
    let on_their_way = (distance != Distance::default()).then(|| {
        let (sender, receiver) = channel();
        let (connection, state) = (Arc::clone(connection), Arc::clone(state));
        std::thread::spawn(move || {
            arrive(&connection, is_client, &receiver);
            end(&connection, &state);
        });
        sender
    });
    let mut bytes = vec![0; 64 * 1024];
    let mut last = connection.is_open_at;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if is_client && bytes[..count].windows(9).any(|word| word == b"SUBSCRIBE") {
            connection.subscribes.store(true, Relaxed);
            connection.obey(state.lock().unwrap().mode);
        }
        if connection.is_dead.load(Relaxed) {
            continue;
        }
        let is_passed_on = match &on_their_way {
            None => connection.pass_on(is_client, &bytes[..count]),
            Some(on_their_way) => {
                let sent = if is_client { Instant::now().max(connection.is_open_at) } else { Instant::now() };
                // Nothing overtakes what was sent before it.
                last = last.max(sent + distance.one_way(count));
                depart(on_their_way, last, bytes[..count].to_vec())
            }
        };
        if !is_passed_on {
            break;
        }
    }
    match on_their_way {
        None => end(connection, state),
        // The end arrives after what was said before it.
        Some(on_their_way) => drop(depart(&on_their_way, last.max(Instant::now() + distance.one_way(1)), Vec::new())),
    }
}

/// Bytes that are on their way, and when they arrive.
type Parcel = (Instant, Vec<u8>);

fn depart(on_their_way: &Sender<Parcel>, arrives: Instant, bytes: Vec<u8>) -> bool {
    on_their_way.send((arrives, bytes)).is_ok()
}

/// Has bytes arrive when it is time, until one of the sides has ended.
fn arrive(connection: &Connection, is_client: bool, on_their_way: &Receiver<Parcel>) {
    for (arrives, bytes) in on_their_way {
        std::thread::sleep(arrives.saturating_duration_since(Instant::now()));
        // What was on its way when the connection died is lost with it.
        let is_passed_on = connection.is_dead.load(Relaxed) || connection.pass_on(is_client, &bytes);
        if bytes.is_empty() || !is_passed_on {
            return;
        }
    }
}

/// Ends both sides, now that one has ended.
fn end(connection: &Arc<Connection>, state: &Mutex<State>) {
    // On a connection that is dead, nobody learns that the other side has closed it.
    if !connection.is_dead.load(Relaxed) {
        connection.close();
        state.lock().unwrap().connections.retain(|other| !Arc::ptr_eq(other, connection));
    }
}

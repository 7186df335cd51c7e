//! Event streams read by the libraries that others use, as their documentation says: every event that they make is one of ours,
//! and they stop when there is nothing more. `tests/clients` has the programs; `tests/run` installs the libraries.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone};
use crate::support::process::Process;
use crate::support::{Gateway, Guest, within};

/// Those that connect again by themselves, until 204 says that there is nothing more.
const THAT_RECONNECT: [&str; 3] = ["eventsource", "extended-eventsource", "eventsource-client"];
/// Those that read one stream to its end, or to the last event.
const THAT_DO_NOT: [&str; 4] = ["@microsoft/fetch-event-source", "httpx-sse", "sseclient", "sseclient-py"];

/// How long a library may take to start, or to come back after the time that it was told, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A library that waits for a ticket.
struct Listener {
    library: &'static str,
    process: Process,
    id: String,
}

impl Listener {
    async fn start(library: &'static str, gateway: &Gateway) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let ticket = Browser::new(gateway).create_with(json!({ "binding": "bearer" })).await;
        let url = gateway.url(ticket["events"].as_str().unwrap());
        let mut command = if library.contains("event-source") || library.contains("eventsource") {
            let mut node = Command::new("node");
            node.arg(folder.join("listen.mjs"));
            node
        } else {
            // Two of them call themselves the same.
            let packages = if library == "sseclient-py" { library } else { "httpx-sse" };
            let mut python = Command::new("/usr/bin/python3");
            python.arg(folder.join("listen.py"));
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python-clients");
            python.env("PYTHONPATH", target.join(packages));
            python
        };
        command.args([library, &url, ticket["ticket_secret"].as_str().unwrap()]);
        Self { library, process: Process::start(&mut command), id: ticket["ticket_id"].as_str().unwrap().to_owned() }
    }

    fn said(&self) -> Vec<Value> {
        let lines = self.process.lines();
        // What else a runtime has to say is no event.
        let parsed = lines.iter().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line));
        parsed.map(|line| line.unwrap_or_else(|_| panic!("{}: {lines:#?}", self.library))).collect()
    }

    /// Returns the names of the events that it has made, none of which may be empty.
    fn events(&self) -> Vec<String> {
        let said = self.said();
        let events = said.iter().filter(|line| line.get("status").is_none());
        events
            .map(|event| {
                let name = event["event"].as_str().unwrap_or_default();
                let data = event["data"].as_str().unwrap_or_default();
                assert!(!name.is_empty() && name != "message", "{}: {said:#?}", self.library);
                let data: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("{}: {said:#?}", self.library));
                let is_of_ticket = data["ticket_id"] == self.id;
                assert_eq!(is_of_ticket, name != "heartbeat" && name != "reconnect", "{}: {event}", self.library);
                name.to_owned()
            })
            .collect()
    }

    fn statuses(&self) -> Vec<Value> {
        self.said().into_iter().filter_map(|line| line.get("status").cloned()).collect()
    }

    async fn hears(&self, name: &str, count: usize) {
        let has = async || (self.events().iter().filter(|event| *event == name).count() >= count).then_some(());
        within(PATIENCE, &format!("{} {name} events by {}", count, self.library), has).await;
    }

    /// Waits for its end, and checks that it was told to stop, or knew.
    async fn ends(&mut self) {
        let library = self.library;
        let what = format!("the end of {library}");
        let code = within(PATIENCE, &what, || std::future::ready(self.process.exit_code())).await;
        assert_eq!(code, 0, "{library}: {:#?}", self.process.lines());
        if THAT_RECONNECT.contains(&library) {
            // What it has written may still be on its way here.
            let has_asked = async || (self.statuses().len() > 1).then_some(());
            within(PATIENCE, &format!("a second answer to {library}"), has_asked).await;
            assert_eq!(self.statuses(), [200, 204], "{library}");
        }
    }
}

fn all() -> impl Iterator<Item = &'static str> {
    THAT_RECONNECT.into_iter().chain(THAT_DO_NOT)
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_make_no_empty_events_and_stop_after_the_last() {
    let gateway = Gateway::builder().arg("--heartbeat", "1s").start().await;
    let phone = Phone::of("ada", &gateway);
    for library in all() {
        let mut listener = Listener::start(library, &gateway).await;
        listener.hears("heartbeat", 2).await;
        assert_eq!(listener.events()[0], "pending", "{library}");
        phone.approve(&listener.id).await;
        listener.ends().await;
        listener.hears("confirmed", 1).await;
        assert_eq!(listener.events().last().unwrap(), "confirmed", "{library}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_stop_after_an_expiry() {
    // Long enough for all of them to have begun by then, on a busy machine.
    let gateway = Gateway::builder().arg("--heartbeat", "1s").arg("--ticket-ttl", "30s").start().await;
    let mut listeners = Vec::new();
    for library in all() {
        listeners.push(Listener::start(library, &gateway).await);
    }
    for mut listener in listeners {
        listener.ends().await;
        listener.hears("expired", 1).await;
        let events = listener.events();
        assert_eq!(events.last().unwrap(), "expired", "{}: {events:?}", listener.library);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_that_are_sent_away_make_no_empty_event_and_come_back() {
    let gateway = Gateway::builder().arg("--streams-per-process", "1").arg("--ticket-ttl", "10m").start().await;
    let guest = Guest::of(&gateway).await;
    let full = guest.wait_at(&gateway).await;
    let mut listeners = Vec::new();
    // `sseclient` reads below HTTP: what ends the last chunk is an empty event to it, whatever comes before that.
    for library in all().filter(|library| *library != "sseclient") {
        let listener = Listener::start(library, &gateway).await;
        listener.hears("reconnect", 1).await;
        listeners.push(listener);
    }
    drop(full);
    // There is room for one at a time: each has its turn, and leaves when it has been told.
    listeners.retain(|listener| THAT_RECONNECT.contains(&listener.library));
    for listener in &listeners {
        Phone::of("ada", &gateway).approve(&listener.id).await;
    }
    for listener in &listeners {
        listener.hears("confirmed", 1).await;
    }
}

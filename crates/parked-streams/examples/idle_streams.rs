//! An axum app for 10,000 idle event streams. Each stream is parked after its first event.
//!
//! ```sh
//! ulimit -n 10200
//! cargo run --release --example idle_streams
//! curl --no-buffer http://127.0.0.1:8080/events &
//! curl --data 'hello, all of you' http://127.0.0.1:8080/say
//! ```

use std::convert::Infallible;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use parked_streams::{Listener, Server, Settings};
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::{Stream, StreamExt as _, once, wrappers::BroadcastStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve("127.0.0.1:8080", Settings { max_connections: 10_100, ..Settings::default() }).await
}

pub(crate) async fn serve(address: &str, settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/events", get(events)).route("/say", post(say));
    let server = Server::builder(app.with_state(broadcast::channel(16).0)).settings(settings).start()?;
    let listener = Listener::bind(&address.parse()?).await?;
    println!("listening on {}", listener.address());
    server.serve(listener).await;
    Ok(())
}

async fn events(State(messages): State<Sender<String>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let later = BroadcastStream::new(messages.subscribe()).filter_map(Result::ok);
    let messages = once("welcome".to_owned()).chain(later);
    Sse::new(messages.map(|message| Ok(Event::default().data(message))))
}

async fn say(State(messages): State<Sender<String>>, message: String) -> String {
    let listeners = messages.send(message).unwrap_or(0);
    format!("sent to {listeners} streams\n")
}

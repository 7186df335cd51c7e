//! How a server closes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use parked_streams::{Server, Settings};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_stream::{StreamExt as _, wrappers::WatchStream};

use crate::support::{IN_TIME, Site, contains, event_stream, eventually, request};

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_requests_and_streams_and_accepts_no_more() {
    let (respond, called) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let end = watch::Sender::new(());
    let router = {
        let (respond, called, end) = (Arc::clone(&respond), Arc::clone(&called), end.subscribe());
        let slow = async move || {
            called.notify_one();
            respond.notified().await;
            "slow"
        };
        let stream =
            async move || event_stream(WatchStream::new(end.clone()).map(|()| Bytes::from_static(b"data: 1\n\n")));
        Router::new().route("/slow", get(slow)).route("/stream", get(stream))
    };
    let site = Site::of(router).await;
    let mut idle = site.tcp().await;
    let mut slow = site.ask(true, &request("/slow")).await;
    let mut stream = site.ask(false, &request("/stream")).await;
    called.notified().await;
    site.parked(1).await;
    site.open(3).await;

    let server = site.server.clone();
    let closing = tokio::spawn(async move { server.close().await });
    // A connection without a request closes soon.
    assert_eq!(idle.rest().await, b"");
    eventually("the listeners close", || std::net::TcpStream::connect(&site.address).is_err()).await;
    assert!(!closing.is_finished());
    respond.notify_one();
    let response = slow.text().await;
    assert!(response.ends_with("\r\n\r\nslow"), "{response}");
    assert!(!closing.is_finished(), "the close did not wait for the stream");
    drop(end);
    assert!(contains(&stream.rest().await, "data: 1\n\n\r\n0\r\n\r\n"));
    tokio::time::timeout(IN_TIME, closing).await.unwrap().unwrap();
    assert_eq!(site.counts.open(), 0);
    assert!(!site.socket.exists(), "the file of the Unix socket still exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_the_systems_queue_are_served_before_the_end() {
    let router = Router::new().route("/", get(async || "plain"));
    let site = Site::start(Settings { max_connections: 2, ..Settings::default() }, |_| router).await;
    let mut over_unix = site.ask(false, &request("/")).await;
    over_unix.until("plain").await;
    let mut first = site.ask(true, &request("/")).await;
    first.until("plain").await;
    // Two connections hold the two permits. The third one waits in the system's queue.
    let mut second = site.ask(true, &request("/")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(site.counts.accepted(), 2);
    // Each listener takes one permit to wait for a connection, in either order.
    drop((first, over_unix));
    second.until("plain").await;
    drop(second);
    tokio::time::timeout(IN_TIME, site.server.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_outlives_a_server_without_connections() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let server = Server::builder(Router::new()).start().unwrap();
    assert!(tasks() > before);
    server.close().await;
    drop(server);
    eventually("the workers end", || tasks() == before).await;
    assert!(TcpStream::connect("127.0.0.1:1").await.is_err());
}

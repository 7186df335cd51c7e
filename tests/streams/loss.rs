//! Clients that go away: with a word, without one, and those that are there and do not read.

use std::process::Command;

use super::{metric_is, parked};
use crate::support::gateway::Phone;
use crate::support::netns::Machine;
use crate::support::nginx::{Place, upstream};
use crate::support::process::Process;
use crate::support::{Edge, Gateway, Guest, Wire, eventually};

fn lost(reason: &str) -> String {
    format!("scangate_connections_lost_total{{reason=\"{reason}\"}}")
}

async fn no_stream_is_left(gateway: &Gateway, gone: f64) {
    metric_is(gateway, "scangate_streams_open", |open| open == 0.0).await;
    metric_is(gateway, "scangate_connections_open", |open| open == 0.0).await;
    assert_eq!(gateway.metric("scangate_connections_detached").await, 0.0);
    assert_eq!(gateway.metric(r#"scangate_streams_closed_total{reason="gone"}"#).await, gone);
}

/// Nothing but the client's going tells: the next heartbeat is minutes away, and so is the ticket's end.
async fn patient() -> Gateway {
    Gateway::builder().arg("--heartbeat", "5m").arg("--ticket-ttl", "30m").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_is_noticed_at_once() {
    let gateway = patient().await;
    let guest = Guest::of(&gateway).await;
    let waiting = guest.wait_often_at(&gateway, 20).await;
    parked(&gateway, 20).await;
    drop(waiting);
    metric_is(&gateway, &lost("closed"), |lost| lost == 20.0).await;
    no_stream_is_left(&gateway, 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_is_noticed_at_once() {
    let gateway = patient().await;
    let guest = Guest::of(&gateway).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(guest.wait_on(Wire::that_resets(&gateway.base).await).await);
    }
    parked(&gateway, 20).await;
    drop(waiting);
    metric_is(&gateway, &lost("reset"), |lost| lost == 20.0).await;
    no_stream_is_left(&gateway, 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_a_unix_socket_that_closes_is_noticed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let listen = format!("unix:{},127.0.0.1:0", path.display());
    let gateway = Gateway::builder().arg("--heartbeat", "5m").arg("--listen", &listen).start().await;
    let guest = Guest::of(&gateway).await;
    let waiting = guest.wait_on(Wire::unix(&path).await).await;
    parked(&gateway, 1).await;
    drop(waiting);
    metric_is(&gateway, &lost("closed"), |lost| lost == 1.0).await;
    no_stream_is_left(&gateway, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sent_ahead_and_closes_is_noticed_at_once() {
    let gateway = patient().await;
    let guest = Guest::of(&gateway).await;
    let mut waiting = guest.wait_at(&gateway).await;
    parked(&gateway, 1).await;
    waiting.wire.send(&guest.ask("/", "HTTP/1.1", "")).await;
    drop(waiting);
    metric_is(&gateway, &lost("closed"), |lost| lost == 1.0).await;
    no_stream_is_left(&gateway, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_edge_that_goes_is_noticed_at_once() {
    let place = Place::choose();
    let gateway = place.gateway().arg("--heartbeat", "5m").arg("--ticket-ttl", "30m").start().await;
    let edge = Edge::start(place, &[upstream(&gateway)]);
    let guest = Guest::of(&gateway).await;
    let (one, other) = (edge.http().http1_only().build().unwrap(), edge.http().build().unwrap());
    let mut streams = Vec::new();
    for http in [one, other] {
        let id = guest.create().await;
        let request = http.get(edge.url(&format!("/v1/tickets/{id}/events"))).header("cookie", guest.cookie());
        let mut response = request.send().await.unwrap();
        assert!(response.chunk().await.unwrap().unwrap().starts_with(b"retry: "));
        streams.push(response);
    }
    parked(&gateway, 2).await;
    drop(streams);
    metric_is(&gateway, "scangate_streams_open", |open| open == 0.0).await;
    assert_eq!(gateway.metric(r#"scangate_streams_closed_total{reason="gone"}"#).await, 2.0);
    let lost = gateway.metric(&lost("closed")).await + gateway.metric(&lost("reset")).await;
    assert_eq!(lost, 2.0);
}

/// A `curl` on a machine of its own that waits for a ticket.
async fn wait_from(machine: &Machine, guest: &Guest, gateway: &Gateway) -> Process {
    let id = guest.create().await;
    let mut command: Command = machine.command("curl");
    command.args(["--no-buffer", "--silent", "--show-error", "--max-time", "300", "--header"]);
    command.arg(format!("Cookie: {}", guest.cookie())).arg(format!("{}/v1/tickets/{id}/events", gateway.base));
    let curl = Process::start(&mut command);
    eventually("the first event on the other machine", || async {
        curl.lines().iter().any(|line| line == "event: pending").then_some(())
    })
    .await;
    curl
}

async fn is_missed(heartbeat: &str, cut: impl FnOnce(&Machine)) {
    let machine = Machine::start();
    let listen = format!("{}:0", machine.here());
    let gateway = Gateway::builder().arg("--listen", &listen).arg("--heartbeat", heartbeat).start().await;
    let guest = Guest::of(&gateway).await;
    let local = guest.wait_at(&gateway).await;
    let _curl = wait_from(&machine, &guest, &gateway).await;
    parked(&gateway, 2).await;
    cut(&machine);
    metric_is(&gateway, "scangate_streams_open", |open| open == 1.0).await;
    assert_eq!(gateway.metric(&lost("vanished")).await, 1.0, "{}", gateway.metrics().await);
    assert_eq!(gateway.metric("scangate_connections_detached").await, 1.0);
    assert_eq!(gateway.metric(r#"scangate_streams_closed_total{reason="gone"}"#).await, 1.0);
    // Somebody else, on this machine, has not noticed anything.
    Phone::of("ada", &gateway).approve(&local.id).await;
    let mut wire = local.wire;
    wire.until("event: confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_unplugged_is_missed() {
    is_missed("1s", Machine::unplug).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_lost_on_the_way_is_missed() {
    is_missed("1s", Machine::lose).await;
}

/// Long enough for this system to find out that there is no way to the client any more, and to say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_known_to_be_out_of_reach_is_missed() {
    is_missed("6s", Machine::unplug).await;
}

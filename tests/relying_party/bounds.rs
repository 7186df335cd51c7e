//! How long people wait for a provider that does not answer.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::support::hostile::{CLIENT_ID, Endpoint, Instead};

/// The bound of a request, and what it may take besides on a busy machine.
const WHOLE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
const BUSY: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_for_a_provider_than_ten_seconds() {
    let after_the_start = [
        (Endpoint::Token, Instead::Hangs),
        (Endpoint::Token, Instead::Trickles),
        (Endpoint::Userinfo, Instead::Hangs),
        (Endpoint::Userinfo, Instead::Trickles),
    ];
    let from_the_start = [
        (Endpoint::Discovery, Instead::Hangs),
        (Endpoint::Discovery, Instead::Trickles),
        (Endpoint::Keys, Instead::Hangs),
        (Endpoint::Keys, Instead::Trickles),
    ];
    let lies = after_the_start.into_iter().chain(from_the_start).collect::<Vec<_>>();
    let providers: Vec<Provider> =
        lies.iter().map(|(endpoint, instead)| Provider::lying(Lie::replacing(*endpoint, instead.clone()))).collect();
    let gateway = with_providers(&providers).await;
    let id = Browser::new(&gateway).create().await;
    let ways = lies.iter().enumerate().map(async |(number, (endpoint, instead))| {
        let phone = PhoneBrowser::new(&gateway);
        let path = format!("/sign-in/{number}?ticket={id}");
        let callback = match endpoint {
            Endpoint::Discovery => path,
            _ => phone.until_callback(&path).await,
        };
        let started = Instant::now();
        let told = Told::of(phone.begin(&callback).await).await;
        told.is("en", 503, "provider_unavailable", &format!("/s/{id}"));
        let took = started.elapsed();
        assert!(took < WHOLE + BUSY, "{endpoint:?} {instead:?}: {took:?}");
        if matches!(endpoint, Endpoint::Token | Endpoint::Userinfo) {
            assert!(took > WHOLE - Duration::from_millis(500), "{endpoint:?} {instead:?}: given up after {took:?}");
        }
    });
    join_all(ways).await;
    // All of them are fine as soon as they answer.
    providers.iter().for_each(Provider::be_honest);
    let paths: Vec<_> = (0..providers.len()).map(|number| format!("/sign-in/{number}?ticket={id}")).collect();
    join_all(paths.iter().map(|path| signs_in_at_last(&gateway, path))).await;
}

/// A port whose queue is full answers nothing, as a host behind a firewall that drops packets.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_for_a_connection_than_five_seconds() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the queue does not fill up");
    }
    let builder = Gateway::builder().own_identity().arg("--oidc-issuer", &format!("http://{address}"));
    let started = Instant::now();
    let gateway = builder.arg("--oidc-client-id", CLIENT_ID).start().await;
    let id = Browser::new(&gateway).create().await;
    let told = Told::of(PhoneBrowser::new(&gateway).begin(&begin_path(&id)).await).await;
    told.is("en", 503, "provider_unavailable", &format!("/s/{id}"));
    let took = started.elapsed();
    assert!(took > CONNECT - Duration::from_millis(500) && took < CONNECT + BUSY, "{took:?}");
}

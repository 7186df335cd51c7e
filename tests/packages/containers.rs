//! `Dockerfile` and `compose.yaml` against the settings, the edge's template, and each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use super::{default_of, run, settings, variables};
use crate::support::gateway::{Browser, verified_claims};
use crate::support::{Gateway, Redis};

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const DOCKERIGNORE: &str = include_str!("../../.dockerignore");
const TEMPLATE: &str = include_str!("../../nginx/scangate.conf.template");
const GATEWAYS: [&str; 2] = ["gateway-1", "gateway-2"];

fn compose() -> Value {
    serde_saphyr::from_str(include_str!("../../compose.yaml")).unwrap()
}

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().unwrap()
}

/// A service's variables.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    // Anything but a text is what Compose would make a text of in its own way.
    variables
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_else(|| panic!("{name}")).to_owned()))
        .collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

/// The values of an instruction of the Dockerfile, lines put together.
fn instructions(name: &str) -> Vec<String> {
    let text = DOCKERFILE.replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The commands in exec form that an instruction names.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(&text[text.find('[').unwrap()..]).unwrap()
}

#[test]
fn the_image_is_described_by_what_is_true() {
    let version = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(instructions("LABEL")[0].contains(&version));
    let known = settings();
    assert_eq!(variables(DOCKERFILE).difference(&known).collect::<Vec<_>>(), [""; 0]);
    let exposed = instructions("EXPOSE").join(" ");
    for word in instructions("ENV")[0].split(' ').filter(|word| word.contains("LISTEN=")) {
        assert!(exposed.contains(port(word)), "{word} is not exposed");
    }
    assert_eq!(instructions("USER"), ["65532:65532"]);
}

#[test]
fn the_image_starts_no_demo_unless_it_is_asked_for() {
    let variables: Vec<_> = instructions("ENV").join(" ").split(' ').map(str::to_owned).collect();
    let variables = variables.iter().filter_map(|word| word.split_once('=')).filter(|(name, _)| *name != "PATH");
    let mut image = Command::new(env!("CARGO_BIN_EXE_scangate"));
    let output = run(image.arg("serve").env_clear().envs(variables));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("the demo does not start automatically here: other machines can reach --listen 0.0.0.0:8080"),
        "{error}"
    );
}

#[test]
fn the_commands_of_the_image_are_commands_of_the_program() {
    // The health check finds nobody, and says so; anything else it does not understand.
    let health = command(&instructions("HEALTHCHECK")[0]);
    assert_eq!(health[0], "scangate");
    let mut probe = Command::new(env!("CARGO_BIN_EXE_scangate"));
    let output = run(probe.args(&health[1..]).env("SCANGATE_ADMIN_LISTEN", "127.0.0.1:1"));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(command(&instructions("ENTRYPOINT")[0]), ["scangate"]);
    let mut start = Command::new(env!("CARGO_BIN_EXE_scangate"));
    let output = run(start.args(command(&instructions("CMD")[0])).env("SCANGATE_LISTEN", "nowhere"));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("- --listen"));
}

#[test]
fn what_the_image_is_made_of_is_let_in_and_nothing_else() {
    let allowed: Vec<_> = DOCKERIGNORE.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for name in ["Cargo.toml", "Cargo.lock", ".cargo", "src", "static", "LICENSE-*"] {
        assert!(allowed.contains(&name), "{name}");
    }
    assert!(DOCKERIGNORE.lines().any(|line| line == "*"), "everything else");
}

#[test]
fn the_gateways_are_two_of_a_kind_with_settings_that_start() {
    let compose = compose();
    let [one, other] = GATEWAYS.map(|name| {
        let mut service = services(&compose)[name].as_object().unwrap().clone();
        // One builds the image of both.
        let origin = [service.remove("build"), service.remove("pull_policy")].into_iter().flatten().next();
        // Where it is, nothing else may be.
        let networks = service.remove("networks").unwrap();
        assert!(texts(&networks).is_empty() && networks["inside"]["ipv4_address"].is_string(), "{name}");
        (service, origin)
    });
    assert_eq!((one.1, other.1), (Some(json!(".")), Some(json!("never"))));
    assert_eq!(one.0, other.0);
    let one = &Value::Object(one.0);
    let environment = environment(one);
    let known = settings();
    for name in environment.keys() {
        assert!(known.contains(name), "{name}");
    }
    let grace = humantime::parse_duration(one["stop_grace_period"].as_str().unwrap()).unwrap();
    assert!(grace > humantime::parse_duration(&default_of("SCANGATE_SHUTDOWN_TIMEOUT")).unwrap());

    let mut doctor = Command::new(env!("CARGO_BIN_EXE_scangate"));
    doctor.arg("doctor").env_clear().envs(&environment);
    let report = run(doctor.env("SCANGATE_REDIS_URL", "redis://127.0.0.1:1").env("SCANGATE_REDIS_TIMEOUT", "100ms"));
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("ok    settings") && !report.contains("FAIL  settings"), "{report}");
}

#[test]
fn the_edge_is_given_what_its_template_asks_for_and_the_gateways_that_there_are() {
    let compose = compose();
    let nginx = &services(&compose)["nginx"];
    let edge = environment(nginx);
    let asked: BTreeSet<_> = TEMPLATE.split("${").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    // The first is written into the text as an example.
    let asked: BTreeSet<_> = asked.into_iter().filter(|name| *name != "...").collect();
    let given: BTreeSet<_> = edge.keys().map(String::as_str).filter(|name| !name.starts_with("NGINX_")).collect();
    assert_eq!(asked, given);

    let gateway = environment(&services(&compose)[GATEWAYS[0]]);
    for name in GATEWAYS {
        let server = format!("{name}:{}", port(&gateway["SCANGATE_LISTEN"]));
        assert!(edge["EDGE_UPSTREAM"].contains(&server), "{server}");
        assert_eq!(nginx["depends_on"][name]["condition"], "service_healthy");
    }
    assert_eq!(port(&gateway["SCANGATE_PUBLIC_URL"]), edge["EDGE_HTTPS_PORT"]);
    let published: BTreeSet<_> = texts(&nginx["ports"]).into_iter().map(|text| text.split(':').collect()).collect();
    let expected = ["EDGE_HTTPS_PORT", "EDGE_HTTP_PORT"].map(|name| edge[name].as_str());
    assert_eq!(published, expected.map(|port| vec!["127.0.0.1", port, port]).into());

    // The edge, and nobody else of that network, is believed.
    let address: IpNet = gateway["SCANGATE_TRUSTED_PROXIES"].parse().unwrap();
    let own = nginx["networks"]["inside"]["ipv4_address"].as_str().unwrap();
    assert_eq!((address.addr().to_string().as_str(), address.prefix_len()), (own, 32));
    let network = &compose["networks"]["inside"]["ipam"]["config"][0];
    let [subnet, range] = ["subnet", "ip_range"].map(|name| network[name].as_str().unwrap().parse::<IpNet>().unwrap());
    assert!(subnet.contains(&range));
    let fixed = GATEWAYS.iter().chain(&["nginx"]).map(|name| {
        let address = services(&compose)[*name]["networks"]["inside"]["ipv4_address"].as_str().unwrap();
        address.parse::<std::net::IpAddr>().unwrap()
    });
    let fixed: BTreeSet<_> = fixed.filter(|address| subnet.contains(address) && !range.contains(address)).collect();
    assert_eq!(fixed.len(), 3, "each has an address of its own that no other is given: {fixed:?}");
}

#[test]
fn services_wait_for_what_can_come_and_keep_what_they_must() {
    let compose = compose();
    let declared: BTreeSet<_> = compose["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        assert!(texts(&service["security_opt"]).contains(&"no-new-privileges:true") || name == "certificate", "{name}");
        for (other, wish) in service["depends_on"].as_object().into_iter().flatten() {
            let other = &services(&compose)[other];
            match wish["condition"].as_str().unwrap() {
                // Its own health check, or that of the image, which is ours.
                "service_healthy" => {
                    assert!(other["healthcheck"]["test"].is_array() || other["image"] == "scangate:local", "{wish}");
                }
                // What is started again never completes.
                "service_completed_successfully" => assert!(other["restart"].is_null(), "{wish}"),
                condition => panic!("{condition}"),
            }
        }
        for volume in texts(&service["volumes"]) {
            let parts: Vec<_> = volume.split(':').collect();
            let is_file = parts[0].starts_with("./");
            if is_file {
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(parts[0]).exists(), "{volume}");
            } else {
                assert!(declared.contains(parts[0]), "{volume}");
                used.insert(parts[0]);
            }
            let makes_it = ["redis", "certificate"].contains(&name.as_str());
            assert_eq!(parts.get(2) == Some(&"ro"), !makes_it, "{name} and {volume}");
        }
    }
    assert_eq!(used, declared);
    for name in GATEWAYS.iter().chain(&["nginx"]) {
        let service = &services(&compose)[*name];
        assert_eq!((&service["read_only"], &service["cap_drop"]), (&json!(true), &json!(["ALL"])), "{name}");
        assert_eq!(service["restart"], "unless-stopped");
    }
    let redis = texts(&services(&compose)["redis"]["command"]);
    let flags = redis.iter().position(|word| *word == "--notify-keyspace-events").unwrap();
    assert!(["K", "g", "h", "x", "e"].iter().all(|flag| redis[flags + 1].contains(flag)));
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_a_demo_on_one_redis_know_the_same_made_up_people_and_sign_with_one_key() {
    let (redis, another) = (Redis::start(), Redis::start());
    let start =
        async |redis: &Redis| Gateway::builder().own_identity().redis(redis).arg("--demo", "true").start().await;
    // Both at once: of two keys that are put there, one is.
    let (one, other, stranger) = tokio::join!(start(&redis), start(&redis), start(&another));
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let answer = http.post(one.url("/demo/sign-in")).json(&json!({"name": "Ada"})).send().await.unwrap();
    let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let browser = Browser::new(&one);
    let ticket = browser.create().await;
    let act = async |gateway: &Gateway, step: &str| {
        let request = http.post(gateway.url(&format!("/v1/tickets/{ticket}/{step}"))).bearer_auth(&token);
        request.send().await.unwrap().status()
    };
    assert_eq!(act(&stranger, "scan").await, StatusCode::UNAUTHORIZED);
    for step in ["scan", "confirm"] {
        assert_eq!(act(&other, step).await, StatusCode::OK);
    }
    let claimed: Value = browser.read(&ticket).await.json().await.unwrap();
    let jwt = claimed["token"]["access_token"].as_str().unwrap();
    assert_eq!(verified_claims(&other, jwt, "web").await["sub"], "demo:Ada");
    let published = async |gateway: &Gateway| {
        http.get(gateway.url("/.well-known/jwks.json")).send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(published(&one).await, published(&other).await);
    assert_ne!(published(&one).await, published(&stranger).await);
    assert!(!one.log().contains("no --keys-dir"), "nothing is lost at a restart:\n{}", one.log());
}

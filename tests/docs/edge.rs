//! `docs/edge.md`: its tables against the configuration of nginx that they explain; and the other proxies it has
//! lines for, run by these lines.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::blocks::{blocks, pages};
use super::shell::{Running, Shell};
use crate::support::gateway::{AUDIENCE, ISSUER, SECRET, token};
use crate::support::until;

const FILES: [&str; 2] = [include_str!("../../nginx/nginx.conf"), include_str!("../../nginx/scangate.conf.template")];

/// How soon an event comes when nothing holds it back; heartbeats, which would push it on, are far rarer.
const PROMPT: Duration = Duration::from_secs(5);

fn page() -> String {
    pages().remove("docs/edge.md").unwrap()
}

/// Returns the directives of nginx's files, and what opens a block, each with single spaces. Entries of maps are none.
fn directives() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in FILES {
        let mut in_map = false;
        for line in file.lines().map(str::trim) {
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            // A directive that goes on in the next line goes on in quotes.
            let is_directive = line.starts_with(|c: char| c.is_ascii_lowercase());
            if in_map || !is_directive {
                in_map &= line != "}";
                continue;
            }
            in_map = ["map ", "split_clients "].iter().any(|kind| line.starts_with(kind));
            let words = words.strip_suffix(" {").or(words.strip_suffix(';')).unwrap_or(&words).to_owned();
            if !["events", "http", "server"].contains(&words.as_str()) {
                found.insert(words);
            }
        }
    }
    found
}

/// Returns the code in the first cells of the section's tables.
fn explained() -> BTreeSet<String> {
    let page = page();
    let (_, section) = page.split_once("## nginx, line by line").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.replace("\\|", "\0")).map(|row| row.split('|').nth(1).unwrap().to_owned());
    let code = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    code.map(|code| code.replace('\0', "|")).collect()
}

#[test]
fn every_directive_of_nginx_is_explained_with_its_value_and_no_other() {
    let (directives, explained) = (directives(), explained());
    assert!(directives.len() > 80, "{directives:#?}");
    let explains = |code: &str, directive: &str| match code.strip_suffix('…') {
        Some(start) => directive.starts_with(start),
        None => directive == code,
    };
    let missing: Vec<_> = directives.iter().filter(|line| !explained.iter().any(|code| explains(code, line))).collect();
    assert!(missing.is_empty(), "docs/edge.md does not explain {missing:#?}");
    let left: Vec<_> = explained.iter().filter(|code| !directives.iter().any(|line| explains(code, line))).collect();
    assert!(left.is_empty(), "docs/edge.md explains what is not there: {left:#?}");
}

/// A gateway behind a proxy, on a machine of their own, where the page's addresses are free.
struct Site {
    shell: Shell,
}

impl Site {
    /// Starts a proxy with the page's lines of a language, in a file, by a command.
    fn start(language: &str, file: &str, command: &str) -> Self {
        let blocks: Vec<_> = blocks(&page()).into_iter().filter(|block| block.language == language).collect();
        let [block] = &blocks[..] else { panic!("docs/edge.md has not one block of {language}") };
        let mut shell = Shell::start();
        let made = shell.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=login.example.com \
             -keyout key.pem -out cert.pem && cat cert.pem key.pem >sign-in.pem",
        );
        assert_eq!(made.1, 0, "{}", made.0);
        // Long heartbeats: what is held back stays there.
        shell.serve(&format!(
            "scangate --log-format json --public-url https://login.example.com --heartbeat 60s \
             --identity-secret {SECRET} --identity-issuer {ISSUER} --identity-audience {AUDIENCE}"
        ));
        // Caddy would ask an authority for a certificate otherwise.
        let own = "login.example.com {\n\ttls cert.pem key.pem\n";
        shell.write(file, &block.text.replace("login.example.com {\n", own));
        let proxy = shell.begin(command);
        let mut site = Self { shell };
        let started = std::time::Instant::now();
        while site.ask("/.well-known/jwks.json", "-f").1 != 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "{}", site.shell.heard(&proxy));
        }
        site
    }

    fn curl(path: &str, options: &str) -> String {
        format!("curl --resolve login.example.com:443:127.0.0.1 -ksS {options} 'https://login.example.com{path}'")
    }

    fn ask(&mut self, path: &str, options: &str) -> (String, i32) {
        self.shell.run(&Self::curl(path, options))
    }

    fn waits_for(&self, stream: &Running, event: &str) {
        until(PROMPT, event, || self.shell.heard(stream).contains(event).then_some(()));
    }

    /// Signs Ada in. Every event comes at once, and what the browser claims about its address is not believed.
    /// Returns the path of the ticket, and what its browser sends along.
    fn signs_in(&mut self) -> (String, String) {
        let (ticket, _) = self.ask(
            "/v1/tickets",
            r#"-H 'Content-Type: application/json' -H 'X-Forwarded-For: 203.0.113.7' -d '{"binding":"bearer"}'"#,
        );
        let ticket: Value = serde_json::from_str(&ticket).unwrap_or_else(|error| panic!("{error}: {ticket}"));
        let path = format!("/v1/tickets/{}", ticket["ticket_id"].as_str().unwrap());
        let browser = format!("-H 'Authorization: Bearer {}'", ticket["ticket_secret"].as_str().unwrap());
        let phone = format!("-f -X POST -H 'Authorization: Bearer {}'", token("ada"));

        let stream = self.shell.begin(&Self::curl(&format!("{path}/events"), &format!("-N {browser}")));
        self.waits_for(&stream, "event: pending\n");
        let (said, _) = self.ask(&format!("{path}/scan"), &phone);
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(said["requester"]["ip"], "127.0.0.1");
        self.waits_for(&stream, "event: scanned\n");
        assert_eq!(self.ask(&format!("{path}/confirm"), &phone).1, 0);
        self.waits_for(&stream, "\"access_token\":\"eyJ");
        let (status, _) = self.ask("/metrics", "-o /dev/null -w '%{http_code}'");
        assert_eq!(status, "404");
        (path, browser)
    }
}

#[test]
fn haproxy_by_the_pages_lines_passes_events_at_once_and_sends_streams_away_to_come_back() {
    let mut site = Site::start("haproxy", "haproxy.cfg", "haproxy -db -f haproxy.cfg");
    let (path, browser) = site.signs_in();
    site.shell.run("kill -KILL $(pidof scangate)");
    let said = until(PROMPT, "an answer to streams while no gateway is there", || {
        let (said, _) =
            site.ask(&format!("{path}/events"), &format!("{browser} -w '%{{http_code}} %{{content_type}}'"));
        said.ends_with("200 text/event-stream").then_some(said)
    });
    assert_eq!(said, "retry: 5000\nevent: reconnect\ndata: {}\n\n200 text/event-stream");
}

#[test]
fn caddy_by_the_pages_lines_passes_events_at_once() {
    Site::start("caddyfile", "Caddyfile", "caddy run").signs_in();
}

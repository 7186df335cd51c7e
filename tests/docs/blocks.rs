//! Every fenced block of the pages is run, or checked by what would read it, or says in the page why it is not.
//!
//! A block has a language, which decides what becomes of it ([`Page::play`]). All blocks of a page are played in
//! their order in one shell on one machine, so that what one sets up is there for the next. A block that cannot be
//! played has `<!-- not run: REASON -->` on the line before it, and a row in [`NOT_RUN`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::shell::{Running, Shell};
use crate::support::picture::plain;
use crate::support::until;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The blocks of a language in a page that a test of their own runs, which says more of them.
const ELSEWHERE: [(&str, &str, &str); 7] = [
    ("docs/install.md", "bash", "tests/packages/instructions.rs"),
    ("docs/install.md", "ini", "tests/unit"),
    ("docs/coming-from.md", "bash", "tests/coming_from.rs"),
    ("examples/README.md", "bash", "tests/examples.rs"),
    ("examples/auth-request/README.md", "bash", "tests/auth_request.rs"),
    ("docs/edge.md", "haproxy", "tests/docs/edge.rs"),
    ("docs/edge.md", "caddyfile", "tests/docs/edge.rs"),
];

/// The reasons for which blocks are not run, with how often a page gives each. A page cannot do without a row here.
const NOT_RUN: [(&str, &str, usize); 18] = [
    ("README.md", "tests/compose runs it", 1),
    ("docs/how-it-works.md", "a drawing", 1),
    ("docs/identity-providers.md", "a drawing", 1),
    ("docs/install.md", "an address of your own network", 1),
    ("docs/architecture.md", "a drawing", 1),
    ("docs/wechat.md", "a drawing", 1),
    ("docs/openid-connect.md", "a drawing", 1),
    ("docs/auth-request.md", "a drawing", 1),
    ("docs/apps/grafana.md", "Grafana is not in Debian", 1),
    ("docs/apps/oauth2-proxy.md", "oauth2-proxy is not in Debian", 1),
    ("docs/load-testing.md", "thousands of streams; tests/loadgen.rs runs each scenario with a few", 7),
    ("docs/load-testing.md", "lines out of a longer run", 1),
    ("docs/configuration.md", "tests/wechat.rs gives a Redis these rights and signs in with no more", 1),
    ("docs/operations.md", "takes a Cluster that has lost a node; tests/doctor.rs has one", 1),
    ("docs/operations.md", "tests/doctor.rs brings each of these about", 1),
    ("docs/operations.md", "it is a test of this project itself", 1),
    ("docs/edge.md", "for your own host", 1),
    ("docs/drop-in.md", "a header for answers of your own", 1),
];

/// What is typed before the first block of a page: what its text takes for granted.
const STAGES: [(&str, &str); 4] = [
    ("docs/your-site.md", "cargo run --release"),
    ("docs/http-api.md", "scangate --log-format json"),
    ("docs/load-testing.md", "scangate --log-format json"),
    (
        "docs/wechat.md",
        "echo 0123456789abcdef0123456789abcdef >wechat-secret; echo letters0and0digits >wechat-token
         echo abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG >wechat-key",
    ),
];

pub struct Block {
    pub line: usize,
    pub language: String,
    pub text: String,
    /// Why it is not run, if it says so.
    pub excuse: Option<String>,
}

/// Returns the blocks of a page.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut excuse = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let body = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            let body: Vec<_> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
            found.push(Block {
                line: number + 1,
                language: language.trim().to_owned(),
                text: body.join("\n") + "\n",
                excuse: excuse.take(),
            });
        } else if let Some(said) = line.trim().strip_prefix("<!-- not run: ") {
            excuse = Some(said.strip_suffix(" -->").expect("a comment of one line").to_owned());
        } else if !line.trim().is_empty() {
            excuse = None;
        }
    }
    found
}

/// Returns the names and texts of all pages: the README, those of docs and docs/apps, and the README of examples and of each of them.
pub fn pages() -> BTreeMap<String, String> {
    let entries = |folder: &str| {
        let entries = Path::new(ROOT).join(folder).read_dir().unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    let docs = ["docs", "docs/apps"].into_iter().flat_map(entries).filter(|name| name.ends_with(".md"));
    let examples = entries("examples").into_iter().map(|folder| format!("{folder}/README.md"));
    let all = docs.chain(examples).chain(["examples/README.md".to_owned(), "README.md".to_owned()]);
    all.filter_map(|name| Some((name.clone(), std::fs::read_to_string(Path::new(ROOT).join(name)).ok()?))).collect()
}

/// A page being played.
struct Page {
    shell: Shell,
    /// Tokens of the page, each with what stands for it in this run.
    stands_for: Vec<(String, String)>,
    /// The stream that goes on.
    stream: Option<Running>,
}

impl Page {
    fn open(name: &str) -> Self {
        let mut page = Self { shell: Shell::start(), stands_for: Vec::new(), stream: None };
        if let Some((_, stage)) = STAGES.iter().find(|(page, _)| *page == name) {
            page.script(stage);
        }
        page
    }

    fn play(&mut self, block: &Block) {
        match block.language.as_str() {
            "sh" => self.script(&block.text),
            "console" => self.transcript(&block.text),
            "json" => drop(serde_json::from_str::<Value>(&block.text).expect("it is no JSON")),
            "toml" => self.settings(&block.text),
            "redis" => self.checked("block.conf", &block.text, REDIS),
            "yaml" => drop(serde_saphyr::from_str::<Value>(&block.text).expect("it is no YAML")),
            "html" => self.page(&block.text),
            // What takes a release to be made, or more than this machine: it can be read at least.
            "bash" => self.checked("block.sh", &block.text, "bash -n block.sh"),
            "js" => self.checked("block.mjs", &block.text, "node --check block.mjs"),
            "python" => self.checked("block.py", &block.text, "python3 -m py_compile block.py"),
            "apache" => {
                self.checked("httpd.conf", &format!("{APACHE}{}", block.text), "apache2 -t -f \"$PWD/httpd.conf\"")
            }
            "nginx" => self.checked("nginx.conf", &nginx(&block.text), "nginx -t -e stderr -c \"$PWD/nginx.conf\""),
            other => panic!("nothing runs {other:?}; give it a language that something runs, or say why it is not run"),
        }
    }

    /// Runs commands, each of which has to succeed.
    fn script(&mut self, text: &str) {
        let mut rest = Vec::new();
        for line in text.lines() {
            if Shell::is_server(line) {
                self.succeed(&std::mem::take(&mut rest).join("\n"));
                self.shell.serve(line);
            } else {
                rest.push(line);
            }
        }
        self.succeed(&rest.join("\n"));
    }

    fn succeed(&mut self, command: &str) {
        if !command.trim().is_empty() {
            let (said, code) = self.shell.run(command);
            assert_eq!(code, 0, "{command}\nsaid: {said}");
        }
    }

    /// Types what stands behind `$`, and compares what is said with what stands below. What stands before the first
    /// `$` is said by the stream that an earlier block has opened.
    fn transcript(&mut self, text: &str) {
        let mut parts = vec![(String::new(), Vec::new())];
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    let mut command = command.to_owned();
                    while command.ends_with('\\') {
                        command = format!("{command}\n{}", lines.next().expect("a command ends in the block"));
                    }
                    parts.push((command, Vec::new()));
                }
                None if line.trim().is_empty() => {}
                None => parts.last_mut().unwrap().1.push(line),
            }
        }
        for (command, expected) in parts {
            let typed = self.stands_for.iter().fold(command.clone(), |text, (there, here)| text.replace(there, here));
            if command.is_empty() {
                self.go_on(&expected);
            } else if typed.contains("curl -sN") || typed.contains("curl -N") {
                self.stream = Some(self.shell.begin(&typed));
                self.go_on(&expected);
            } else if Shell::is_server(&typed) {
                self.shell.serve(&typed);
            } else {
                let (said, code) = self.shell.run(&typed);
                assert!(code == 0 || !expected.is_empty(), "{command}\nsaid: {said}");
                let said: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
                assert!(expected.is_empty() || said.len() == expected.len(), "{command}\nsaid: {said:#?}");
                self.compare(&expected, &said);
            }
        }
    }

    /// Compares with what the stream says next, once it has said as much.
    fn go_on(&mut self, expected: &[&str]) {
        let Some(stream) = &mut self.stream else {
            assert!(expected.is_empty(), "no stream says {expected:#?}");
            return;
        };
        let said = until(Duration::from_secs(20), &format!("{expected:#?}"), || {
            let heard = self.shell.heard(stream);
            let is_heartbeat = |line: &str| line == "event: heartbeat" || line == "data: {}";
            let lines = heard.lines().filter(|line| !line.trim().is_empty() && !is_heartbeat(line));
            let lines: Vec<_> = lines.skip(stream.seen).map(str::to_owned).collect();
            (lines.len() >= expected.len()).then_some(lines)
        });
        stream.seen += expected.len();
        let said: Vec<_> = said.iter().map(String::as_str).take(expected.len()).collect();
        self.compare(expected, &said);
    }

    /// Compares lines in shape, and learns what stands for the page's tokens.
    fn compare(&mut self, expected: &[&str], said: &[&str]) {
        for (expected, said) in expected.iter().zip(said) {
            let (pattern, tokens) = shape(expected);
            let found = pattern.captures(said).unwrap_or_else(|| panic!("expected: {expected}\nsaid:     {said}"));
            for (token, found) in tokens.into_iter().zip(found.iter().skip(1)) {
                let found = found.unwrap().as_str().to_owned();
                if !self.stands_for.iter().any(|(there, _)| *there == token) {
                    self.stands_for.push((token, found));
                }
            }
        }
    }

    /// Has the gateway look at a TOML file, which later commands can name as `clients.toml`.
    fn settings(&mut self, text: &str) {
        self.shell.write("clients.toml", text);
        std::fs::write(self.shell.path("manager.png"), plain(64, 64, [122, 0, 25])).unwrap();
        for file in text.lines().filter_map(|line| line.strip_prefix("secret_file = \"")) {
            std::fs::write(self.shell.path(file.split('"').next().unwrap()), "a".repeat(43)).unwrap();
        }
        // What it finds behind the settings is not there to be found.
        let (said, _) = self.shell.run("scangate doctor --config clients.toml");
        assert!(said.contains("ok    settings"), "{said}");
    }

    /// Looks at a page: its scripts can be read, and a whole one is an example, which a test opens.
    fn page(&mut self, text: &str) {
        for script in text.split("<script>").skip(1) {
            self.checked("block.js", script.split("</script>").next().unwrap(), "node --check block.js");
        }
        for file in text.split("/static/").skip(1) {
            let name = file.split(['"', '?']).next().unwrap();
            assert!(Path::new(ROOT).join("static").join(name).is_file(), "there is no /static/{name}");
        }
        if text.starts_with("<!doctype") {
            let mut examples = Path::new(ROOT).join("examples").read_dir().unwrap();
            let is_it =
                |path: &Path| std::fs::read_to_string(path).is_ok_and(|example| without_comments(&example) == text);
            assert!(examples.any(|folder| is_it(&folder.unwrap().path().join("index.html"))), "it is no example");
        }
    }

    fn checked(&mut self, name: &str, text: &str, command: &str) {
        self.shell.write(name, text);
        self.succeed(command);
    }
}

/// Returns a pattern that fits whatever differs from the line only in what differs from run to run: ids, numbers and
/// times, and what the page leaves out by `…`. And the tokens of the line, each of which stands for a group of the
/// pattern.
fn shape(line: &str) -> (Regex, Vec<String>) {
    let changing = Regex::new(
        r"(?<cut>eyJ0…)|(?<any>…)|(?<token>[A-Za-z0-9_-]{16,})|(?<time>\d+(\.\d+)?(ns|µs|ms|s)\b)|(?<number>\d+(\.\d+)?)",
    );
    let (mut pattern, mut tokens, mut rest) = (String::from("^"), Vec::new(), 0);
    for found in changing.unwrap().captures_iter(line) {
        let whole = found.get(0).unwrap();
        let literal = |text: &str| regex::escape(text);
        pattern.push_str(&literal(&line[rest..whole.start()]));
        rest = whole.end();
        let is_random = |token: &str| token.contains(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase());
        if found.name("cut").is_some() {
            tokens.push(whole.as_str().to_owned());
            pattern.push_str(r"(eyJ0[A-Za-z0-9_.-]+)");
        } else if found.name("any").is_some() {
            pattern.push_str(".*");
        } else if found.name("time").is_some() {
            pattern.push_str(r"\d+(?:\.\d+)?(?:ns|µs|ms|s)");
        } else if found.name("number").is_some() {
            pattern.push_str(r"\d+(?:\.\d+)?");
        } else if is_random(whole.as_str()) {
            tokens.push(whole.as_str().to_owned());
            pattern.push_str(r"([A-Za-z0-9_-]{16,})");
        } else {
            pattern.push_str(&literal(whole.as_str()));
        }
    }
    pattern.push_str(&regex::escape(&line[rest..]));
    pattern.push('$');
    (Regex::new(&pattern).unwrap(), tokens)
}

/// The lines that Apache needs before it reads the settings of a site.
const APACHE: &str = "ServerName localhost\nListen 127.0.0.1:7998\nErrorLog /dev/stderr\n\
    LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
    LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so\n\
    LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
    LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so\n\
    LoadModule auth_openidc_module /usr/lib/apache2/modules/mod_auth_openidc.so\n";

/// A Redis that starts with these lines, and stops again.
const REDIS: &str = "redis-server block.conf --port 7999 --daemonize yes --save '' && \
    until redis-cli -p 7999 ping; do sleep 0.05; done && redis-cli -p 7999 shutdown nosave; ! redis-cli -p 7999 ping";

/// Returns a page of HTML without its comments, and the line ends after them.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("<!--");
    let first = parts.next().unwrap_or_default().to_owned();
    parts
        .fold(first, |kept, part| kept + part.split_once("-->").map_or(part, |(_, rest)| rest.trim_start_matches('\n')))
}

/// Returns a whole configuration of nginx that holds these lines where they belong.
fn nginx(lines: &str) -> String {
    let starts = |words: &[&str]| lines.lines().any(|line| words.iter().any(|word| line.starts_with(word)));
    if starts(&["http {", "events {"]) {
        return lines.to_owned();
    }
    let lines =
        if starts(&["server {", "upstream ", "map "]) { lines.to_owned() } else { format!("server {{ {lines} }}") };
    format!("pid nginx.pid;\nevents {{}}\nhttp {{\n{lines}\n}}\n")
}

/// Returns what is wrong with the blocks of a page.
fn faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut page = None;
    for block in blocks(text) {
        let is_elsewhere = |(page, language, _): &(&str, &str, &str)| *page == name && *language == block.language;
        if block.excuse.is_some() || ELSEWHERE.iter().any(is_elsewhere) {
            continue;
        }
        let page = page.get_or_insert_with(|| Page::open(name));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| page.play(&block)));
        if let Err(fault) = played {
            let text = fault.downcast_ref::<String>().map_or("", String::as_str);
            let text = fault.downcast_ref::<&str>().copied().unwrap_or(text);
            faults.push(format!("{name}:{}: {text}", block.line));
        }
    }
    faults
}

#[test]
fn every_block_of_the_pages_is_run_or_says_why_not() {
    let pages = pages();
    let faults: Vec<_> = std::thread::scope(|scope| {
        let played: Vec<_> = pages.iter().map(|(name, text)| scope.spawn(|| faults(name, text))).collect();
        played.into_iter().flat_map(|page| page.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn what_is_not_run_is_what_is_known_not_to_be() {
    let mut found = BTreeMap::new();
    for (name, text) in pages() {
        for block in blocks(&text) {
            if let Some(excuse) = block.excuse {
                *found.entry((name.clone(), excuse)).or_insert(0) += 1;
            }
        }
    }
    let known = NOT_RUN.iter().map(|(name, excuse, count)| (((*name).to_owned(), (*excuse).to_owned()), *count));
    assert_eq!(found, known.collect::<BTreeMap<_, _>>());
}

#[test]
fn what_is_run_elsewhere_is_there() {
    let pages = pages();
    for (name, language, test) in ELSEWHERE {
        assert!(blocks(&pages[name]).iter().any(|block| block.language == language), "{name} has no {language}");
        let test = std::fs::read_to_string(Path::new(ROOT).join(test)).unwrap();
        assert!(test.contains(Path::new(name).file_name().unwrap().to_str().unwrap()), "{name} is not run there");
    }
}

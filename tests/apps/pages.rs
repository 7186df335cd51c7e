//! `docs/apps` has the versions and the settings with which the tests run the apps.

use super::*;

const TABLE: &str = include_str!("../../docs/apps/README.md");

/// Returns the lines of a file between the marks around the administrator's part.
fn settings(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with("# ---- What an administrator writes"));
    lines.skip(1).take_while(|line| *line != "# ----").map(|line| format!("{line}\n")).collect()
}

/// Returns the block of a page in this language.
fn block(page: &str, language: &str) -> String {
    let (_, block) = page.split_once(&format!("\n```{language}\n")).expect("no such block");
    block.split("```").next().unwrap().to_owned()
}

#[test]
fn the_table_of_clients_has_the_versions_that_are_run() {
    let packages: Value = serde_json::from_str(include_str!("node/package.json")).unwrap();
    let node = ["openid-client", "oauth4webapi", "oidc-client-ts", "passport-openidconnect"]
        .map(|name| (name, packages["dependencies"][name].as_str().unwrap().to_owned()));
    let lists =
        concat!(include_str!("python/requirements.txt"), include_str!("../../examples/company/requirements.txt"));
    let python = ["authlib", "mozilla-django-oidc", "jupyterhub", "oauthenticator"].map(|name| {
        let line = lists.lines().find_map(|line| line.strip_prefix(&format!("{name}==")));
        (name, line.unwrap().to_owned())
    });
    for (name, version) in node.into_iter().chain(python) {
        let mut rows = TABLE.lines().filter(|line| line.starts_with("| ") && line.to_lowercase().contains(name));
        assert!(rows.any(|row| row.contains(&version)), "{name} {version} is not in the table");
    }
}

#[test]
fn the_page_of_apache_has_the_settings_that_are_run() {
    let run = settings(include_str!("apache/httpd.conf"));
    let run = [
        ("${ISSUER}", "https://login.example.com"),
        ("http://localhost:${PORT}", "https://wiki.example.com"),
        ("${CLIENT_SECRET}", "the-content-of-wiki-secret"),
        ("a-passphrase-of-the-tests", "a-long-random-text-of-your-own"),
        ("${RESPONSE_MODE}", "query"),
    ]
    .into_iter()
    .fold(run, |text, (here, there)| text.replace(here, there));
    assert_eq!(block(include_str!("../../docs/apps/apache.md"), "apache"), run);
}

#[test]
fn the_page_of_jupyterhub_has_the_settings_that_are_run() {
    let page = block(include_str!("../../docs/apps/jupyterhub.md"), "python");
    let (_, page) = page.split_once("here = \"https://hub.example.com\"\n").unwrap();
    assert_eq!(page, settings(include_str!("jupyterhub/jupyterhub_config.py")));
}

#[test]
fn the_page_of_the_spa_has_the_settings_that_are_run() {
    let page = block(include_str!("../../docs/apps/spa.md"), "js");
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim).filter(|line| line.contains("_uri: ") || line.contains("loadUserInfo"));
        lines.map(str::to_owned).collect()
    };
    let run = lines(include_str!("spa/page.html"));
    assert_eq!((run.len(), lines(&page)), (6, run));
}

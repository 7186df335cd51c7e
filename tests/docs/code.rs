//! What the pages say of files, functions and other pages is there: paths and names in code, links and their anchors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::blocks::pages;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Where a path of a page may begin.
const FOLDERS: [&str; 2] = ["src", ""];

/// Pages that links may lead to besides those that are checked themselves.
const FURTHER: [&str; 3] = ["CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md"];

/// Returns the code of a page that names a file of the sources, with what it names in there: `http/events.rs::follow`.
fn named(text: &str) -> BTreeSet<(String, Vec<String>)> {
    let prose = text.split("```").step_by(2).collect::<Vec<_>>().join(" ");
    let code = prose.split('`').skip(1).step_by(2).map(str::to_owned);
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let split = |code: String| {
        let mut parts = code.split("::").map(str::to_owned);
        let path = parts.next()?;
        let is_script = path.starts_with("static/") && path.contains(".");
        let is_file = (path.ends_with(".rs") || is_script) && path.chars().all(is_path) && !path.starts_with('.');
        is_file.then(|| (path, parts.map(|part| part.trim_end_matches("()").to_owned()).collect()))
    };
    code.filter_map(split).collect()
}

fn file(path: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(ROOT).join(folder).join(path)).find(|path| path.is_file())
}

/// Returns whether a source defines a name.
fn defines(source: &str, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "const", "type", "static", "mod"];
    kinds.iter().any(|kind| {
        source.match_indices(&format!("{kind} {name}")).any(|(at, found)| {
            let next = source[at + found.len()..].chars().next().unwrap_or(' ');
            !next.is_alphanumeric() && next != '_'
        })
    })
}

#[test]
fn every_file_and_name_of_the_sources_is_there() {
    let mut count = 0;
    let contributing = ("CONTRIBUTING.md".to_owned(), include_str!("../../CONTRIBUTING.md").to_owned());
    for (page, text) in pages().into_iter().chain([contributing]) {
        for (path, names) in named(&text) {
            let file = file(&path).unwrap_or_else(|| panic!("{page} names {path}, which is not there"));
            let source = std::fs::read_to_string(file).unwrap();
            for name in names {
                assert!(defines(&source, &name), "{page} names {name} of {path}, which is not there");
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count}");
}

/// The map has a row for every file of the sources, but for tests.
#[test]
fn the_map_of_the_sources_has_every_file() {
    let page = &pages()["docs/architecture.md"];
    let (_, map) = page.split_once("## The map").unwrap();
    let map = map.split("\n## ").next().unwrap();
    let code: BTreeSet<_> = map.split('`').skip(1).step_by(2).collect();
    let mut missing = Vec::new();
    let mut folders = vec![Path::new(ROOT).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(Path::new(ROOT).join("src")).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // A row may name a folder for all of it.
            let is_in_folder = code.iter().any(|code| code.ends_with('/') && name.starts_with(code));
            if !is_in_folder && !code.contains(name.as_str()) && !name.ends_with("/tests.rs") {
                missing.push(name);
            }
        }
    }
    assert_eq!(missing, ["lib.rs"], "the map lacks these");
}

/// Returns the anchors of a page: its headings as GitHub makes links of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for heading in prose.lines().filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect();
        let anchor = anchor.replace(' ', "-");
        let count = found.entry(anchor.clone()).or_default();
        all.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    all
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let mut pages = pages();
    for name in FURTHER {
        pages.insert(name.to_owned(), std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap());
    }
    let mut broken = Vec::new();
    for (name, text) in &pages {
        let folder = Path::new(name).parent().unwrap();
        let prose = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.contains(char::is_whitespace) {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let mut target = if path.is_empty() { PathBuf::from(name) } else { PathBuf::new() };
            if !path.is_empty() {
                for part in folder.join(path).components() {
                    match part {
                        std::path::Component::ParentDir => drop(target.pop()),
                        part => target.push(part),
                    }
                }
            }
            let is_there = Path::new(ROOT).join(&target).exists();
            let text = pages.get(target.to_str().unwrap());
            if !is_there || (!anchor.is_empty() && text.is_some_and(|text| !anchors(text).contains(anchor))) {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

//! `docs/dependencies.md` against the packages' manifests and sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use toml::Table;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = include_str!("../../docs/dependencies.md");

/// A list of dependencies of one package.
struct List {
    manifest: String,
    /// The table of the manifest.
    table: &'static str,
    names: BTreeSet<String>,
}

/// Returns every list of every package of the workspace that is not empty.
fn lists() -> Vec<List> {
    let root = manifest(Path::new("Cargo.toml"));
    let members = root["workspace"]["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap());
    let mut lists = Vec::new();
    for directory in std::iter::once("").chain(members) {
        let path = Path::new(directory).join("Cargo.toml");
        let manifest = manifest(&path);
        assert!(!manifest.contains_key("target"), "{}: this test reads no [target] tables", path.display());
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names: BTreeSet<_> = manifest
                .get(table)
                .and_then(|names| names.as_table())
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .collect();
            if !names.is_empty() {
                lists.push(List { manifest: path.display().to_string(), table, names });
            }
        }
    }
    lists
}

fn manifest(path: &Path) -> Table {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap().parse().unwrap()
}

/// Returns the page's rows by the manifest and the table that each section names.
fn rows() -> BTreeMap<(String, String), BTreeSet<String>> {
    let section = Regex::new(r"(?m)^`(\S+Cargo\.toml|Cargo\.toml)`, `\[([a-z-]+)\]`\.").unwrap();
    let row = Regex::new(r"(?m)^\| `([a-zA-Z0-9_-]+)` \| (\S.*) \|$").unwrap();
    let starts: Vec<_> = section.captures_iter(PAGE).collect();
    let ends = starts.iter().skip(1).map(|next| next.get(0).unwrap().start()).chain([PAGE.len()]);
    let mut rows = BTreeMap::new();
    for (start, end) in starts.iter().zip(ends) {
        let text = &PAGE[start.get(0).unwrap().start()..end];
        let names = row.captures_iter(text).map(|row| row[1].to_owned()).collect();
        rows.insert((start[1].to_owned(), start[2].to_owned()), names);
    }
    rows
}

/// Returns the Rust sources under these directories of a package, without comment lines.
fn sources(package: &Path, directories: &[&str]) -> String {
    let mut text = String::new();
    let mut waiting: Vec<PathBuf> = directories.iter().map(|directory| package.join(directory)).collect();
    while let Some(path) = waiting.pop() {
        if path.file_name().is_some_and(|name| name == "node_modules") {
            continue;
        }
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(path).unwrap();
            text.extend(
                source.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]),
            );
        }
    }
    text
}

#[test]
fn every_dependency_has_its_row_and_every_row_its_dependency() {
    let mut rows = rows();
    for List { manifest, table, names } in lists() {
        let of_page = rows.remove(&(manifest.clone(), table.to_owned()));
        let of_page = of_page.unwrap_or_else(|| panic!("docs/dependencies.md has no section for {manifest} [{table}]"));
        let missing: Vec<_> = names.difference(&of_page).collect();
        let left: Vec<_> = of_page.difference(&names).collect();
        assert!(missing.is_empty(), "{manifest} [{table}]: no reason is given for {missing:?}");
        assert!(left.is_empty(), "{manifest} [{table}]: the page has rows for {left:?}, which are no dependencies");
    }
    assert!(rows.is_empty(), "sections for no list: {:?}", rows.keys());
}

#[test]
fn no_dependency_is_unused() {
    let modules = Regex::new(r"(?m)^\s*(pub(\([^)]*\))? )?mod \w+;").unwrap();
    for List { manifest, table, names } in lists() {
        let package = Path::new(ROOT).join(&manifest);
        let directories: &[&str] = match table {
            "dependencies" => &["src"],
            "dev-dependencies" => &["src", "tests", "examples", "benches"],
            _ => &["build.rs"],
        };
        let sources = sources(package.parent().unwrap(), directories);
        // A module may have a dependency's name, such as `http`.
        let sources = modules.replace_all(&sources, "");
        for name in names {
            let path = Regex::new(&format!(r"(?m)(^|[^\w:.])(::)?{}(::|;| as )", name.replace('-', "_"))).unwrap();
            assert!(path.is_match(&sources), "{manifest} [{table}]: no source names {name}");
        }
    }
}

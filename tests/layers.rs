//! The order of the layers (`src/layers.md`), held against the sources: every module has a row, uses only modules below its
//! own row, and no files use each other in a circle. The packages of the workspace know nothing of the gateway.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Arrow, Crate, Files};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TABLE: &str = "src/layers.md";

/// Returns the modules and packages of the table, from the top down.
fn rows(table: &str) -> Vec<String> {
    let cells = table.lines().filter_map(|line| line.strip_prefix('|')?.split('|').nth(1));
    cells.filter_map(|cell| cell.split('`').nth(1)).map(str::to_owned).collect()
}

/// Returns what is wrong with a tree, each with the way out.
fn faults(files: &Files) -> Vec<String> {
    let rows = rows(&files[TABLE]);
    let house = Crate::read(files, "scangate");
    let mut faults = house.faults.clone();
    let modules = house.top_modules();
    for module in &modules {
        if !rows.contains(module) {
            faults.push(format!("{TABLE} has no row for `{module}`; add it below all modules that use it"));
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let is_package = row.contains('/');
        if !is_package && !modules.contains(row) {
            faults.push(format!("{TABLE} has a row for `{row}`, which is no module; remove the row"));
        }
        if rows[..at].contains(row) {
            faults.push(format!("{TABLE} has two rows for `{row}`; remove one"));
        }
    }
    let arrows = house.arrows();
    faults.extend(upward(&house, &rows, &arrows));
    faults.extend(circles(&arrows));
    faults
}

/// Returns the arrows to a module that is not below the one that uses it.
fn upward(house: &Crate, rows: &[String], arrows: &BTreeSet<Arrow>) -> Vec<String> {
    let row = |file: &str| {
        let module = house.top_module_of(file)?;
        Some((module.to_owned(), rows.iter().position(|row| row == module)?))
    };
    let mut faults = Vec::new();
    for Arrow { from, line, to, name } in arrows {
        let (Some((user, user_row)), Some((used, used_row))) = (row(from), row(to)) else { continue };
        if used_row < user_row {
            faults.push(format!(
                "{from}:{line} uses `{name}` of {to}, but `{used}` is above `{user}` in {TABLE}; \
                 move `{name}` to `{user}` or below it, or let `{used}` pass in what `{user}` needs"
            ));
        }
    }
    faults
}

/// Returns the circles: each with the arrows that tie it.
fn circles(arrows: &BTreeSet<Arrow>) -> Vec<String> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in arrows {
        uses.entry(&arrow.from).or_default().insert(&arrow.to);
    }
    let reached = |start: &str| {
        let mut found = BTreeSet::new();
        let mut next = vec![start];
        while let Some(file) = next.pop() {
            for used in uses.get(file).into_iter().flatten() {
                if found.insert(*used) {
                    next.push(used);
                }
            }
        }
        found
    };
    let all: BTreeMap<&str, BTreeSet<&str>> = uses.keys().map(|file| (*file, reached(file))).collect();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (file, reach) in &all {
        let circle: BTreeSet<&str> =
            reach.iter().filter(|other| all.get(*other).is_some_and(|back| back.contains(file))).copied().collect();
        if circle.is_empty() || !seen.insert(circle.clone()) {
            continue;
        }
        let ties = arrows.iter().filter(|arrow| circle.contains(&*arrow.from) && circle.contains(&*arrow.to));
        let ties: Vec<_> =
            ties.map(|Arrow { from, line, to, name }| format!("  {from}:{line} uses `{name}` of {to}")).collect();
        let names: Vec<_> = circle.into_iter().collect();
        faults.push(format!(
            "{} use each other in a circle; move what both sides need into a file of its own:\n{}",
            names.join(", "),
            ties.join("\n")
        ));
    }
    faults
}

/// Returns where a module that must be pure names a clock, the random generator or I/O.
fn impure(files: &Files, module: &str) -> Vec<String> {
    const BANNED: [&str; 10] =
        ["SystemTime", "Instant", "tokio", "rand", "getrandom", "fs", "env", "process", "TcpStream", "UdpSocket"];
    let is_of_module = |name: &str| name == format!("src/{module}.rs") || name.starts_with(&format!("src/{module}/"));
    let mut faults = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| is_of_module(name) && !name.ends_with("/tests.rs")) {
        for (word, line) in source::words(text) {
            if BANNED.contains(&word.as_str()) {
                faults.push(format!("{name}:{line} names `{word}`; take the time or what was drawn as an argument"));
            }
        }
    }
    faults
}

/// Returns which of a package's sources and dependencies know of the gateway. `dependencies` is its `Cargo.toml`.
fn knows_the_gateway(files: &Files, dependencies: &str) -> Vec<String> {
    let manifest: toml::Table = dependencies.parse().unwrap();
    let mut faults = Vec::new();
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, value) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
            if name == "scangate" || value.get("path").is_some() || value.get("workspace").is_some() {
                faults.push(format!("it depends on `{name}` of this workspace; remove the dependency"));
            }
        }
    }
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".rs")) {
        for (word, line) in source::words(text).into_iter().filter(|(word, _)| word == "scangate") {
            faults.push(format!("{name}:{line} names `{word}`; the package must work without the gateway"));
        }
    }
    faults
}

/// Reads the files under `folder` whose names end with one of `ends`.
fn read(folder: &str, ends: &[&str], files: &mut Files) {
    for entry in Path::new(ROOT).join(folder).read_dir().unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read(&name, ends, files);
        } else if ends.iter().any(|end| name.ends_with(end)) {
            files.insert(name.clone(), std::fs::read_to_string(Path::new(ROOT).join(&name)).unwrap());
        }
    }
}

fn sources() -> Files {
    let mut files = Files::new();
    read("src", &[".rs", ".md"], &mut files);
    files
}

#[test]
fn every_module_uses_only_those_below_it_and_no_files_form_a_circle() {
    let faults = faults(&sources());
    assert!(faults.is_empty(), "{} faults:\n\n{}\n", faults.len(), faults.join("\n\n"));
}

#[test]
fn every_source_file_is_one_of_a_module() {
    let files = sources();
    let house = Crate::read(&files, "scangate");
    let read: BTreeSet<&str> = house.files();
    // Modules of tests are declared under `#[cfg(test)]`.
    let others = files.keys().filter(|name| name.ends_with(".rs") && !read.contains(name.as_str()));
    let others: Vec<_> = others.filter(|name| !name.ends_with("/tests.rs")).collect();
    assert!(others.is_empty(), "no module declares {others:?}");
    assert!(house.arrows().len() > 300, "the test reads too few imports: {}", house.arrows().len());
}

#[test]
fn the_ticket_has_no_clock_no_randomness_and_no_io() {
    let faults = impure(&sources(), "ticket");
    assert!(faults.is_empty(), "{faults:#?}");
    // Clippy holds the same for the clock, by types, and for the generator, by functions.
    let lints = include_str!("../clippy.toml");
    for path in ["std::time::SystemTime", "std::time::Instant", "tokio::time::Instant", "getrandom::fill", "rand::rng"]
    {
        assert!(lints.contains(&format!("path = \"{path}\"")), "clippy.toml does not ban {path}");
    }
    assert!(sources()["src/ticket.rs"].contains("#![deny(clippy::disallowed_types"));
}

#[test]
fn the_packages_know_nothing_of_the_gateway_and_have_a_row() {
    let rows = rows(&sources()[TABLE]);
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(rows.iter().map(String::as_str).filter(|row| row.contains('/')).collect::<BTreeSet<_>>(), members);
    for member in members {
        let mut files = Files::new();
        read(&format!("{member}/src"), &[".rs"], &mut files);
        let manifest = std::fs::read_to_string(Path::new(ROOT).join(member).join("Cargo.toml")).unwrap();
        let faults = knows_the_gateway(&files, &manifest);
        assert!(faults.is_empty(), "{member}: {faults:#?}");
    }
}

/// A small tree: `main` above `http` above `store` and `ticket`.
fn made_up(changes: &[(&str, &str)]) -> Files {
    let table = "| layer | module | owns |\n|---|---|---|\n| top | `main` | |\n| | `http` | |\n| low | `store` | |\n| | `ticket` | |\n";
    let mut files: Files = [
        ("src/layers.md", table),
        ("src/lib.rs", "pub mod http;\npub mod store;\npub mod ticket;\n"),
        ("src/main.rs", "use scangate::http::serve;\nfn main() { serve(); }\n"),
        ("src/http.rs", "mod page;\nuse crate::store::{Store, memory::Memory};\npub fn serve() { page::show(); }\n"),
        ("src/http/page.rs", "use crate::ticket;\npub fn show() -> ticket::Id { ticket::Id }\n"),
        ("src/store.rs", "pub mod memory;\nuse crate::ticket::Id;\npub trait Store {}\n"),
        ("src/store/memory.rs", "use super::Store;\npub struct Memory;\n"),
        ("src/ticket.rs", "mod id;\npub use id::Id;\n#[cfg(test)]\nmod tests {\n    use crate::http::serve;\n}\n"),
        ("src/ticket/id.rs", "pub struct Id;\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    files.extend(changes.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    files
}

#[test]
fn a_tree_in_order_has_no_faults() {
    assert_eq!(faults(&made_up(&[])), [""; 0]);
}

#[test]
fn each_fault_is_found_with_its_file_and_line() {
    for (file, text, expected) in [
        (
            "src/ticket/id.rs",
            "pub struct Id;\nuse crate::store::Store;\n",
            "src/ticket/id.rs:2 uses `Store` of src/store.rs",
        ),
        (
            "src/ticket/id.rs",
            "pub struct Id;\n\nfn f() { crate::http::serve() }\n",
            "src/ticket/id.rs:3 uses `serve` of src/http.rs",
        ),
        (
            "src/ticket/id.rs",
            "pub struct Id(super::super::store::memory::Memory);\n",
            "src/ticket/id.rs:1 uses `Memory` of src/store/memory.rs",
        ),
        (
            "src/ticket/id.rs",
            "pub struct Id;\nfn f() { println!(\"{}\", crate::http::serve()) }\n",
            "src/ticket/id.rs:2 uses `serve`",
        ),
        (
            "src/store/memory.rs",
            "use crate::{\n    ticket::Id,\n    http::serve as s,\n};\npub struct Memory;\n",
            "uses `serve` of src/http.rs",
        ),
        (
            "src/store/memory.rs",
            "use crate::http;\npub struct Memory;\nfn f() { http::serve() }\n",
            "src/store/memory.rs:3 uses `serve` of src/http.rs",
        ),
        (
            "src/store/memory.rs",
            "pub(crate) use crate::http::serve;\npub struct Memory;\nfn f() { serve() }\n",
            "src/store/memory.rs:1 uses `serve`",
        ),
        (
            "src/http/page.rs",
            "use super::serve;\npub fn show() {}\n",
            "src/http.rs, src/http/page.rs use each other in a circle",
        ),
        ("src/ticket.rs", "mod id;\npub use id::Id;\npub struct T(Id);\n", ""),
        (
            "src/lib.rs",
            "pub mod http;\npub mod store;\npub mod ticket;\npub mod extra;\n",
            "src/extra.rs is declared as a module and does not exist",
        ),
    ] {
        let found = faults(&made_up(&[(file, text)]));
        let is_found =
            if expected.is_empty() { found.is_empty() } else { found.iter().any(|fault| fault.contains(expected)) };
        assert!(is_found, "{file}: {text}\n{found:#?}");
    }
    let circle = [
        ("src/ticket.rs", "mod id;\npub use id::Id;\npub struct T(Id);\n"),
        ("src/ticket/id.rs", "pub struct Id(Box<super::T>);\n"),
    ];
    let found = faults(&made_up(&circle));
    assert!(found[0].contains("src/ticket.rs:2 uses `Id` of src/ticket/id.rs"), "{found:#?}");
    assert!(found[0].contains("src/ticket/id.rs:1 uses `T` of src/ticket.rs"), "{found:#?}");
}

#[test]
fn a_module_without_a_row_and_a_row_without_a_module_are_found() {
    let files = made_up(&[]);
    let table = files[TABLE].replace("| | `ticket` | |\n", "| | `receipt` | |\n| | `store` | |\n");
    let found = faults(&made_up(&[(TABLE, &table)])).join("\n");
    for fault in ["no row for `ticket`", "row for `receipt`, which is no module", "two rows for `store`"] {
        assert!(found.contains(fault), "{found}");
    }
}

#[test]
fn a_clock_in_a_pure_module_is_found_wherever_it_is_named() {
    for text in [
        "fn f() { std::time::SystemTime::now(); }",
        "use tokio::time::sleep;",
        "fn f() { log!(rand::random()) }",
        "fn f() { std::fs::read(\"x\"); }",
    ] {
        assert_eq!(impure(&made_up(&[("src/ticket/id.rs", text)]), "ticket").len(), 1, "{text}");
    }
    let tests = "#[cfg(test)]\nmod tests { fn f() { std::time::Instant::now(); } }\n/// Instant.\nstruct S;";
    assert_eq!(impure(&made_up(&[("src/ticket/id.rs", tests)]), "ticket"), [""; 0]);
}

#[test]
fn a_package_that_knows_the_gateway_is_found() {
    let files = made_up(&[]);
    assert_eq!(knows_the_gateway(&Files::new(), "[dependencies]\nbytes = \"1\"\n"), [""; 0]);
    assert_eq!(knows_the_gateway(&Files::new(), "[dependencies]\nx = { path = \"../x\" }\n").len(), 1);
    assert_eq!(knows_the_gateway(&files, "").len(), 1, "src/main.rs names it");
}

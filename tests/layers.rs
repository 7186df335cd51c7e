//! Enforces the order of the layers (`src/layers.md`): every module has a row and uses only modules below its own row, and no
//! files form a cycle. The packages of the workspace do not depend on the gateway.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Crate, Dependency, Files};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TABLE: &str = "src/layers.md";

/// Returns the modules and packages of the table, from top to bottom.
fn rows(table: &str) -> Vec<String> {
    let cells = table.lines().filter_map(|line| line.strip_prefix('|')?.split('|').nth(1));
    cells.filter_map(|cell| cell.split('`').nth(1)).map(str::to_owned).collect()
}

/// Returns the faults of a tree, each with its fix.
fn faults(files: &Files) -> Vec<String> {
    let rows = rows(&files[TABLE]);
    let gateway = Crate::read(files, "scangate");
    let mut faults = gateway.faults.clone();
    let modules = gateway.top_modules();
    for module in &modules {
        if !rows.contains(module) {
            faults.push(format!("{TABLE} has no row for `{module}`; add it below all modules that use it"));
        }
    }
    for (at, row) in rows.iter().enumerate() {
        let is_package = row.contains('/');
        if !is_package && !modules.contains(row) {
            faults.push(format!("{TABLE} has a row for `{row}`, which is not a module; remove the row"));
        }
        if rows[..at].contains(row) {
            faults.push(format!("{TABLE} has two rows for `{row}`; remove one"));
        }
    }
    faults.extend(upward(&gateway, &rows));
    faults.extend(cycles(&gateway.dependencies));
    faults
}

/// Returns the dependencies on a module that is above the one that uses it.
fn upward(gateway: &Crate, rows: &[String]) -> Vec<String> {
    let row = |file: &str| {
        let module = gateway.top_module_of(file)?;
        Some((module.to_owned(), rows.iter().position(|row| row == module)?))
    };
    let mut faults = Vec::new();
    for Dependency { from, line, to, name } in &gateway.dependencies {
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

/// Returns the cycles of files, each with its dependencies.
fn cycles(dependencies: &BTreeSet<Dependency>) -> Vec<String> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for dependency in dependencies {
        uses.entry(&dependency.from).or_default().insert(&dependency.to);
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
        let cycle: BTreeSet<&str> =
            reach.iter().filter(|other| all.get(*other).is_some_and(|back| back.contains(file))).copied().collect();
        if cycle.is_empty() || !seen.insert(cycle.clone()) {
            continue;
        }
        let inside = dependencies.iter().filter(|used| cycle.contains(&*used.from) && cycle.contains(&*used.to));
        let inside: Vec<_> = inside
            .map(|Dependency { from, line, to, name }| format!("  {from}:{line} uses `{name}` of {to}"))
            .collect();
        let names: Vec<_> = cycle.into_iter().collect();
        faults.push(format!(
            "{} form a cycle; move the shared definitions into a separate file:\n{}",
            names.join(", "),
            inside.join("\n")
        ));
    }
    faults
}

/// Returns each place where a pure module names a clock, the random generator or I/O.
fn impure(files: &Files, module: &str) -> Vec<String> {
    const BANNED: [&str; 10] =
        ["SystemTime", "Instant", "tokio", "rand", "getrandom", "fs", "env", "process", "TcpStream", "UdpSocket"];
    let is_of_module = |name: &str| name == format!("src/{module}.rs") || name.starts_with(&format!("src/{module}/"));
    let mut faults = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| is_of_module(name) && !name.ends_with("/tests.rs")) {
        for (word, line) in source::words(text) {
            if BANNED.contains(&word.as_str()) {
                faults.push(format!("{name}:{line} names `{word}`; take the time or the random value as an argument"));
            }
        }
    }
    faults
}

/// Returns each place outside `random` that names a random generator, which clippy bans only by its functions.
fn generators(files: &Files) -> Vec<String> {
    const BANNED: [&str; 5] = ["getrandom", "SmallRng", "StdRng", "SysRng", "ThreadRng"];
    let mut faults = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".rs") && *name != "src/random.rs") {
        for (word, line) in source::words(text) {
            if BANNED.contains(&word.as_str()) {
                faults.push(format!(
                    "{name}:{line} names `{word}`; call `random`, or take the random value as an argument"
                ));
            }
        }
    }
    faults
}

/// Returns the dependencies of a package on the gateway: in its sources, and in its manifest (`Cargo.toml`).
fn gateway_uses(files: &Files, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
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
fn every_module_uses_only_lower_ones_and_no_files_form_a_cycle() {
    let faults = faults(&sources());
    assert!(faults.is_empty(), "{} faults:\n\n{}\n", faults.len(), faults.join("\n\n"));
}

#[test]
fn every_source_file_belongs_to_a_module() {
    let files = sources();
    let gateway = Crate::read(&files, "scangate");
    let read: BTreeSet<&str> = gateway.files();
    // Modules of tests are declared under `#[cfg(test)]`.
    let others = files.keys().filter(|name| name.ends_with(".rs") && !read.contains(name.as_str()));
    let others: Vec<_> = others.filter(|name| !name.ends_with("/tests.rs") && !name.contains("/tests/")).collect();
    assert!(others.is_empty(), "no module declares {others:?}");
    let count = gateway.dependencies.len();
    assert!(count > 300, "the test finds too few dependencies: {count}");
}

#[test]
fn the_ticket_has_no_clock_no_randomness_and_no_io() {
    let faults = impure(&sources(), "ticket");
    assert!(faults.is_empty(), "{faults:#?}");
    // Clippy enforces the same: it bans the clock's types, and the generator's types and functions.
    let lints = include_str!("../clippy.toml");
    for path in [
        "std::time::SystemTime",
        "std::time::Instant",
        "tokio::time::Instant",
        "getrandom::fill",
        "getrandom::u32",
        "getrandom::u64",
        "rand::rng",
        "rand::random",
        "rand::fill",
        "rand::rngs::ThreadRng",
    ] {
        assert!(lints.contains(&format!("path = \"{path}\"")), "clippy.toml does not ban {path}");
    }
    assert!(sources()["src/ticket.rs"].contains("#![deny(clippy::disallowed_types"));
}

#[test]
fn only_random_uses_a_generator() {
    assert_eq!(generators(&sources()), [""; 0]);
    let other =
        example(&[("src/store.rs", "fn f() { rand::rngs::SysRng; }"), ("src/random.rs", "use getrandom::fill;")]);
    let found = generators(&other);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("src/store.rs:1 names `SysRng`"), "{found:#?}");
}

#[test]
fn the_packages_do_not_depend_on_the_gateway_and_have_a_row() {
    let rows = rows(&sources()[TABLE]);
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(rows.iter().map(String::as_str).filter(|row| row.contains('/')).collect::<BTreeSet<_>>(), members);
    for member in members {
        let mut files = Files::new();
        read(&format!("{member}/src"), &[".rs"], &mut files);
        let manifest = std::fs::read_to_string(Path::new(ROOT).join(member).join("Cargo.toml")).unwrap();
        let faults = gateway_uses(&files, &manifest);
        assert!(faults.is_empty(), "{member}: {faults:#?}");
    }
}

/// Returns a small tree: `main` above `http` above `store` above `ticket`, with changed or additional files.
fn example(changes: &[(&str, &str)]) -> Files {
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
fn a_correct_tree_has_no_faults() {
    assert_eq!(faults(&example(&[])), [""; 0]);
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
        ("src/http/page.rs", "use super::serve;\npub fn show() {}\n", "src/http.rs, src/http/page.rs form a cycle"),
        ("src/ticket.rs", "mod id;\npub use id::Id;\npub struct T(Id);\n", ""),
        (
            "src/lib.rs",
            "pub mod http;\npub mod store;\npub mod ticket;\npub mod extra;\n",
            "src/extra.rs is declared as a module and does not exist",
        ),
        (
            "src/ticket/id.rs",
            "use one::a as two;\nuse two::b as one;\npub struct Id;\nfn f() { one::c() }\n",
            "src/ticket/id.rs:4: `one::c` leads through more than 8 imports",
        ),
    ] {
        let found = faults(&example(&[(file, text)]));
        let is_found =
            if expected.is_empty() { found.is_empty() } else { found.iter().any(|fault| fault.contains(expected)) };
        assert!(is_found, "{file}: {text}\n{found:#?}");
    }
    let cycle = [
        ("src/ticket.rs", "mod id;\npub use id::Id;\npub struct T(Id);\n"),
        ("src/ticket/id.rs", "pub struct Id(Box<super::T>);\n"),
    ];
    let found = faults(&example(&cycle));
    assert!(found[0].contains("src/ticket.rs:2 uses `Id` of src/ticket/id.rs"), "{found:#?}");
    assert!(found[0].contains("src/ticket/id.rs:1 uses `T` of src/ticket.rs"), "{found:#?}");
}

#[test]
fn a_module_without_a_row_and_a_row_without_a_module_are_found() {
    let files = example(&[]);
    let table = files[TABLE].replace("| | `ticket` | |\n", "| | `receipt` | |\n| | `store` | |\n");
    let found = faults(&example(&[(TABLE, &table)])).join("\n");
    for fault in ["no row for `ticket`", "row for `receipt`, which is not a module", "two rows for `store`"] {
        assert!(found.contains(fault), "{found}");
    }
}

#[test]
fn a_clock_in_a_pure_module_is_found() {
    for text in [
        "fn f() { std::time::SystemTime::now(); }",
        "use tokio::time::sleep;",
        "fn f() { log!(rand::random()) }",
        "fn f() { std::fs::read(\"x\"); }",
    ] {
        assert_eq!(impure(&example(&[("src/ticket/id.rs", text)]), "ticket").len(), 1, "{text}");
    }
    let tests = "#[cfg(test)]\nmod tests { fn f() { std::time::Instant::now(); } }\n/// Instant.\nstruct S;";
    assert_eq!(impure(&example(&[("src/ticket/id.rs", tests)]), "ticket"), [""; 0]);
}

#[test]
fn a_package_that_depends_on_the_gateway_is_found() {
    let files = example(&[]);
    assert_eq!(gateway_uses(&Files::new(), "[dependencies]\nbytes = \"1\"\n"), [""; 0]);
    assert_eq!(gateway_uses(&Files::new(), "[dependencies]\nx = { path = \"../x\" }\n").len(), 1);
    assert_eq!(gateway_uses(&files, "").len(), 1, "src/main.rs names it");
}

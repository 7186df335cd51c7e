//! `docs/install.md`: its commands, run as they stand there. Those that take root are run by `tests/unit`, the image's by
//! `tests/image`.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{run, scangate, succeeded};
use crate::support::free_port;

const PAGE: &str = include_str!("../../docs/install.md");

/// The first block of commands in a section.
fn commands(section: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("\n## {section}\n")).unwrap();
    rest.split("\n```bash\n").nth(1).unwrap().split("\n```\n").next().unwrap().to_owned()
}

fn bash(script: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(env!("CARGO_MANIFEST_DIR"));
    bash
}

#[test]
fn completions_and_manual_are_where_shells_and_man_look() {
    let home = tempfile::tempdir().unwrap();
    let of_home = |path: &str| home.path().join(path);
    std::fs::create_dir_all(of_home("bin")).unwrap();
    std::fs::create_dir_all(of_home("zsh")).unwrap();
    symlink(env!("CARGO_BIN_EXE_scangate"), of_home("bin/scangate")).unwrap();
    let path = format!("{}:{}", of_home("bin").display(), std::env::var("PATH").unwrap());
    let script = commands("Completions and the manual");
    let script = script.replace("/usr/local/share/zsh/site-functions", of_home("zsh").to_str().unwrap());
    succeeded(bash(&script).env("HOME", home.path()).env("PATH", path));
    for (shell, file) in [
        ("bash", ".local/share/bash-completion/completions/scangate"),
        ("fish", ".config/fish/completions/scangate.fish"),
        ("zsh", "zsh/_scangate"),
    ] {
        assert!(std::fs::read_to_string(of_home(file)).unwrap() == scangate(&["completions", shell]), "{shell}");
    }
    assert!(of_home(".local/share/man/man1/scangate.1").exists());
}

#[test]
fn the_edges_template_is_filled_in_to_what_nginx_takes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::create_dir(path("conf.d")).unwrap();
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx/nginx.conf"), path("nginx.conf")).unwrap();
    let pair = format!("-keyout {} -out {}", path("key.pem"), path("cert.pem"));
    let made = run(&mut bash(&format!("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x {pair}")));
    assert!(made.status.success());

    let mut script = commands("nginx").replace("\nnginx -t", "");
    for (theirs, ours) in [
        ("=443 ", format!("={} ", free_port())),
        ("=80 ", format!("={} ", free_port())),
        ("/etc/ssl/login.pem", path("cert.pem")),
        ("/etc/ssl/private/login.key", path("key.pem")),
        ("/var/log/nginx/scangate.log", path("access.log")),
        ("/etc/nginx/conf.d", path("conf.d")),
    ] {
        assert!(script.contains(theirs), "{theirs}");
        script = script.replace(theirs, &ours);
    }
    succeeded(&mut bash(&script));
    let site = std::fs::read_to_string(path("conf.d/scangate.conf")).unwrap();
    assert!(site.contains("server_name login.example.com;"), "{site}");
    let test = format!("PATH=$PATH:/usr/sbin nginx -t -p {0} -c {0}/nginx.conf -g 'pid {0}/pid;'", path(""));
    let output = run(&mut bash(&test));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

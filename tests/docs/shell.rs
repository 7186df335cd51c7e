//! A shell on a machine of its own, for what pages say to type: a network and processes that nobody else has, so that
//! the ports which the pages name are free, and everything that was started ends with it.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::support::process::guard;
use crate::support::until;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How long a command may take that does not wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Commands that go on until they are stopped, by how they begin, each with what it says once it is ready.
const SERVERS: [(&str, &str); 8] = [
    ("scangate --", GATEWAY),
    ("scangate serve", GATEWAY),
    ("cargo run", GATEWAY),
    ("examples/company/run", GATEWAY),
    ("redis-server", "Ready to accept connections"),
    ("nginx/run", " -> "),
    ("python3 -m http.server", "Serving HTTP"),
    ("flask", "Running on"),
];

const GATEWAY: &str = "\"serving\"";

/// What is in the folder where commands are run, besides what they make: what an empty clone has, and the built
/// programs.
const CLONE: [&str; 5] = ["nginx", "examples", "bench", "docs", "static"];

pub struct Shell {
    process: Child,
    input: Option<ChildStdin>,
    place: tempfile::TempDir,
    commands: usize,
}

/// A command that goes on, and how many lines of what it says were looked at.
pub struct Running {
    number: usize,
    pub seen: usize,
}

impl Shell {
    pub fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("scangate");
        for profile in ["release", "dist"] {
            std::fs::create_dir_all(home.join("target").join(profile)).unwrap();
        }
        std::fs::create_dir_all(place.path().join("bin")).unwrap();
        std::fs::create_dir_all(place.path().join("said")).unwrap();
        let copied = Command::new("cp").arg("-r").args(CLONE).arg(&home).current_dir(ROOT).status().unwrap();
        assert!(copied.success(), "the clone could not be made");
        let gateway = Path::new(env!("CARGO_BIN_EXE_scangate"));
        for (name, program) in [("scangate", gateway), ("scangate-loadgen", crate::support::loadgen())] {
            for profile in ["release", "dist"] {
                symlink(program, home.join("target").join(profile).join(name)).unwrap();
            }
            symlink(program, place.path().join("bin").join(name)).unwrap();
        }
        // The example of a company would install JupyterHub, which takes a network.
        std::fs::create_dir_all(home.join("target/company")).unwrap();
        symlink(Path::new(ROOT).join("target/python-apps"), home.join("target/company/venv")).unwrap();
        // What Cargo would build is what is being tested, and is there already. Another python3 may come first on the
        // path, without Debian's modules.
        script(&place.path().join("bin/cargo"), CARGO);
        script(&place.path().join("bin/python3"), "#!/bin/sh\nexec /usr/bin/python3 \"$@\"\n");

        let is_root = rustix::process::getuid().is_root();
        let mut command = Command::new(if is_root { "unshare" } else { "sudo" });
        if !is_root {
            command.args(["-n", "unshare"]);
        }
        command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        // Here and not for the command as a whole, as sudo keeps none of it.
        let path = format!("PATH={}/bin:{}:/usr/sbin:/sbin", place.path().display(), std::env::var("PATH").unwrap());
        let home_is = format!("HOME={}", home.display());
        let temp = format!("TMPDIR={}", place.path().display());
        command.args(["env", "-i", &path, &home_is, &temp, "PYTHONUNBUFFERED=1", "bash", "--norc"]).current_dir(&home);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        guard('+', process.id());
        let input = process.stdin.take();
        let mut shell = Self { process, input, place, commands: 0 };
        let (said, code) = shell.run("ip link set lo up");
        assert_eq!(code, 0, "a network of its own takes root, and in a container CAP_SYS_ADMIN: {said}");
        shell
    }

    /// Runs a command to its end. Returns what it said, on both outputs, and its exit code.
    pub fn run(&mut self, command: &str) -> (String, i32) {
        let number = self.send(command, "");
        let code = self.file(number, ".code");
        let code = until(PATIENCE, command, || std::fs::read_to_string(&code).ok()?.trim().parse().ok());
        (self.said(number), code)
    }

    /// Starts a command and does not wait for its end.
    pub fn begin(&mut self, command: &str) -> Running {
        Running { number: self.send(command, "&"), seen: 0 }
    }

    /// Starts a server and waits until it serves. A gateway takes the place of the one before.
    pub fn serve(&mut self, command: &str) {
        let (_, ready) = SERVERS.iter().find(|(start, _)| command.starts_with(start)).unwrap();
        if *ready == GATEWAY {
            // None but this machine's are found.
            self.run("old=$(pidof scangate) && kill $old && while kill -0 $old; do sleep 0.05; done");
        }
        let before = self.listeners();
        let running = self.begin(command);
        until(PATIENCE, command, || self.said(running.number).contains(ready).then_some(()));
        until(PATIENCE, command, || (self.listeners() > before).then_some(()));
    }

    /// Returns all that a command has said by now.
    pub fn heard(&self, running: &Running) -> String {
        self.said(running.number)
    }

    /// Writes a file into the folder where commands are run.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Returns where a file of that folder is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("scangate").join(name)
    }

    /// Returns whether a command goes on until it is stopped.
    pub fn is_server(command: &str) -> bool {
        SERVERS.iter().any(|(start, _)| command.starts_with(start))
    }

    fn listeners(&mut self) -> usize {
        let (said, _) = self.run("grep -ch ' 0A ' /proc/net/tcp /proc/net/tcp6");
        said.lines().filter_map(|line| line.parse::<usize>().ok()).sum()
    }

    fn send(&mut self, command: &str, end: &str) -> usize {
        self.commands += 1;
        let number = self.commands;
        let (said, code) = (self.file(number, ""), self.file(number, ".code"));
        let (said, code) = (said.display(), code.display());
        let code = if end.is_empty() { format!("; echo $? >{code}") } else { format!(" {end}") };
        let line = format!("{{ {command}\n}} >{said} 2>&1 </dev/null{code}\n");
        self.input.as_mut().unwrap().write_all(line.as_bytes()).expect("the shell has ended");
        number
    }

    fn file(&self, number: usize, suffix: &str) -> PathBuf {
        self.place.path().join("said").join(format!("{number}{suffix}"))
    }

    fn said(&self, number: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(self.file(number, "")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Shell {
    /// Its end is that of all processes of its machine, also of one that the shell waits for.
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
        guard('-', self.process.id());
    }
}

const CARGO: &str = r#"#!/bin/sh
case "$1" in
    build) exit 0 ;;
    run)
        while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
        [ $# -eq 0 ] || shift
        exec scangate "$@"
        ;;
esac
echo "cargo $*: nothing stands for this here" >&2
exit 1
"#;

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

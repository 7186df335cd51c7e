//! A child process that ends with its handle, and with the test process, even if that is killed.

use std::io::{Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

/// A running program and all that it has written to standard error.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    outputs: [OwnedFd; 2],
}

impl Process {
    /// Starts `command`; its standard output and error are kept.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"));
        let lines = Arc::default();
        guard('+', child.id());
        let outputs = [
            keep(child.stdout.take().unwrap(), Arc::clone(&lines)),
            keep(child.stderr.take().unwrap(), Arc::clone(&lines)),
        ];
        Self { child, lines, outputs }
    }

    /// Returns every line written before this call, those that were still in the pipe included.
    pub fn lines(&self) -> Vec<String> {
        loop {
            let lines = self.lines.lock().unwrap();
            // A reader takes bytes from its pipe only while it has the lock: with empty pipes, all lines are here.
            if !self.outputs.iter().any(|output| {
                wait_for(output, Some(&Timespec::default())).is_ok_and(|seen| seen.contains(PollFlags::IN))
            }) {
                return lines.clone();
            }
            drop(lines);
            std::thread::yield_now();
        }
    }

    /// Returns the process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        // The shell's own `kill`: a minimal system has no other.
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status().unwrap();
        assert!(status.success(), "kill -{name} failed");
    }

    /// Returns the exit code if it has ended.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Ends it at once, and its descendants: nginx that is killed leaves its workers behind, a driver its browser.
    pub fn kill(&mut self) {
        let descendants = self.exit_code().map_or_else(|| descendants(self.id()), |_| Vec::new());
        let _ = self.child.kill();
        for descendant in descendants {
            let _ = kill_process(descendant, Signal::KILL);
        }
        let _ = self.child.wait();
        guard('-', self.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the children of a running process, their children, and so on.
fn descendants(pid: u32) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().map_while(Result::ok);
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let children: Vec<u32> = lists.flat_map(|list| numbers(&list)).collect();
    let below = children.iter().flat_map(|child| descendants(*child));
    let own = children.iter().filter_map(|child| Pid::from_raw(child.cast_signed()));
    own.chain(below).collect()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Reads `+ PID` and `- PID` until its input ends, which is when the test process has ended. Then it kills the processes
/// that are left, each with its descendants: a driver that is killed leaves its browser behind.
const GUARD: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r change pid; do
    case $change in
        +) pids="$pids$pid " ;;
        -) case $pids in *" $pid "*) pids="${pids%%" $pid "*} ${pids#*" $pid "}" ;; esac ;;
    esac
done
end() {
    set -- "$1" $(cat /proc/"$1"/task/*/children 2>/dev/null)
    kill -KILL "$1" 2>/dev/null
    shift
    for child; do end "$child"; done
}
for pid in $pids; do end "$pid"; done
"#;

/// Tells the guard that a process was started (`+`) or has ended (`-`). The first call starts the guard.
pub fn guard(change: char, pid: u32) {
    static INPUT: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let input = INPUT.get_or_init(|| {
        // The kernel sends this signal when cargo ends. The setting is one of a thread, so this thread lives on.
        std::thread::spawn(|| {
            let _ = set_parent_process_death_signal(Some(Signal::TERM));
            loop {
                std::thread::park();
            }
        });
        let mut shell = Command::new("sh");
        // In a process group of its own, Ctrl-C in a terminal does not reach it.
        shell.args(["-c", GUARD]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Mutex::new(shell.spawn().unwrap().stdin.take().unwrap())
    });
    let _ = writeln!(input.lock().unwrap(), "{change} {pid}");
}

/// Waits, for `limit` at most, until there are bytes to read or the output has ended.
fn wait_for(output: impl AsFd, limit: Option<&Timespec>) -> rustix::io::Result<PollFlags> {
    let mut polled = [PollFd::new(&output, PollFlags::IN)];
    poll(&mut polled, limit)?;
    Ok(polled[0].revents())
}

/// Has a thread collect the output's lines; returns a second handle to it.
fn keep<R: Read + AsFd + Send + 'static>(mut output: R, lines: Arc<Mutex<Vec<String>>>) -> OwnedFd {
    let handle = output.as_fd().try_clone_to_owned().unwrap();
    std::thread::spawn(move || {
        let (mut buffer, mut unfinished) = (vec![0; 1 << 16], Vec::new());
        loop {
            // Never reads, and so never blocks, with the lock unless there is something to read or the end.
            if wait_for(&output, None).is_err() {
                continue;
            }
            let mut lines = lines.lock().unwrap();
            let length = match output.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(length) if length > 0 => length,
                _ => break,
            };
            unfinished.extend_from_slice(&buffer[..length]);
            while let Some(end) = unfinished.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unfinished.drain(..=end).collect();
                lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
            }
        }
        if !unfinished.is_empty() {
            lines.lock().unwrap().push(String::from_utf8_lossy(&unfinished).into_owned());
        }
    });
    handle
}

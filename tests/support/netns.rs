//! A machine of its own on a wire of its own, which can be cut: a network namespace and a veth pair.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace, joined to this one by a cable. Dropping it removes both.
pub struct Machine {
    name: String,
    cable: String,
    subnet: String,
}

impl Machine {
    /// Makes one. Addresses are of 198.18.0.0/15, which is for tests of networks (RFC 2544).
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Eight machines of one process, and those of processes that run at the same time, are kept apart.
        assert!(count < 8, "there are addresses for eight machines");
        let (one, two) = (std::process::id() / 120 % 60 * 4 + count % 4, std::process::id() % 120 * 2);
        let name = format!("sg{}n{count}", std::process::id());
        let machine = Self { cable: format!("{name}v"), name, subnet: format!("198.{}.{one}.{two}", 18 + count / 4) };
        let Self { name, cable, .. } = &machine;
        let (here, there) = (machine.here(), machine.there());
        ip(&["netns", "add", name]);
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["addr", "add", &here, "peer", &there, "dev", cable]);
        ip(&["link", "set", cable, "up"]);
        ip(&["-n", name, "addr", "add", &there, "peer", &here, "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        machine
    }

    /// This side's address.
    pub fn here(&self) -> String {
        self.subnet.clone()
    }

    /// The machine's address.
    fn there(&self) -> String {
        let (rest, last) = self.subnet.rsplit_once('.').unwrap();
        format!("{rest}.{}", last.parse::<u8>().unwrap() + 1)
    }

    /// Returns a command that runs `program` on the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = as_root("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Returns the words that, before a command, have it run on the machine.
    pub fn runner(&self) -> Vec<String> {
        let command = self.command("");
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_str().unwrap().to_owned()).filter(|word| !word.is_empty()).collect()
    }

    /// Pulls the plug at the machine: this side sees that its cable has no carrier.
    pub fn unplug(&self) {
        ip(&["-n", &self.name, "link", "set", "eth0", "down"]);
    }

    /// Plugs it in again.
    pub fn plug(&self) {
        ip(&["-n", &self.name, "link", "set", "eth0", "up"]);
    }

    /// Swallows whatever is said to the machine, which gets no word of that.
    pub fn deafen(&self) {
        ip(&["route", "replace", "blackhole", &self.there()]);
    }

    /// Has it hear again.
    pub fn undeafen(&self) {
        ip(&["route", "replace", &self.there(), "dev", &self.cable, "src", &self.here()]);
    }

    /// Swallows whatever the machine says, as when it is lost somewhere beyond the next router.
    pub fn lose(&self) {
        ip(&["-n", &self.name, "route", "replace", "blackhole", &self.here()]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It goes whatever happened before; the cable goes with it.
        let _ = as_root("ip").args(["route", "del", "blackhole", &self.there()]).output();
        let _ = as_root("ip").args(["link", "del", &self.cable]).output();
        let _ = as_root("ip").args(["netns", "del", &self.name]).output();
    }
}

fn ip(args: &[&str]) {
    let output = as_root("ip").args(args).output().unwrap_or_else(|error| {
        panic!("ip could not be started ({error}); apt-get install iproute2, or run tests/run, which does")
    });
    assert!(
        output.status.success(),
        "ip {args:?}: {} (this test needs a network namespace: run it as root, or with sudo that asks no password, and \
         in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN)",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn as_root(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if is_root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

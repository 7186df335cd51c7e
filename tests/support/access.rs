//! How a Redis of the tests is guarded, and how its callers get past that: a user, a password, TLS.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::crypto;

/// What a server asks of its callers. Nothing, if not said otherwise.
#[derive(Clone, Default)]
pub struct Access {
    user: Option<String>,
    password: Option<String>,
    authority: Option<Arc<Authority>>,
}

impl Access {
    /// Asks the default user for a password.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Lets nobody in but `user`.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.user = Some(user.to_owned());
        self.password(password)
    }

    /// Speaks nothing but TLS, with a certificate of an authority of its own.
    pub fn tls(mut self) -> Self {
        self.authority = Some(Arc::new(Authority::make()));
        self
    }

    /// The same authority, but for this `password` only.
    pub(super) fn with_only(&self, password: Option<&str>) -> Self {
        Self { user: None, password: password.map(str::to_owned), authority: self.authority.clone() }
    }

    /// The certificate that a caller has to trust, if this is TLS.
    pub fn authority_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(|authority| authority.file("ca.pem"))
    }

    /// What stands before the first host of a URL: nothing, `:password@` or `user:password@`.
    pub fn user_info(&self) -> String {
        let Some(password) = &self.password else { return String::new() };
        format!("{}:{password}@", self.user.as_deref().unwrap_or_default())
    }

    /// The scheme that callers use, for instance `redis`, or `rediss` with TLS.
    pub fn scheme(&self, kind: &str) -> String {
        let scheme = if self.authority.is_some() { "rediss" } else { "redis" };
        format!("{scheme}{kind}")
    }

    pub fn url(&self, port: u16) -> String {
        format!("{}://{}127.0.0.1:{port}/", self.scheme(""), self.user_info())
    }

    pub fn client(&self, port: u16) -> redis::Client {
        let Some(authority) = &self.authority else { return redis::Client::open(self.url(port)).unwrap() };
        crypto();
        let root_cert = Some(std::fs::read(authority.file("ca.pem")).unwrap());
        redis::Client::build_with_tls(self.url(port), redis::TlsCertificates { client_tls: None, root_cert }).unwrap()
    }

    /// Returns the words by which one server has another let it in, as `MIGRATE` takes them.
    pub(super) fn introduction(&self) -> Vec<String> {
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => vec!["AUTH2".to_owned(), user.clone(), password.clone()],
            (None, Some(password)) => vec!["AUTH".to_owned(), password.clone()],
            (_, None) => Vec::new(),
        }
    }

    /// Returns how a Sentinel is told of it, for the nodes that it calls `name`.
    pub(super) fn sentinel_configuration(&self, name: &str) -> String {
        let mut lines = String::new();
        if let Some(user) = &self.user {
            writeln!(lines, "sentinel auth-user {name} {user}").unwrap();
        }
        if let Some(password) = &self.password {
            writeln!(lines, "sentinel auth-pass {name} {password}").unwrap();
        }
        lines
    }

    /// Returns the configuration of a server that is guarded like this, and that calls others which are.
    pub(super) fn configuration(&self, port: u16) -> String {
        let mut lines = String::new();
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                writeln!(lines, "user default off\nuser {user} on >{password} ~* &* +@all").unwrap();
                writeln!(lines, "masteruser {user}\nmasterauth {password}").unwrap();
            }
            (None, Some(password)) => writeln!(lines, "requirepass {password}\nmasterauth {password}").unwrap(),
            (_, None) => {}
        }
        match &self.authority {
            None => writeln!(lines, "port {port}").unwrap(),
            Some(authority) => {
                writeln!(lines, "port 0\ntls-port {port}\ntls-auth-clients no").unwrap();
                writeln!(lines, "tls-replication yes\ntls-cluster yes").unwrap();
                for (setting, name) in [("ca-cert", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
                    writeln!(lines, "tls-{setting}-file {}", authority.file(name).display()).unwrap();
                }
            }
        }
        lines
    }
}

/// An authority, and the certificate of 127.0.0.1 that it has signed, in a folder that goes with it.
struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let make = |words: &str| openssl(directory.path(), words);
        make(
            "-subj /CN=authority -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign",
        );
        // Servers call each other with it, too.
        make(
            "-subj /CN=localhost -keyout key.pem -out cert.pem -CA ca.pem -CAkey ca.key \
             -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth \
             -addext subjectAltName=DNS:localhost,IP:127.0.0.1",
        );
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Makes a certificate in `directory`.
fn openssl(directory: &Path, words: &str) {
    let mut command = Command::new("openssl");
    command.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 2".split(' '));
    let output = command.args(words.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

//! Secrets in settings: hidden from logs, and set either directly or by a file.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

use crate::random;

/// A secret text. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Generates a random secret of 256 bits: 43 characters of base64url, which no encoding of a form or a header changes.
    #[must_use]
    pub fn generate() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::bytes::<32>()))
    }

    /// Writes the secret and a newline to a new file that only the owner can read.
    ///
    /// # Errors
    /// The system's error; it is also an error if the file exists.
    pub fn write_new(&self, path: &Path) -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", self.0)?;
        file.sync_all()
    }

    /// Returns the text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Reads a string. An error for anything else does not quote it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a secret must be a string, in quotes")),
        }
    }
}

/// Returns the secret of a pair of settings: `direct` is the secret, or `file` is a file that contains it; a trailing newline is
/// removed. `names` are the names of the two settings, for messages.
///
/// # Errors
/// If both are set, or the file cannot be read.
pub fn direct_or_file(
    names: (&str, &str),
    direct: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<String>, String> {
    match (direct, file) {
        (Some(_), Some(_)) => Err(format!("{} and {} are both set; choose one", names.0, names.1)),
        (Some(secret), None) => Ok(Some(secret.to_owned())),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(format!("{} {}: {error}", names.1, path.display())),
        },
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_given_directly_or_in_a_file_but_not_in_both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "hunter2\r\n").unwrap();
        let given = |direct, file| direct_or_file(("--s", "--s-file"), direct, file);
        assert_eq!(given(None, Some(path.as_path())), Ok(Some("hunter2".to_owned())));
        assert_eq!(given(Some("x"), None), Ok(Some("x".to_owned())));
        assert_eq!(given(None, None), Ok(None));
        assert_eq!(given(Some("x"), Some(path.as_path())), Err("--s and --s-file are both set; choose one".to_owned()));
        assert!(given(None, Some(Path::new("/nowhere/s"))).unwrap_err().starts_with("--s-file /nowhere/s: "));
    }

    #[test]
    fn a_generated_secret_is_written_once_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grafana");
        let secret = Secret::generate();
        assert!(secret.reveal().len() == 43 && secret != Secret::generate());
        secret.write_new(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(direct_or_file(("a", "b"), None, Some(&path)), Ok(Some(secret.reveal().to_owned())));
        assert!(Secret::generate().write_new(&path).is_err(), "an app may use the one that is there");
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }
}

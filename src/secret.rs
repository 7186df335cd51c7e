//! Secrets in settings: hidden from logs, and set either directly or by a file.

use std::path::Path;

use serde::{Deserialize, Deserializer};

/// A secret text. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
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
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }
}

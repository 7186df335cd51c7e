//! The signing keys in use: reads a directory of PEM files, creates one in it, chooses the key that signs, publishes the public
//! halves. `key` is about a single key.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use jsonwebtoken::jwk::JwkSet;

use super::key::{GenerateError, parse};
pub use super::key::{KeyAlgorithm, SigningKey, generate};

/// The maximum number of keys in a directory. More are a mistake, because every verifier gets all of them.
const MAX_KEYS: usize = 16;
/// The largest PEM file that the gateway reads; an RSA key of 8,192 bits takes 6.5 KB.
const MAX_PEM_BYTES: u64 = 16 * 1024;
/// The reason why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The directory or one of its files cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A `.pem` file has no private key that can sign.
    #[error(
        "{0}: not a PKCS#8 private key for ES256 (P-256), EdDSA (Ed25519) or RS256 (2048 bits or more); create one with `scangate keys new`"
    )]
    Unusable(PathBuf),
    /// The directory has no `.pem` file, or does not exist.
    #[error("{0} has no .pem file; create a key with `scangate keys new --dir {0}`")]
    Empty(PathBuf),
    /// The directory has too many keys.
    #[error("{0} has more than {MAX_KEYS} keys; remove the oldest")]
    TooMany(PathBuf),
    /// The directory has no key of an algorithm that clients use.
    #[error(
        "signing_alg {algorithm} has no key in {directory}; run `scangate keys new --dir {directory} --algorithm {}` and give \
         all replicas the same directory",
        .algorithm.to_string().to_lowercase()
    )]
    Missing {
        /// The algorithm.
        algorithm: KeyAlgorithm,
        /// The directory.
        directory: PathBuf,
    },
    /// The key of an algorithm that clients use cannot be created in the directory.
    #[error(
        "signing_alg {algorithm} has no key in {directory}, and none can be created there: {cause}; run `scangate keys new --dir \
         {directory} --algorithm {}` as a user who may write there",
        .algorithm.to_string().to_lowercase()
    )]
    NotCreated {
        /// The algorithm.
        algorithm: KeyAlgorithm,
        /// The directory.
        directory: PathBuf,
        /// Why.
        cause: Box<KeyError>,
    },
    /// There is no directory, and gateways that share a store would each create their own key for a client.
    #[error(
        "signing_alg {algorithm} needs a key that all gateways on the same Redis have, and it must last: run `scangate keys new \
         --dir DIR --algorithm {}`, and set --keys-dir DIR (SCANGATE_KEYS_DIR) for each of them",
        .0.to_string().to_lowercase(), algorithm = .0
    )]
    NoDirectory(KeyAlgorithm),
    /// A key could not be created.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// The keys in use. All are published; of each algorithm, the newest signs.
pub struct SigningKeys {
    /// Newest first.
    keys: Vec<SigningKey>,
    published: Arc<str>,
}

impl SigningKeys {
    /// Reads every `.pem` file of a directory. The most recently modified file is the newest key; of files with the
    /// same time, the last by name.
    ///
    /// # Errors
    /// [`KeyError`]. One unusable file is an error, so that a mistake shows before the key is needed.
    pub fn read(directory: &Path) -> Result<Self, KeyError> {
        let io = |error| KeyError::Io { path: directory.to_owned(), error };
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        let entries = std::fs::read_dir(directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => KeyError::Empty(directory.to_owned()),
            _ => io(error),
        })?;
        for entry in entries {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                // `metadata` follows links, because a mounted secret is a symbolic link.
                let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(io)?;
                files.push((modified, path));
            }
        }
        if files.is_empty() {
            return Err(KeyError::Empty(directory.to_owned()));
        }
        if files.len() > MAX_KEYS {
            return Err(KeyError::TooMany(directory.to_owned()));
        }
        files.sort_by(|a, b| b.cmp(a));
        let keys = files.iter().map(|(_, path)| read_file(path)).collect::<Result<_, _>>()?;
        Ok(Self::new(keys))
    }

    /// Creates a set with only the key in `pem`.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if it is unusable.
    pub fn single(pem: &str) -> Result<Self, KeyError> {
        Self::of_pems(&[pem.to_owned()])
    }

    /// Creates a set of the keys in `pems`, the newest first.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if one is unusable, or if there is none.
    pub fn of_pems(pems: &[String]) -> Result<Self, KeyError> {
        let keys: Vec<_> =
            pems.iter().map(|pem| parse(pem.as_bytes()).ok_or(GenerateError)).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(GenerateError.into()) } else { Ok(Self::new(keys)) }
    }

    fn new(keys: Vec<SigningKey>) -> Self {
        let set = JwkSet { keys: keys.iter().map(|key| key.jwk.clone()).collect() };
        let published = serde_json::to_string(&set).unwrap_or_default().into();
        Self { keys, published }
    }

    /// Returns the key that signs if no client names an algorithm: the newest one. Keys of the algorithms in `named`,
    /// which clients name, come after the others, and RS256 comes last: a key that was added for one client must not
    /// change the JWTs of all. If the first client names the algorithm of this key, their algorithm does change:
    /// nothing shows whether the key existed before, or was added for that client.
    ///
    /// # Panics
    /// Never: all constructors refuse an empty set.
    #[must_use]
    pub fn signing(&self, named: &[KeyAlgorithm]) -> &SigningKey {
        let find = |is_wanted: &dyn Fn(KeyAlgorithm) -> bool| self.keys.iter().find(|key| is_wanted(key.algorithm));
        let unnamed = find(&|algorithm| !named.contains(&algorithm));
        unnamed.or_else(|| find(&|algorithm| algorithm != KeyAlgorithm::Rs256)).unwrap_or(&self.keys[0])
    }

    /// Returns the newest key of an algorithm.
    #[must_use]
    pub fn signing_for(&self, algorithm: KeyAlgorithm) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.algorithm == algorithm)
    }

    /// Returns the set with one more key, as the newest.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if it is unusable.
    pub fn with_newer(&self, pem: &str) -> Result<Self, KeyError> {
        let newest = parse(pem.as_bytes()).ok_or(GenerateError)?;
        Ok(Self::new(std::iter::once(newest).chain(self.keys.iter().cloned()).collect()))
    }

    /// Returns the set, if it has a key of each algorithm.
    ///
    /// # Errors
    /// [`KeyError::Missing`], which names `directory`.
    pub fn requiring(self, algorithms: &[KeyAlgorithm], directory: &Path) -> Result<Self, KeyError> {
        match algorithms.iter().find(|algorithm| self.signing_for(**algorithm).is_none()) {
            None => Ok(self),
            Some(&algorithm) => Err(KeyError::Missing { algorithm, directory: directory.to_owned() }),
        }
    }

    /// Returns the key with `id`, whether it signs or is only published.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Derives a secret for `purpose` from the oldest key, so that adding a key changes no secret.
    ///
    /// # Panics
    /// Never: all constructors refuse an empty set.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        use aws_lc_rs::hmac;

        let oldest = &self.keys[self.keys.len() - 1];
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, oldest.secret.as_bytes()), purpose.as_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(tag.as_ref());
        secret
    }

    /// Returns the public halves as JSON.
    #[must_use]
    pub fn published(&self) -> Arc<str> {
        Arc::clone(&self.published)
    }

    /// Returns how many keys are published.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Creates a key in `directory`, and the directory if it is missing. Only the owner can read the file. Returns its path.
///
/// # Errors
/// [`KeyError::Generate`], [`KeyError::Io`].
pub fn create(directory: &Path, algorithm: KeyAlgorithm) -> Result<PathBuf, KeyError> {
    let text = generate(algorithm)?;
    let key = parse(text.as_bytes()).ok_or(GenerateError)?;
    let name = format!("{}-{}.pem", algorithm.to_string().to_lowercase(), key.id);
    let path = directory.join(&name);
    let io = |error| KeyError::Io { path: path.clone(), error };
    std::fs::create_dir_all(directory).map_err(io)?;
    // Written under another name and renamed, so that a gateway never reads half a key.
    let unfinished = directory.join(format!(".{name}.new"));
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&unfinished, &path).map_err(io)?;
    Ok(path)
}

fn read_file(path: &Path) -> Result<SigningKey, KeyError> {
    let io = |error| KeyError::Io { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_PEM_BYTES {
        return Err(KeyError::Unusable(path.to_owned()));
    }
    parse(&std::fs::read(path).map_err(io)?).ok_or_else(|| KeyError::Unusable(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_read_a_new_key() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = create(directory.path(), KeyAlgorithm::Es256).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn published_keys_hold_no_private_half() {
        for algorithm in [KeyAlgorithm::Es256, KeyAlgorithm::Eddsa, KeyAlgorithm::Rs256] {
            let set = SigningKeys::of_pems(&[generate(algorithm).unwrap()]).unwrap();
            let published: serde_json::Value = serde_json::from_str(&set.published()).unwrap();
            let key = published["keys"][0].as_object().unwrap();
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(!key.contains_key(private), "{algorithm} publishes {private}");
            }
            assert_eq!(key["alg"], algorithm.to_string());
            assert_eq!(key["use"], "sig");
        }
    }

    #[test]
    fn the_fault_of_an_empty_directory_says_how_to_create_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let error = SigningKeys::read(directory.path()).err().unwrap().to_string();
        assert!(error.contains("scangate keys new --dir"), "{error}");
    }

    #[test]
    fn a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        create(directory.path(), KeyAlgorithm::Es256).unwrap();
        std::fs::write(directory.path().join("broken.pem"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
        let error = SigningKeys::read(directory.path()).err().unwrap().to_string();
        assert!(error.contains("broken.pem"), "{error}");
    }
}

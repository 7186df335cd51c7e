//! Pseudonyms of people and things: the same input always has the same pseudonym, and only a holder of the signing key can link
//! the two. An unkeyed hash is not enough: an attacker could test guesses in milliseconds.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::signing::Signer;

/// The length of a pseudonym in bytes: long enough to avoid collisions, short enough for a log line.
const BYTES: usize = 16;

impl Signer {
    /// Returns the pseudonym of `input`, the same on every gateway with the same key directory: the first 128 bits of HMAC-SHA-256
    /// (RFC 2104) under a key derived for `purpose`, in base64url. Pseudonyms of different purposes cannot be compared. They
    /// change when the oldest key leaves the directory, and without a directory at every start.
    #[must_use]
    pub fn pseudonym(&self, purpose: &str, input: &[u8]) -> String {
        // A separate key. With one of the other derived secrets, a party that chooses the input would get a text of its choice
        // signed with that secret.
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.derive(&format!("pseudonym/{purpose}")));
        URL_SAFE_NO_PAD.encode(&hmac::sign(&key, input).as_ref()[..BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::keys::{self, KeyAlgorithm};

    #[test]
    fn only_gateways_with_the_same_keys_have_the_same_pseudonyms() {
        let directory = tempfile::tempdir().unwrap();
        let old = keys::create(directory.path(), KeyAlgorithm::Es256).unwrap();
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        std::fs::File::open(&old).unwrap().set_modified(past).unwrap();
        let open = || Signer::open("https://gate.example", Some(directory.path().into())).unwrap();
        let name = open().pseudonym("log", b"ada");
        assert_eq!(name.len(), 22);
        assert_eq!(open().pseudonym("log", b"ada"), name);
        assert_ne!(open().pseudonym("log", b"bob"), name);
        assert_ne!(open().pseudonym("share", b"ada"), name);
        keys::create(directory.path(), KeyAlgorithm::Eddsa).unwrap();
        assert_eq!(open().pseudonym("log", b"ada"), name, "a new key changes no pseudonym");
        assert_ne!(Signer::open("https://gate.example", None).unwrap().pseudonym("log", b"ada"), name);
    }

    #[test]
    fn a_pseudonym_is_neither_a_plain_hash_nor_keyed_with_another_secret() {
        use aws_lc_rs::digest;

        let signer = Signer::open("https://gate.example", None).unwrap();
        let name = signer.pseudonym("demo", b"ada");
        assert_ne!(name, URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, b"ada").as_ref()[..BYTES]));
        let demo = hmac::Key::new(hmac::HMAC_SHA256, &signer.derive("demo"));
        assert_ne!(name, URL_SAFE_NO_PAD.encode(&hmac::sign(&demo, b"ada").as_ref()[..BYTES]));
    }
}

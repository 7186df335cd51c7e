//! A JWK Set (RFC 7517 §5): its usable keys, and the skipped entries. A bad entry does not affect the others.

use std::fmt;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

use super::jwk::{self, MAX_KEYS, PublicKey, Unusable};

/// The maximum length of a key's id in messages, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// The usable keys of a set, and the skipped entries.
#[derive(Default)]
pub(super) struct KeySet {
    pub(super) keys: Vec<PublicKey>,
    pub(super) skipped: Vec<Skipped>,
}

impl KeySet {
    /// Reads a JWK Set. Returns `None` if `body` is not an object with an array `keys` (RFC 7517 §5).
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut set = Self::default();
        for (index, entry) in entries(body)?.into_iter().enumerate() {
            let entry = serde_json::from_slice::<Value>(entry).ok();
            let kid = entry.as_ref().and_then(|entry| entry.get("kid")?.as_str());
            let kid = kid.map(|kid| kid.chars().take(MAX_SHOWN_CHARS).collect());
            let read = match &entry {
                Some(Value::Object(_)) if set.keys.len() == MAX_KEYS => Err(Unusable::TooMany),
                Some(Value::Object(members)) => jwk::read(members),
                _ => Err(Unusable::NotAnObject),
            };
            match read {
                Ok(key) => set.keys.push(key),
                Err(reason) => set.skipped.push(Skipped { position: index + 1, kid, reason }),
            }
        }
        Some(set)
    }
}

/// An entry that the verifier skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its position in the set, from 1.
    position: usize,
    /// Its `kid`, if it is readable.
    kid: Option<String>,
    /// The reason.
    pub reason: Unusable,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            // Escaped, because the provider wrote it.
            Some(kid) => write!(f, "key {:?} (entry {}): {}", kid, self.position, self.reason),
            None => write!(f, "entry {}: {}", self.position, self.reason),
        }
    }
}

/// Returns the text of each entry of the array `keys`. It only separates them, so that an unreadable entry (a number too large,
/// an invalid escape) does not affect the others.
fn entries(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = Text(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let mut found = None;
    rest.list(b'{', b'}', |rest| {
        let name = rest.value()?;
        rest.take(b':')?;
        if serde_json::from_slice::<String>(name).ok().as_deref() != Some("keys") {
            return rest.value().map(drop);
        }
        let mut entries = Vec::new();
        rest.list(b'[', b']', |rest| rest.value().map(|entry| entries.push(entry)))?;
        found = Some(entries);
        Some(())
    })?;
    rest.is_at_end().then_some(found)?
}

/// The rest of a JSON text.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn is_at_end(&self) -> bool {
        self.0.trim_ascii_start().is_empty()
    }

    /// Takes one character, and the white space before it.
    fn take(&mut self, character: u8) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(&[character])?;
        Some(())
    }

    /// Takes one value of any type.
    fn value(&mut self) -> Option<&'a [u8]> {
        let mut values = Deserializer::from_slice(self.0).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let (value, rest) = self.0.split_at(values.byte_offset());
        self.0 = rest;
        Some(value)
    }

    /// Takes elements with commas between them, enclosed in `begin` and `end`.
    fn list(&mut self, begin: u8, end: u8, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(begin)?;
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(end).is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }
}

#[cfg(test)]
mod tests;

//! The person that verified claims identify.

use serde_json::Value;

use super::fault::Fault;
use super::name;
use crate::ticket::{Claims, Person, Subject};

/// The longest `sub`, in characters (OpenID Connect Core §2).
const MAX_SUBJECT_CHARS: usize = 255;
/// The longest picture URL that the gateway passes on, in bytes; it drops a longer one.
const MAX_PICTURE_BYTES: usize = 2048;

/// The person that a token identifies, and all its claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The person, as the other screen may show them.
    pub person: Person,
    /// Every claim of the token.
    pub claims: Claims,
}

impl Identity {
    /// Reads the person from verified claims. With `prefix`, the subject is the prefix, a colon and `sub`, so that two
    /// providers' people never have the same subject.
    ///
    /// # Errors
    /// [`Fault::Subject`].
    pub fn of(claims: Claims, prefix: Option<&str>) -> Result<Self, Fault> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // Not trimmed: two subjects that differ by a space are two people.
        let subject = text("sub").unwrap_or_default();
        if !(1..=MAX_SUBJECT_CHARS).contains(&subject.chars().count()) || subject.chars().any(char::is_control) {
            return Err(Fault::Subject);
        }
        let person = Person {
            subject: Subject(prefix.map_or_else(|| subject.to_owned(), |prefix| format!("{prefix}:{subject}"))),
            name: [text("name"), text("preferred_username")]
                .into_iter()
                .flatten()
                .map(name::readable)
                .find(|name| !name.is_empty()),
            picture: text("picture")
                .map(str::trim)
                .filter(|url| url.starts_with("https://") && url.len() <= MAX_PICTURE_BYTES)
                .map(str::to_owned),
        };
        Ok(Self { person, claims })
    }
}

//! The random generator: the only place that generates ids, secrets, match numbers and jitter.
//!
//! The types are defined by their modules, which take random bytes and numbers as arguments, so `ticket` needs no generator.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::distr::uniform::{SampleRange, SampleUniform};

use crate::ticket::{BindingSecret, MatchNumber, MatchPolicy, Matching, ScannerId, TicketId};

/// 128 random bits that identify one thing and carry no meaning: a JWT's `jti`, a request id, a lock's owner.
///
/// The text form is 22 characters of unpadded base64url (RFC 4648 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomId([u8; 16]);

impl RandomId {
    /// Generates an id.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default value should not be random")]
    pub fn new() -> Self {
        Self(bytes())
    }
}

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Generates the id of a new ticket.
#[must_use]
pub fn ticket_id() -> TicketId {
    TicketId::from_bytes(bytes())
}

/// Generates the id that a scanner gets at its scan.
#[must_use]
pub fn scanner_id() -> ScannerId {
    ScannerId::from_bytes(bytes())
}

/// Generates the secret that ties a new ticket to one browser or native app.
#[must_use]
pub fn binding_secret() -> BindingSecret {
    BindingSecret::from_bytes(bytes())
}

/// Generates the numbers of a new ticket: three different ones in random order, one of which is the right one. Returns `None`
/// if the policy needs no number.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the ban points to this module")]
pub fn matching(policy: MatchPolicy) -> Option<Matching> {
    // A cryptographic generator that the operating system seeds.
    let mut rng = rand::rng();
    let sample = rand::seq::index::sample(&mut rng, MatchNumber::ALL.len(), Matching::CHOICES);
    let choices = std::array::from_fn(|nth| MatchNumber::ALL[sample.index(nth)]);
    Matching::new(policy, choices, within(0..Matching::CHOICES))
}

/// Generates a number in a range, such as the jitter of a delay.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the ban points to this function")]
pub fn within<T: SampleUniform>(range: impl SampleRange<T>) -> T {
    rand::random_range(range)
}

/// Generates bytes with the operating system's generator.
///
/// # Panics
/// If the operating system's generator fails.
#[must_use]
#[expect(clippy::expect_used, reason = "without randomness from the system, no id and no secret is safe")]
#[expect(clippy::disallowed_methods, reason = "the ban points to this function")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random generator failed");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choices_differ_and_the_right_one_is_at_every_place() {
        let mut places = [false; 3];
        for _ in 0..1000 {
            let Matching { number, mut choices, .. } = matching(MatchPolicy::Choose).unwrap();
            places[choices.iter().position(|choice| *choice == number).unwrap()] = true;
            choices.sort_unstable();
            assert!(choices.is_sorted_by(|a, b| a < b), "{choices:?}");
            assert!(choices.iter().all(|choice| MatchNumber::ALL.contains(choice)));
        }
        assert_eq!(places, [true; 3]);
        assert_eq!(matching(MatchPolicy::None), None);
    }

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(RandomId::new(), RandomId::new());
        assert_ne!(ticket_id(), ticket_id());
        assert_eq!(RandomId::new().to_string().len(), 22);
    }
}

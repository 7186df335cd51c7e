//! Number matching: the approver enters the number on the other screen, which proves that they see that screen.
//!
//! There is one attempt. A person who is tricked into approving a stranger's ticket guesses right with a probability of
//! 1 in 3 if there are three numbers to choose from, and of 1 in 90 if there are two digits to type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the approver proves that they see the other screen, from the weakest check to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatchPolicy {
    /// No check.
    #[default]
    None,
    /// The approver chooses the number from three.
    Choose,
    /// The approver types the number.
    Type,
}

/// A number of two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MatchNumber(u8);

/// The text is not a number of two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number from 10 to 99")]
pub struct ParseMatchNumberError;

impl MatchNumber {
    const MIN: u8 = 10;
    const MAX: u8 = 99;
    const COUNT: usize = (Self::MAX - Self::MIN + 1) as usize;

    /// Every number, in order: two digits, the first not zero.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self(Self::MIN); Self::COUNT];
        let mut number = Self::MIN;
        while number <= Self::MAX {
            all[(number - Self::MIN) as usize] = Self(number);
            number += 1;
        }
        all
    };
}

impl FromStr for MatchNumber {
    type Err = ParseMatchNumberError;

    fn from_str(text: &str) -> Result<Self, ParseMatchNumberError> {
        // `parse` also accepts a sign.
        let is_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_digits && (Self::MIN..=Self::MAX).contains(number));
        number.map(Self).ok_or(ParseMatchNumberError)
    }
}

impl fmt::Display for MatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number check of one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matching {
    /// The policy; never [`MatchPolicy::None`].
    pub policy: MatchPolicy,
    /// The number that the recipient's screen shows.
    pub number: MatchNumber,
    /// Three different numbers in random order, including the right one.
    pub choices: [MatchNumber; 3],
}

impl Matching {
    /// The number of choices.
    pub const CHOICES: usize = 3;

    /// Creates the check of a new ticket from random numbers: the `choices` must differ, and the one at index `right`
    /// is the ticket's. Returns `None` if the policy needs no number.
    ///
    /// # Panics
    /// If `right` is not below [`Matching::CHOICES`].
    #[must_use]
    pub fn new(policy: MatchPolicy, choices: [MatchNumber; Self::CHOICES], right: usize) -> Option<Self> {
        (policy != MatchPolicy::None).then(|| Self { policy, number: choices[right], choices })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_two_digits_are_a_number(text in "[0-9 +\u{ff10}-\u{ff19}-]{0,4}|.{0,4}") {
            match text.parse::<MatchNumber>() {
                Ok(number) => prop_assert_eq!(number.to_string(), text),
                Err(ParseMatchNumberError) => {
                    prop_assert!(!(10..=99).any(|number: u8| number.to_string() == text));
                }
            }
        }
    }
}

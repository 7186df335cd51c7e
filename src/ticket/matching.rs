//! Number matching: the approver tells the number that the other screen shows, and so proves to be looking at it.
//!
//! One attempt is all there is: with three numbers to choose from, a person who is led to approve somebody else's ticket is
//! right by chance once in three times, with two digits to type once in ninety.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MatchPolicy;

/// A number of two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MatchNumber(u8);

/// What is no number of two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number from 10 to 99")]
pub struct NoMatchNumber;

impl MatchNumber {
    /// How it is written: always two digits, none of them a zero in front.
    const RANGE: RangeInclusive<u8> = 10..=99;
}

impl FromStr for MatchNumber {
    type Err = NoMatchNumber;

    fn from_str(text: &str) -> Result<Self, NoMatchNumber> {
        // `parse` alone would take a sign, too.
        let is_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_digits && Self::RANGE.contains(number));
        number.map(Self).ok_or(NoMatchNumber)
    }
}

impl fmt::Display for MatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How one ticket's screens are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matching {
    /// Whether the approver chooses or types; never [`MatchPolicy::None`].
    pub policy: MatchPolicy,
    /// The number that the recipient's screen shows.
    pub number: MatchNumber,
    /// Three different numbers in random order, one of them the right one.
    pub choices: [MatchNumber; 3],
}

impl Matching {
    /// Draws the numbers of a new ticket; none where the policy asks for none.
    #[must_use]
    pub fn random(policy: MatchPolicy) -> Option<Self> {
        if policy == MatchPolicy::None {
            return None;
        }
        // A generator that is cryptographic and seeded by the operating system, as that of ids.
        let mut rng = rand::rng();
        let drawn = rand::seq::index::sample(&mut rng, MatchNumber::RANGE.len(), 3);
        let mut numbers = [0, 1, 2].map(|nth| {
            // There are fewer than 100.
            MatchNumber(MatchNumber::RANGE.start() + u8::try_from(drawn.index(nth)).unwrap_or_default())
        });
        let number = numbers[0];
        rand::seq::SliceRandom::shuffle(&mut numbers[..], &mut rng);
        Some(Self { policy, number, choices: numbers })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_choices_differ_and_the_right_one_is_at_every_place() {
        let mut places = [false; 3];
        for _ in 0..1000 {
            let Matching { number, mut choices, .. } = Matching::random(MatchPolicy::Choose).unwrap();
            places[choices.iter().position(|choice| *choice == number).unwrap()] = true;
            choices.sort_unstable();
            assert!(choices.is_sorted_by(|a, b| a < b), "{choices:?}");
            assert!(choices.iter().all(|choice| MatchNumber::RANGE.contains(&choice.0)));
        }
        assert_eq!(places, [true; 3]);
        assert_eq!(Matching::random(MatchPolicy::None), None);
    }

    proptest! {
        #[test]
        fn only_two_digits_are_a_number(text in "[0-9 +\u{ff10}-\u{ff19}-]{0,4}|.{0,4}") {
            match text.parse::<MatchNumber>() {
                Ok(number) => prop_assert_eq!(number.to_string(), text),
                Err(NoMatchNumber) => {
                    prop_assert!(!(10..=99).any(|number: u8| number.to_string() == text));
                }
            }
        }
    }
}

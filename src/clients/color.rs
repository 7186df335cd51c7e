//! Colours of sRGB, and their contrast as WCAG 2.2 defines it.

use std::fmt;
use std::str::FromStr;

/// The number of steps from a colour to white.
const STEPS: u8 = 50;

/// An opaque colour of sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl Color {
    /// White.
    pub const WHITE: Self = Self([255; 3]);

    /// Creates a colour from its red, green and blue parts.
    #[must_use]
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// Returns the contrast with `other`, from 1 to 21 (WCAG 2.2, "contrast ratio").
    #[must_use]
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// Returns this colour, lightened in steps until `is_enough` is true; white at the latest.
    #[must_use]
    pub fn lightened_until(self, is_enough: impl Fn(Self) -> bool) -> Self {
        (0..STEPS).map(|step| self.lightened(step)).find(|color| is_enough(*color)).unwrap_or(Self::WHITE)
    }

    fn lightened(self, step: u8) -> Self {
        Self(self.0.map(|part| {
            let up = u16::from(u8::MAX - part) * u16::from(step) / u16::from(STEPS);
            part.saturating_add(u8::try_from(up).unwrap_or(u8::MAX))
        }))
    }

    /// Returns the relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

/// The text is not `#rrggbb`.
#[derive(Debug, thiserror::Error)]
#[error("not a colour; write it like \"#0f6457\"")]
pub struct ParseColorError;

impl FromStr for Color {
    type Err = ParseColorError;

    fn from_str(text: &str) -> Result<Self, ParseColorError> {
        let digits = text.strip_prefix('#').ok_or(ParseColorError)?;
        if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ParseColorError);
        }
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_error| ParseColorError);
        Ok(Self([part(0)?, part(2)?, part(4)?]))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(text: &str) -> Color {
        text.parse().unwrap()
    }

    #[test]
    fn contrast_matches_reference_values() {
        for (one, two, contrast) in [
            ("#000000", "#ffffff", 21.0),
            ("#ffffff", "#ffffff", 1.0),
            ("#767676", "#ffffff", 4.54),
            ("#0000ff", "#ffffff", 8.59),
            ("#ff0000", "#ffffff", 4.0),
        ] {
            assert!((color(one).contrast(color(two)) - contrast).abs() < 0.01, "{one} on {two}");
            assert!((color(two).contrast(color(one)) - contrast).abs() < 0.01, "{two} on {one}");
        }
    }

    #[test]
    fn only_six_hexadecimal_digits_are_a_colour() {
        assert_eq!(color("#0F6457").to_string(), "#0f6457");
        for text in ["", "#", "0f6457", "#0f645", "#0f64570", "#0f645g", "#+f6457", "#äöü", "red", "#fff;}"] {
            assert!(text.parse::<Color>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_colour_is_lightened_by_the_minimum() {
        let dark = color("#181f1d");
        let light = color("#0000ff").lightened_until(|color| color.contrast(dark) >= 4.5);
        assert!((4.5..5.0).contains(&light.contrast(dark)), "{light}");
        assert_eq!(light.lightened_until(|_| true), light);
        assert_eq!(light.lightened_until(|_| false), Color::WHITE);
    }
}

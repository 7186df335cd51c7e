//! A client's colours, accepted only if text in these colours and on them is readable.

use super::color::Color;

/// The minimum contrast of text (WCAG 2.2 §1.4.3).
const MIN_CONTRAST: f64 = 4.5;
/// The background of text in the dark colour, and the colour of text on it: `--sg-card` and `--sg-on-accent` of
/// `static/scangate.css` in dark mode.
const DARK_CARD: Color = Color::rgb(0x18, 0x1f, 0x1d);
const DARK_INK: Color = Color::rgb(0x05, 0x23, 0x1d);

/// The accent colours of a client's pages, in light and in dark mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Under white text, and as text on white.
    pub accent: Color,
    /// Under dark text, and as text on the dark card.
    pub accent_dark: Color,
}

impl Theme {
    /// Creates a theme from a client's `color` and `color_dark`; `None` if both are missing.
    ///
    /// # Errors
    /// All faults, each with a fix.
    pub(super) fn read(color: Option<&str>, color_dark: Option<&str>) -> Result<Option<Self>, Vec<String>> {
        let mut faults = Vec::new();
        let mut parse = |name: &str, text: Option<&str>| match text.map(str::parse::<Color>) {
            Some(Err(error)) => {
                faults.push(format!("{name}: {:?} is {error}", text.unwrap_or_default()));
                None
            }
            Some(Ok(color)) => Some(color),
            None => None,
        };
        let (accent, accent_dark) = (parse("color", color), parse("color_dark", color_dark));
        if color.is_none() && color_dark.is_some() {
            faults.push("color_dark: set color as well, for light mode".to_owned());
        }
        if let Some(accent) = accent
            && let Some(contrast) = too_low(Color::WHITE, accent)
        {
            faults.push(format!(
                "color: white on {accent} has a contrast of {contrast}:1, less than {MIN_CONTRAST}:1; use a darker one"
            ));
        }
        for (what, contrast) in accent_dark.map(too_low_in_dark_mode).unwrap_or_default() {
            faults.push(format!(
                "color_dark: {what} has a contrast of {contrast}:1, less than {MIN_CONTRAST}:1; \
                 use a lighter one, or omit it to derive it from color"
            ));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let derived = |accent: Color| accent.lightened_until(|color| too_low_in_dark_mode(color).is_empty());
        Ok(accent.map(|accent| Self { accent, accent_dark: accent_dark.unwrap_or_else(|| derived(accent)) }))
    }
}

/// Returns the pairs of colours in dark mode that are not readable with this accent, with their contrast.
fn too_low_in_dark_mode(accent: Color) -> Vec<(String, String)> {
    let on_card =
        too_low(accent, DARK_CARD).map(|contrast| (format!("{accent} on the dark card, {DARK_CARD},"), contrast));
    let under_ink = too_low(DARK_INK, accent).map(|contrast| (format!("dark text, {DARK_INK}, on {accent}"), contrast));
    on_card.into_iter().chain(under_ink).collect()
}

/// Returns the contrast, rounded down, if it is too low.
fn too_low(text: Color, background: Color) -> Option<String> {
    let contrast = text.contrast(background);
    (contrast < MIN_CONTRAST).then(|| format!("{:.2}", (contrast * 100.0).floor() / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(color: &str, color_dark: Option<&str>) -> Theme {
        Theme::read(Some(color), color_dark).unwrap().unwrap()
    }

    fn faults(color: Option<&str>, color_dark: Option<&str>) -> Vec<String> {
        Theme::read(color, color_dark).unwrap_err()
    }

    #[test]
    fn the_dark_colour_is_derived_from_the_light_one() {
        assert_eq!(Theme::read(None, None).unwrap(), None);
        for color in ["#000000", "#0000ff", "#7a0019", "#0f6457", "#767676", "#5b21b6"] {
            let theme = theme(color, None);
            assert_eq!(theme.accent.to_string(), color);
            assert!(too_low_in_dark_mode(theme.accent_dark).is_empty(), "{theme:?}");
        }
        assert_eq!(theme("#0f6457", Some("#62CDB6")).accent_dark.to_string(), "#62cdb6");
    }

    #[test]
    fn unreadable_colours_are_refused_with_their_contrast() {
        let low = faults(Some("#ffcc00"), None);
        assert!(low[0].starts_with("color: white on #ffcc00 has a contrast of 1.5"), "{low:?}");
        // 4.48, which is not 4.5.
        assert!(faults(Some("#777777"), None)[0].contains("4.47:1"), "{:?}", faults(Some("#777777"), None));
        let low = faults(Some("#0f6457"), Some("#0f6457"));
        assert_eq!(low.len(), 2, "{low:?}");
        assert!(low[0].contains("on the dark card, #181f1d, has a contrast of 2.") && low[0].contains("omit it"));
        assert!(low[1].contains("dark text, #05231d, on #0f6457 has a contrast of 2."), "{low:?}");
    }

    #[test]
    fn an_invalid_colour_is_refused() {
        assert_eq!(faults(Some("red"), None), ["color: \"red\" is not a colour; write it like \"#0f6457\""]);
        assert_eq!(faults(Some("#fff"), Some("#000;}")).len(), 2);
        assert_eq!(faults(None, Some("#ffffff")), ["color_dark: set color as well, for light mode"]);
    }

    #[test]
    fn the_dark_card_and_ink_are_those_of_the_style_sheet() {
        let css = include_str!("../../static/scangate.css");
        for (name, color) in [("--sg-card", DARK_CARD), ("--sg-on-accent", DARK_INK)] {
            let start = format!("{name}: light-dark(#ffffff, ");
            let dark = css.lines().find_map(|line| line.trim().strip_prefix(&start)).unwrap();
            assert_eq!(dark, format!("{color});"), "{name}");
        }
    }
}

//! Makes names safe to display, because people decide by them: a name may contain no invisible character, no character that looks
//! like a space, and none that reverses the text after it (Unicode TR 9 §2, TR 36 §2.5).

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The maximum length of a name, in characters; the gateway cuts the rest.
const MAX_CHARS: usize = 128;
/// The maximum number of combining marks on one letter. Written languages need five or six; hundreds cover the text around them.
const MAX_MARKS: usize = 8;
/// Characters with an empty glyph that no Unicode property marks as such: the blank Braille pattern, a musical note without a
/// head, and the spaces of three scripts.
const BLANK_GLYPHS: [char; 5] = ['\u{2800}', '\u{1d159}', '\u{13441}', '\u{13442}', '\u{16fe4}'];

/// Returns `name` without its invisible characters; an empty text if no visible one is left. A joiner or a variation selector
/// stays after a visible character, one at a time: some scripts and emoji need them.
pub(super) fn readable(name: &str) -> String {
    let mut shown = String::new();
    // The last visible character may be followed by a selector and a joiner, a joiner, or neither.
    let (mut marks, mut after) = (0, After::Joiner);
    for (count, c) in name.chars().filter(|c| !is_invisible(*c)).enumerate() {
        if count == MAX_CHARS {
            break;
        }
        if c.is_whitespace() || BLANK_GLYPHS.contains(&c) {
            // Consecutive spaces become one, because many could push the following text out of view.
            if !shown.is_empty() && !shown.ends_with(' ') {
                shown.push(' ');
            }
            (marks, after) = (0, After::Joiner);
        } else if is_selector(c) {
            if after == After::Visible {
                shown.push(c);
                after = After::Selector;
            }
        } else if is_joiner(c) {
            if after != After::Joiner {
                shown.push(c);
                after = After::Joiner;
            }
        } else {
            marks = if is_mark(c) { marks + 1 } else { 0 };
            if marks <= MAX_MARKS {
                shown.push(c);
            }
            after = After::Visible;
        }
    }
    let shown = shown.trim_end_matches(|c: char| c.is_whitespace() || is_joiner(c));
    if shown.chars().any(is_visible_alone) { shown.to_owned() } else { String::new() }
}

#[derive(PartialEq)]
enum After {
    Visible,
    Selector,
    Joiner,
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Returns whether `c` is a variation selector: a standardised one, or one of ideographs or of Mongolian.
fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}')
}

/// Returns whether `c` is invisible: characters that Unicode marks as ignorable (fillers, tags, invisible operators), controls
/// and format characters. The visible signs that enclose Arabic and Syriac numbers are format characters too; they draw over the
/// following text, so they are removed as well.
fn is_invisible(c: char) -> bool {
    if is_joiner(c) || is_selector(c) || c.is_whitespace() {
        return false;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || matches!(category, GeneralCategory::Control | GeneralCategory::Format)
}

fn is_mark(c: char) -> bool {
    GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

/// Returns whether `c` is visible on its own.
fn is_visible_alone(c: char) -> bool {
    !c.is_whitespace() && !is_joiner(c) && !is_selector(c) && !is_mark(c) && !BLANK_GLYPHS.contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn invisible_characters_are_removed() {
        assert_eq!(readable("Ada\u{202e}ecalevoL\u{200b}"), "AdaecalevoL");
        assert_eq!(readable("نامه\u{200c}ای 小明 👩\u{200d}🚀"), "نامه\u{200c}ای 小明 👩\u{200d}🚀");
        assert_eq!(readable("葛\u{e0100}城 ❤\u{fe0f}"), "葛\u{e0100}城 ❤\u{fe0f}", "a variant is part of a name");
        assert_eq!(readable("👁\u{fe0f}\u{200d}🗨\u{fe0f} 👍🏽"), "👁\u{fe0f}\u{200d}🗨\u{fe0f} 👍🏽");
        assert_eq!(readable("ᠠ\u{180b}ᠨ"), "ᠠ\u{180b}ᠨ");
        assert_eq!(readable("Zoë Müller-O’Neil Ⅲ"), "Zoë Müller-O’Neil Ⅲ");
        assert_eq!(readable("สมชาย หุ่น"), "สมชาย หุ่น");
    }

    #[test]
    fn an_invisible_name_is_empty() {
        let nothing = [
            "",
            " ",
            " \u{200b}\u{200d}\u{2066}",
            "\u{3164}",
            "\u{2800}\u{2800}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{e0041}\u{e0064}\u{e0061}",
            "\u{fe0f}",
            "\u{e0100}\u{e01ef}",
            "\u{34f}",
            "\u{17b4}\u{17b5}",
            "\u{180e}\u{180b}",
            "\u{2061}\u{2064}\u{206f}",
            "\u{1d159}\u{1d173}",
            "\u{feff}\u{ad}",
            "\u{fff9}\u{fffb}",
            "\u{a0}\u{2003}\u{3000}\u{1680}",
            "\u{301}",
            "\u{13441}\u{13442}\u{16fe4}",
            "\u{1bca0}",
            "\u{2065}\u{e0000}\u{e0fff}",
            "\u{7}\u{85}",
        ];
        for name in nothing {
            assert_eq!(readable(name), "", "{name:?}");
        }
    }

    #[test]
    fn no_invisible_character_remains() {
        assert_eq!(readable("A\u{3164}d\u{e0041}a\u{2800}\u{2800}\u{a0}L"), "Ada L");
        assert_eq!(readable("\u{fe0f}\u{200d}Ada\u{fe0f}\u{fe0f}\u{fe0f}\u{200d}\u{200d}"), "Ada\u{fe0f}");
        assert_eq!(readable("  Ada\u{202e}\nLovelace \u{2800}"), "Ada Lovelace");
        assert_eq!(readable(&format!("A{}b", "\u{336}".repeat(100))), format!("A{}b", "\u{336}".repeat(MAX_MARKS)));
        assert_eq!(readable(&"x".repeat(500)).len(), MAX_CHARS);
    }

    proptest! {
        #[test]
        fn a_cleaned_name_is_cleaned_to_itself(name in "\\PC{0,60}|.{0,60}") {
            let once = readable(&name);
            prop_assert_eq!(readable(&once), once.clone());
            prop_assert!(once.is_empty() || once.chars().any(is_visible_alone));
        }
    }
}

//! Parses the subset of XML that WeChat's callbacks use: elements that contain text or CDATA.
//!
//! The parser refuses everything that can expand, refer to other documents, or be ambiguous: document types, entity and
//! character references, processing instructions, comments, attributes, and repeated names.

use std::collections::{HashMap, HashSet};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The largest document, in bytes.
pub(super) const MAX_BYTES: usize = 16 * 1024;
/// The maximum depth of elements. WeChat's own nest five deep, for pictures that a menu sends.
const MAX_DEPTH: usize = 5;
/// The maximum number of elements in a document. WeChat's report on a broadcast of eight articles has 116.
const MAX_ELEMENTS: usize = 256;

/// The reason why a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(&'static str);

const OUTSIDE: Malformed = Malformed("it has text outside of elements");

/// The elements directly below the root that contain text, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Elements(HashMap<String, String>);

impl Elements {
    /// Parses a document.
    ///
    /// # Errors
    /// [`Malformed`], which names the violated rule.
    pub(super) fn parse(document: &[u8]) -> Result<Self, Malformed> {
        if document.len() > MAX_BYTES {
            return Err(Malformed("it is too large"));
        }
        let text = std::str::from_utf8(document).map_err(|_error| Malformed("it is not UTF-8"))?;
        // XML 1.0 §2.2 forbids control characters; the reader accepts them.
        if text.chars().any(|c| c < ' ' && !matches!(c, '\t' | '\n' | '\r')) {
            return Err(Malformed("it contains control characters"));
        }
        let (mut reader, mut parsing) = (Reader::from_str(text), Parsing::default());
        loop {
            match reader.read_event().map_err(|_error| Malformed("it is not well-formed XML"))? {
                Event::Start(start) => parsing.open(&start)?,
                Event::Empty(start) => {
                    parsing.open(&start)?;
                    parsing.close()?;
                }
                Event::End(_) => parsing.close()?,
                Event::Text(text) => parsing.text(&text)?,
                Event::CData(_) if parsing.open.is_empty() => return Err(OUTSIDE),
                Event::CData(text) => parsing.text(&text)?,
                Event::Decl(declaration) if parsing.is_untouched() => {
                    let encoding =
                        declaration.encoding().transpose().map_err(|_error| Malformed("its declaration is wrong"))?;
                    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
                        return Err(Malformed("it is not UTF-8"));
                    }
                    parsing.is_declared = true;
                }
                Event::Decl(_) => return Err(Malformed("its declaration is not at the start")),
                Event::DocType(_) => return Err(Malformed("it has a document type")),
                Event::GeneralRef(_) => return Err(Malformed("it has references")),
                Event::PI(_) => return Err(Malformed("it has processing instructions")),
                Event::Comment(_) => return Err(Malformed("it has comments")),
                Event::Eof => return parsing.finish(),
            }
        }
    }

    /// Returns the text of an element.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[derive(Default)]
struct Parsing {
    is_declared: bool,
    elements: usize,
    open: Vec<Element>,
    fields: Elements,
    /// The names of the elements directly below the root, to find repetitions.
    names: HashSet<String>,
}

struct Element {
    name: String,
    text: String,
    has_elements: bool,
}

impl Parsing {
    fn is_untouched(&self) -> bool {
        !self.is_declared && self.elements == 0
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), Malformed> {
        if !start.attributes_raw().trim().is_empty() {
            return Err(Malformed("it has attributes"));
        }
        if self.open.is_empty() && self.elements > 0 {
            return Err(Malformed("it has more than one root"));
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(Malformed("it has too many elements"));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(Malformed("it is nested too deep"));
        }
        let name = start.name().0.to_owned();
        if self.open.len() == 1 && !self.names.insert(name.clone()) {
            return Err(Malformed("an element occurs twice"));
        }
        if let Some(parent) = self.open.last_mut() {
            parent.has_elements = true;
        }
        self.open.push(Element { name, text: String::new(), has_elements: false });
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Malformed> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(OUTSIDE),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Malformed> {
        // The reader has checked that the names of the start and end tags match.
        let Some(Element { name, text, has_elements }) = self.open.pop() else {
            return Err(Malformed("it is not well-formed XML"));
        };
        if has_elements && !text.trim().is_empty() {
            return Err(Malformed("it has text beside elements"));
        }
        if !has_elements && self.open.len() == 1 {
            self.fields.0.insert(name, text);
        }
        Ok(())
    }

    fn finish(self) -> Result<Elements, Malformed> {
        match self.elements {
            0 => Err(Malformed("it has no element")),
            _ if !self.open.is_empty() => Err(Malformed("it is truncated")),
            _ => Ok(self.fields),
        }
    }
}

/// Writes `text` as CDATA.
pub(super) fn cdata(text: &str) -> String {
    // `]]>` would end the section, so it is split over two.
    let clean: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n')).collect();
    format!("<![CDATA[{}]]>", clean.replace("]]>", "]]]]><![CDATA[>"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Elements, Malformed> {
        Elements::parse(text.as_bytes())
    }

    #[test]
    fn text_and_cdata_of_the_roots_elements_are_read() {
        let fields = parse(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xml>\n <A><![CDATA[a & <b> ]]]]><![CDATA[>]]></A>\n <B> 12 </B><C/><D></D>\
             <Deep><E>x</E></Deep>\n</xml>\n",
        )
        .unwrap();
        assert_eq!(fields.get("A"), Some("a & <b> ]]>"));
        assert_eq!((fields.get("B"), fields.get("C"), fields.get("D")), (Some(" 12 "), Some(""), Some("")));
        assert_eq!((fields.get("Deep"), fields.get("E"), fields.get("xml")), (None, None, None));
    }

    #[test]
    fn a_menu_event_is_read() {
        let fields = parse(
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><MsgType><![CDATA[event]]></MsgType>\
             <Event><![CDATA[pic_weixin]]></Event><SendPicsInfo><Count>2</Count>\n<PicList>\
             <item><PicMd5Sum><![CDATA[a]]></PicMd5Sum></item>\n<item><PicMd5Sum><![CDATA[b]]></PicMd5Sum></item>\n\
             </PicList>\n</SendPicsInfo></xml>",
        );
        assert_eq!(fields.unwrap().get("Event"), Some("pic_weixin"));
    }

    #[test]
    fn unsupported_xml_is_refused() {
        let many = |count: usize| (0..count).map(|number| format!("<e{number}/>")).collect::<Vec<_>>().concat();
        for (text, why) in [
            ("<!DOCTYPE xml><xml/>", "document type"),
            ("<!DOCTYPE xml [<!ENTITY a \"aaaa\">]><xml><A>&a;</A></xml>", "document type"),
            ("<!DOCTYPE xml SYSTEM \"file:///etc/passwd\"><xml/>", "document type"),
            ("<xml><A>&a;</A></xml>", "references"),
            ("<xml><A>&amp;</A></xml>", "references"),
            ("<xml><A>&#65;</A></xml>", "references"),
            ("<?php x?><xml/>", "processing"),
            ("<xml><?xml-stylesheet href=\"x\"?></xml>", "processing"),
            ("<xml><!-- x --></xml>", "comments"),
            ("<xml a=\"1\"/>", "attributes"),
            ("<xml><A b/></xml>", "attributes"),
            ("<xml xmlns:a=\"x\"><a:b/></xml>", "attributes"),
            ("<xml><A>1</A><A>2</A></xml>", "twice"),
            ("<xml><A><B/></A><A>2</A></xml>", "twice"),
            ("<xml><A><B><C><D><E/></D></C></B></A></xml>", "deep"),
            (&format!("<xml>{}</xml>", many(MAX_ELEMENTS)), "too many"),
            (&format!("<xml><A>{}</A></xml>", "x".repeat(MAX_BYTES)), "large"),
            ("<xml>text<A/></xml>", "beside"),
            ("<xml><A/>text</xml>", "beside"),
            ("text<xml/>", "outside"),
            ("<xml/>text", "outside"),
            ("<![CDATA[]]><xml/>", "outside"),
            ("<xml/><xml/>", "root"),
            ("<xml/><?xml version=\"1.0\"?>", "declaration"),
            ("<?xml version=\"1.0\"?><?xml version=\"1.0\"?><xml/>", "declaration"),
            ("<?xml version=\"1.0\" encoding=\"UTF-16\"?><xml/>", "UTF-8"),
            ("<xml><A>\u{0}</A></xml>", "control"),
            ("<xml><A>\u{1f}</A></xml>", "control"),
            ("", "no element"),
            ("  ", "no element"),
            ("<xml><A>", "truncated"),
            ("<xml><A></xml>", "well-formed"),
            ("<xml></A></xml>", "well-formed"),
            ("<xml><A>a & b</A></xml>", "well-formed"),
            ("<xml><![CDATA[</xml>", "well-formed"),
            ("{\"ToUserName\":\"x\"}", "outside"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(Elements::parse(b"<xml><A>\xff</A></xml>"), Err(Malformed("it is not UTF-8")));
        assert!(parse(&format!("<xml>{}</xml>", many(MAX_ELEMENTS - 1))).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Elements::parse(&bytes);
        }

        #[test]
        fn anything_like_xml_is_read_or_refused(
            text in "(<xml>|</xml>|<A>|</A>|<B/>|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<\\?xml|\\?>|<!DOCTYPE|&a;|[a-z<>&\"= ]){0,20}",
        ) {
            if parse(&text).is_ok() {
                // Inside CDATA it is plain text.
                let parts = text.split("<![CDATA[").enumerate();
                let outside = parts.map(|(index, part)| if index == 0 { part } else { part.split_once("]]>").map_or("", |at| at.1) });
                prop_assert!(!outside.collect::<String>().contains("<!DOCTYPE"));
            }
        }

        #[test]
        fn written_text_is_read_unchanged(text in "(\\]\\]>|\\]|>|<|&|[^\\pC]){0,40}") {
            let document = format!("<xml><A>{}</A></xml>", cdata(&text));
            let fields = parse(&document).unwrap();
            prop_assert_eq!(fields.get("A"), Some(&*text));
        }
    }
}

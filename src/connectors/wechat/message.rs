//! The content of a callback, and the replies that people send in the chat.

use super::xml::Elements;
use crate::ticket::MatchNumber;

/// The longest id of a person or account that is accepted, in characters. WeChat's have at most 28.
const MAX_ID_CHARS: usize = 64;
/// The longest scene that WeChat allows, in characters.
const MAX_SCENE_CHARS: usize = 64;
/// The prefix of a scene if the person followed the account by this scan.
const SUBSCRIBED: &str = "qrscene_";
/// The replies that decline a sign-in.
const DECLINE_WORDS: [&str; 8] = ["取消", "拒绝", "否", "不", "不是", "n", "no", "cancel"];

/// The content of one callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The person's id for this account.
    pub(super) openid: String,
    /// The account's id in WeChat's messages.
    pub(super) account: String,
    /// Identifies the message. Its repetitions have the same key.
    pub(super) key: String,
    /// When WeChat created it, in seconds since 1970.
    pub(super) created: u64,
    /// Its kind, with the content of that kind.
    pub(super) kind: MessageKind,
}

/// The kind of a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// A person scanned a code with this scene.
    Scan(String),
    /// A person sent this text in the chat.
    Text(String),
    /// Anything else; the gateway ignores it.
    Other,
}

impl Message {
    /// Reads a message; `None` if it lacks a required element.
    pub(super) fn read(fields: &Elements) -> Option<Self> {
        let id = |name: &str| fields.get(name).filter(|id| is_id(id)).map(str::to_owned);
        let (openid, account) = (id("FromUserName")?, id("ToUserName")?);
        let number = |name: &str| fields.get(name)?.trim().parse::<u64>().ok();
        let created = number("CreateTime")?;
        let event = fields.get("Event").unwrap_or_default();
        let event_key = fields.get("EventKey").unwrap_or_default();
        let scene = match (fields.get("MsgType")?, event) {
            ("event", "SCAN") => Some(event_key),
            ("event", "subscribe") => event_key.strip_prefix(SUBSCRIBED),
            _ => None,
        };
        let kind = match (scene, fields.get("MsgType")?) {
            (Some(scene), _) if (1..=MAX_SCENE_CHARS).contains(&scene.chars().count()) => {
                MessageKind::Scan(scene.to_owned())
            }
            (None, "text") => MessageKind::Text(fields.get("Content")?.to_owned()),
            _ => MessageKind::Other,
        };
        // Events have no id. WeChat identifies them by FromUserName and CreateTime, but one person may cause several in a second.
        let key = match number("MsgId") {
            Some(id) => format!("{openid}:{id}"),
            None => format!("{openid}:{created}:{event}:{event_key}"),
        };
        Some(Self { openid, account, key, created, kind })
    }
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A reply to the question for the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatReply {
    /// A number.
    Number(MatchNumber),
    /// The person does not want to sign in.
    No,
    /// Anything else.
    Unclear,
}

impl ChatReply {
    /// Parses a reply. Digits may be full-width, and spaces are ignored.
    pub(super) fn of(text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).map(to_half_width).collect();
        match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) if DECLINE_WORDS.contains(&text.to_lowercase().as_str()) => Self::No,
            Err(_) => Self::Unclear,
        }
    }
}

/// Returns the ASCII character of a full-width one (Unicode, Halfwidth and Fullwidth Forms).
fn to_half_width(c: char) -> char {
    const WIDTH: u32 = '！' as u32 - '!' as u32;
    if ('！'..='～').contains(&c) { char::from_u32(c as u32 - WIDTH).unwrap_or(c) } else { c }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::xml::cdata;
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Option<Message> {
        let text: Vec<_> = fields.iter().map(|(name, value)| format!("<{name}>{}</{name}>", cdata(value))).collect();
        Message::read(&Elements::parse(format!("<xml>{}</xml>", text.concat()).as_bytes()).unwrap())
    }

    const PARTIES: [(&str, &str); 3] =
        [("ToUserName", "gh_1"), ("FromUserName", "oA-b_1"), ("CreateTime", "1714112445")];

    fn with(fields: &[(&str, &str)]) -> Option<Message> {
        read(&[&PARTIES[..], fields].concat())
    }

    fn event(name: &str, key: &str) -> MessageKind {
        with(&[("MsgType", "event"), ("Event", name), ("EventKey", key), ("Ticket", "gQ…")]).unwrap().kind
    }

    #[test]
    fn scans_of_followers_and_new_followers_are_read() {
        assert_eq!(event("SCAN", "sg_1"), MessageKind::Scan("sg_1".into()));
        assert_eq!(event("subscribe", "qrscene_sg_1"), MessageKind::Scan("sg_1".into()));
        assert_eq!(event("SCAN", "qrscene_x"), MessageKind::Scan("qrscene_x".into()));
        for (name, key) in [
            ("SCAN", ""),
            ("subscribe", ""),
            ("subscribe", "sg_1"),
            ("subscribe", "qrscene_"),
            ("unsubscribe", "qrscene_sg_1"),
            ("scan", "sg_1"),
            ("SCAN", &"x".repeat(65)),
        ] {
            assert_eq!(event(name, key), MessageKind::Other, "{name} {key}");
        }
    }

    #[test]
    fn texts_are_read_and_other_messages_are_ignored() {
        let text = with(&[("MsgType", "text"), ("Content", " 42 "), ("MsgId", "77")]).unwrap();
        assert_eq!((text.kind, &*text.key), (MessageKind::Text(" 42 ".into()), "oA-b_1:77"));
        assert_eq!(with(&[("MsgType", "image"), ("MsgId", "78"), ("Content", "42")]).unwrap().kind, MessageKind::Other);
        assert_eq!(
            with(&[("MsgType", "text"), ("Content", "42"), ("Event", "SCAN"), ("EventKey", "x")]).unwrap().kind,
            MessageKind::Text("42".into())
        );
    }

    #[test]
    fn a_message_without_a_required_element_is_none() {
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("MsgType", "text")]), None);
        for (missing, wrong) in PARTIES.iter().zip(["gh 1", "o:1", "yesterday"]) {
            let but = |value: &str| {
                let fields = PARTIES.map(|(name, good)| (name, if name == missing.0 { value } else { good }));
                read(&[&fields[..], &[("MsgType", "event")]].concat())
            };
            assert!(but(missing.1).is_some());
            assert_eq!((but(""), but(wrong), but(&"1".repeat(65))), (None, None, None), "{}", missing.0);
        }
    }

    #[test]
    fn different_messages_have_different_keys() {
        let key = |fields: &[(&str, &str)]| with(fields).unwrap().key;
        let scan = [("MsgType", "event"), ("Event", "SCAN"), ("EventKey", "a")];
        let keys = [
            key(&scan),
            key(&[scan[0], scan[1], ("EventKey", "b")]),
            key(&[scan[0], ("Event", "subscribe"), scan[2]]),
            key(&[("MsgType", "text"), ("Content", "1"), ("MsgId", "1")]),
            key(&[("MsgType", "text"), ("Content", "1"), ("MsgId", "2")]),
        ];
        let different: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len(), "{keys:?}");
        assert_eq!(key(&scan), keys[0]);
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        let number = ChatReply::Number("42".parse().unwrap());
        for text in ["42", " 42\n", "4 2", "４２", "４2", "\u{3000}４\u{3000}２ "] {
            assert_eq!(ChatReply::of(text), number, "{text}");
        }
        for text in ["取消", " NO ", "n", "Ｎｏ", "不是", "cancel"] {
            assert_eq!(ChatReply::of(text), ChatReply::No, "{text}");
        }
        for text in ["", "4", "042", "09", "421", "四十二", "42!", "+42", "nope", "-4", "٤٢"] {
            assert_eq!(ChatReply::of(text), ChatReply::Unclear, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_reply_is_parsed(text in ".{0,20}|[0-9０-９ \u{3000}]{0,6}") {
            if let ChatReply::Number(number) = ChatReply::of(&text) {
                let digits: String = text.chars().filter(|c| !c.is_whitespace()).map(to_half_width).collect();
                prop_assert_eq!(number.to_string(), digits);
            }
        }

        #[test]
        fn any_fields_are_a_message_or_none(
            from in "[A-Za-z0-9_-]{0,70}|.{0,5}",
            created in "[0-9]{0,22}",
            kind in "text|event|.{0,5}",
            event in "SCAN|subscribe|",
            key in "(qrscene_)?.{0,70}",
        ) {
            let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
            let from = clean(&from);
            let fields = [
                ("ToUserName", "gh_1"), ("FromUserName", &from), ("CreateTime", &created),
                ("MsgType", &clean(&kind)), ("Event", &event), ("EventKey", &clean(&key)), ("Content", "x"),
            ];
            if let Some(message) = read(&fields) {
                prop_assert_eq!(&message.openid, &from);
                prop_assert!(message.key.starts_with(&from));
            }
        }
    }
}

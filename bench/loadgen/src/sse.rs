//! An incremental parser of Server-Sent Events: bytes in, items out.
//!
//! It follows the event stream format of the HTML standard (section 9.2.6), except for the byte order mark. It buffers at
//! most one event, up to [`MAX_EVENT_BYTES`].

use std::time::Duration;

/// The maximum length of an event, in bytes; the gateway's events have about 1 KiB.
const MAX_EVENT_BYTES: usize = 64 * 1024;
/// The capacity that an empty buffer keeps, in bytes; larger buffers are shrunk.
const KEPT_BYTES: usize = 256;

/// One item of a stream.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// `retry`: how long to wait before reconnecting.
    Retry(Duration),
    /// A comment; other servers send comments as heartbeats.
    Comment,
    /// An event; without a name, it is called `message`.
    Event { name: String, data: String },
}

impl Item {
    /// Returns whether the item only shows that the stream is alive.
    pub fn is_heartbeat(&self) -> bool {
        match self {
            Self::Comment => true,
            Self::Event { name, .. } => name == "heartbeat",
            Self::Retry(_) => false,
        }
    }
}

/// The error of an event longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("an event of over {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// The state of the parser between two chunks.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    /// The index of the first unparsed line.
    at: usize,
    /// Whether the previous line ended in CR, so that an LF that follows belongs to it.
    after_cr: bool,
    name: String,
    data: String,
    /// The `id` of the last event, for `Last-Event-ID`.
    last_id: String,
    pending_id: Option<String>,
}

impl Parser {
    /// Adds a chunk.
    ///
    /// # Errors
    /// If an event is too long.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() - self.at + self.data.len() > MAX_EVENT_BYTES { Err(TooLong) } else { Ok(()) }
    }

    /// Returns the next complete item; `None` until more bytes arrive.
    pub fn next_item(&mut self) -> Option<Item> {
        while let Some(line) = self.next_line() {
            if let Some(item) = self.parse_line(&line) {
                return Some(item);
            }
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.shrink_to(KEPT_BYTES);
        None
    }

    /// Returns the `id` of the last event; empty if there is none.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    fn next_line(&mut self) -> Option<String> {
        if self.after_cr {
            let next = self.buffer.get(self.at)?;
            self.at += usize::from(*next == b'\n');
            self.after_cr = false;
        }
        let rest = &self.buffer[self.at..];
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        self.after_cr = rest[end] == b'\r';
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Some(line)
    }

    fn parse_line(&mut self, line: &str) -> Option<Item> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Item::Comment),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.pending_id = Some(value.to_owned()),
            "retry" => return value.parse().ok().map(|millis| Item::Retry(Duration::from_millis(millis))),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Item> {
        if let Some(id) = self.pending_id.take() {
            self.last_id = id;
        }
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Item::Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Item {
        Item::Event { name: name.to_owned(), data: data.to_owned() }
    }

    fn all(pieces: &[&[u8]]) -> (Vec<Item>, String) {
        let mut parser = Parser::default();
        let mut items = Vec::new();
        for piece in pieces {
            parser.feed(piece).unwrap();
            items.extend(std::iter::from_fn(|| parser.next_item()));
        }
        (items, parser.last_id().to_owned())
    }

    const STREAM: &[u8] =
        b"retry: 2345\n\nevent: pending\nid: 1\ndata: {\"a\":1}\n\n:\n\n: beat\nid: 7\ndata:x\ndata: y\n\nevent: none\n\n";

    fn expected() -> Vec<Item> {
        let retry = Item::Retry(Duration::from_millis(2345));
        vec![retry, event("pending", "{\"a\":1}"), Item::Comment, Item::Comment, event("message", "x\ny")]
    }

    #[test]
    fn a_stream_is_read() {
        assert_eq!(all(&[STREAM]), (expected(), "7".to_owned()));
    }

    #[test]
    fn pieces_of_one_byte_make_no_difference() {
        let pieces: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(all(&pieces), (expected(), "7".to_owned()));
    }

    #[test]
    fn every_line_ending_is_accepted() {
        let text = String::from_utf8(STREAM.to_vec()).unwrap();
        for ending in ["\r\n", "\r"] {
            let text = text.replace('\n', ending);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(3).collect();
            assert_eq!(all(&pieces).0, expected(), "{ending:?}");
        }
    }

    #[test]
    fn an_event_without_its_empty_line_is_not_returned() {
        assert_eq!(all(&[b"event: a\nid: 5\ndata: b\n"]), (vec![], String::new()));
    }

    #[test]
    fn a_retry_that_is_not_a_number_is_ignored() {
        assert_eq!(all(&[b"retry: soon\nretry: -1\n\n"]).0, vec![]);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        parser.feed(b"data: ").unwrap();
        let piece = [b'x'; 4096];
        assert!((0..17).any(|_| parser.feed(&piece).is_err()));
    }
}

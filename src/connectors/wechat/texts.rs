//! The replies in the chat: in Chinese, and then in English.

use std::fmt::Write as _;

use crate::ticket::Device;

/// The longest client name in a reply, in characters, because WeChat limits a reply to 2,048 bytes.
const MAX_NAME_CHARS: usize = 64;

/// Asks for the number, and names the client and the presenter's device.
pub(super) fn ask_number(client: &str, requester: &Device) -> String {
    let (client, from) = (truncated(client), device(requester));
    format!(
        "有人正在登录「{client}」（{from}）。\n\
         如果这是您本人正在看的网页，请回复网页上显示的两位数字。\n\
         如果不是，请回复“取消”，或忽略此消息。\n\n\
         Somebody is signing in to {client} ({from}). If you are looking at that page yourself, reply with the two-digit \
         number that it shows. If not, reply \"no\" or ignore this."
    )
}

/// Asks for the number again.
pub(super) fn ask_number_again() -> String {
    "请回复网页上显示的两位数字；如果不是您本人在登录，请回复“取消”。\n\n\
     Reply with the two-digit number that the page shows, or with \"no\" if it is not you who is signing in."
        .to_owned()
}

/// Confirms the sign-in, and names the client and the presenter's device.
pub(super) fn confirmed(client: &str, requester: &Device) -> String {
    let (client, from) = (truncated(client), device(requester));
    format!("已登录「{client}」（{from}）。\n\nSigned in to {client} ({from}).")
}

/// Says that the number was wrong.
pub(super) fn wrong_number() -> String {
    "数字不正确，本次登录已取消。请在网页上刷新二维码后重新扫描。\n\n\
     That was not the number on the page. This sign-in is cancelled; scan a new code."
        .to_owned()
}

/// Says that the sign-in is cancelled, as the person asked.
pub(super) fn declined() -> String {
    "已取消登录。\n\nThe sign-in is cancelled.".to_owned()
}

/// Says that the code has expired, or never existed.
pub(super) fn expired() -> String {
    "二维码已过期或已取消，请在网页上刷新后重新扫描。\n\nThe code has expired or was cancelled; scan a new one."
        .to_owned()
}

/// Says that another person has scanned the code.
pub(super) fn already_scanned() -> String {
    "此二维码已被他人扫描，请在网页上刷新后重新扫描。\n\nSomebody else has scanned this code; scan a new one."
        .to_owned()
}

/// Says that this sign-in was confirmed before.
pub(super) fn already_confirmed() -> String {
    "此次登录已完成。\n\nThis sign-in is already complete.".to_owned()
}

fn device(requester: &Device) -> String {
    let mut text = String::new();
    for part in [&requester.browser, &requester.os].into_iter().flatten() {
        // Writing to a string does not fail.
        let _ = write!(text, "{part}, ");
    }
    let _ = write!(text, "IP {}", requester.ip);
    text
}

/// Truncates a name, and isolates it (Unicode TR 9 §2.4), so that its writing direction does not affect the text around it.
fn truncated(name: &str) -> String {
    let is_isolate = |c: &char| matches!(c, '\u{2066}'..='\u{2069}');
    let name: String = name.chars().filter(|c| !is_isolate(c)).take(MAX_NAME_CHARS).collect();
    format!("\u{2068}{name}\u{2069}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WeChat's limit on the length of a reply.
    const MAX_BYTES: usize = 2048;

    #[test]
    fn the_longest_names_fit() {
        let requester = Device {
            ip: "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(),
            browser: Some("Internet Explorer".into()),
            os: Some("Windows Phone OS".into()),
        };
        let text = ask_number(&"名".repeat(200), &requester);
        assert!(text.len() < MAX_BYTES, "{}", text.len());
        assert!(text.contains("Internet Explorer, Windows Phone OS, IP 2001:db8"), "{text}");
    }
}

//! Describes a party's device to the approver: its address, and the browser and system named in its `User-Agent`.
//!
//! Senders can forge a `User-Agent`. It helps people to recognise their own browser and proves nothing.

use std::net::IpAddr;

use axum::http::header::{HeaderMap, HeaderValue, USER_AGENT};
use woothee::parser::Parser;
use woothee::woothee::VALUE_UNKNOWN;

use crate::ticket::Device;

/// woothee's categories of devices that people browse with; the rest are crawlers and libraries.
const BROWSER_CATEGORIES: [&str; 4] = ["pc", "smartphone", "mobilephone", "appliance"];
/// The maximum length of a `User-Agent` that is parsed, in bytes. The rest is ignored.
const MAX_USER_AGENT_BYTES: usize = 512;

/// Describes the device at `ip`.
pub(super) fn describe(ip: IpAddr, headers: &HeaderMap) -> Device {
    let bytes = headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    // Bytes that are not UTF-8 affect only themselves: the names to find are ASCII.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_USER_AGENT_BYTES)]);
    let found = Parser::new().parse(&text).filter(|found| BROWSER_CATEGORIES.contains(&found.category));
    let known = |name: &str| (!name.is_empty() && name != VALUE_UNKNOWN).then(|| name.to_owned());
    let browser = found.as_ref().and_then(|found| known(found.name));
    let os = found.as_ref().and_then(|found| known(found.os));
    Device { ip, browser, os }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(agent: &str) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, agent.parse().unwrap());
        let requester = describe([192, 0, 2, 1].into(), &headers);
        (requester.browser, requester.os)
    }

    #[test]
    fn common_browsers_are_named() {
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        assert_eq!(of(chrome), (Some("Chrome".into()), Some("Windows 10".into())));
        let safari = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15";
        assert_eq!(of(safari), (Some("Safari".into()), Some("Mac OSX".into())));
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        assert_eq!(of(firefox), (Some("Firefox".into()), Some("Linux".into())));
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0";
        assert_eq!(of(edge), (Some("Edge".into()), Some("Windows 10".into())));
    }

    #[test]
    fn an_unknown_browser_has_no_name() {
        assert_eq!(of("x"), (None, None));
        assert_eq!(of("curl/8.5.0"), (None, None));
    }

    #[test]
    fn non_utf8_bytes_do_not_hide_the_browser() {
        let firefox = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 Z\xfcrich \xe5\xb0\x8f";
        let long = [&firefox[..], &"\u{e9}".repeat(700).into_bytes()].concat();
        for agent in [&firefox[..], &long] {
            let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_bytes(agent).unwrap())]);
            let Device { browser, os, .. } = describe([192, 0, 2, 1].into(), &headers);
            assert_eq!((browser.as_deref(), os.as_deref()), (Some("Firefox"), Some("Linux")));
        }
    }

    proptest! {
        #[test]
        fn any_user_agent_is_parsed(agent in "[ -~]{0,700}") {
            of(&agent);
        }
    }
}

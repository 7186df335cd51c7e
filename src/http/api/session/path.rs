//! The path to which a person is redirected after signing in or out. It never names another site.

use std::sync::LazyLock;

use url::{Url, form_urlencoded};

/// The maximum length of such a path, with its query, as a value in another query, in bytes. It is a part of `state`, which has at
/// most 2,048 bytes, and of the addresses of redirects: nginx reads a response's head of 4 KB unless told otherwise.
const MAX_ENCODED_BYTES: usize = 1900;

/// A placeholder base: a path that resolves to another host would do so on every site.
static ANY_SITE: LazyLock<Option<Url>> = LazyLock::new(|| Url::parse("https://site.invalid/").ok());

/// Returns `text` if a browser resolves it to a path of the current site, otherwise the site's root.
///
/// The text is parsed as browsers parse it: they resolve `//host` and `/\host` to other sites, and remove tabs.
pub(super) fn local(text: &str) -> &str {
    if is_local(text) { text } else { "/" }
}

fn is_local(text: &str) -> bool {
    // Browsers send only these characters in a path; no others are valid in the `Location` header.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !text.starts_with('/') || !is_plain || encoded_bytes(text) > MAX_ENCODED_BYTES {
        return false;
    }
    let Some(base) = &*ANY_SITE else { return false };
    // A proxy in between may remove the dots of "/.//host" before the browser sees it.
    base.join(text).is_ok_and(|url| url.origin() == base.origin() && !url.path().starts_with("//"))
}

fn encoded_bytes(text: &str) -> usize {
    form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_the_site_are_returned_unchanged() {
        for path in
            ["/", "/reports?from=2026-11-01&to=%2F%2Fx#top", "/a//b", "/@user", "/a:b", "/%E5%B0%8F", "/?//evil"]
        {
            assert_eq!(local(path), path);
        }
        let longest = format!("/{}", "x".repeat(MAX_ENCODED_BYTES - 3));
        assert_eq!(local(&longest), longest);
    }

    #[test]
    fn other_sites_redirect_to_the_root() {
        let long = format!("/{}", "x".repeat(MAX_ENCODED_BYTES - 2));
        let encoded = format!("/?{}", "%".repeat(MAX_ENCODED_BYTES / 3));
        let elsewhere = [
            "",
            "reports",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "/.//evil.example",
            "/..//evil.example",
            "/x/..//evil.example",
            "/%2e//evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/a b",
            "/a\u{0}",
            "/å",
            "/a\\..\\..\\b",
            &long,
            &encoded,
        ];
        for text in elsewhere {
            assert_eq!(local(text), "/", "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_redirects_to_another_site(text in "[/\\\\.a:@?#%2e\t\n ]{0,14}") {
            let base = Url::parse("https://site.example/").unwrap();
            let url = base.join(local(&text)).unwrap();
            prop_assert_eq!(url.origin(), base.origin());
        }
    }
}

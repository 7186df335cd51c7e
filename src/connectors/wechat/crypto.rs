//! WeChat's signatures and encryption of callbacks.
//!
//! A signature is the SHA-1 of the signed parts and the token, sorted and joined. Encryption is AES-256 in CBC mode, padded to
//! blocks of 32 bytes; the plaintext is 16 random bytes, the message's length, the message and the app id. WeChat defines all
//! of this. By today's standards it is weak, so `callback` also accepts each callback only once and for a limited time.

use std::fmt::Write as _;

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use subtle::ConstantTimeEq as _;

/// The block that padding fills: twice that of AES.
const BLOCK: usize = 32;
const RANDOM: usize = 16;
const LENGTH: usize = 4;
/// The length of an `EncodingAESKey`, in characters.
const KEY_CHARS: usize = 43;

/// Returns WeChat's signature of `parts`, in lower-case hexadecimal digits.
pub(super) fn signature(token: &str, parts: &[&str]) -> String {
    let mut parts: Vec<&str> = parts.iter().copied().chain([token]).collect();
    parts.sort_unstable();
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns whether `given` is the signature of `parts`. Compares in constant time.
pub(super) fn is_signature(given: &str, token: &str, parts: &[&str]) -> bool {
    signature(token, parts).as_bytes().ct_eq(given.as_bytes()).into()
}

/// An `EncodingAESKey`, which encrypts an account's callbacks.
#[derive(Clone)]
pub struct MessageKey([u8; BLOCK]);

/// The text is not an `EncodingAESKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an EncodingAESKey must have {KEY_CHARS} characters from a-z A-Z 0-9")]
pub struct ParseMessageKeyError;

/// The text cannot be decrypted with a key: it was encrypted with another key, for another account, or by an attacker. The
/// error does not say which, because that would help an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not encrypted for this account with a key that is set")]
pub(super) struct Unreadable;

impl std::str::FromStr for MessageKey {
    type Err = ParseMessageKeyError;

    fn from_str(text: &str) -> Result<Self, ParseMessageKeyError> {
        // 43 characters have two bits more than 32 bytes, and WeChat chooses the last character at random like the others.
        let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
        let is_plain = text.len() == KEY_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let key = is_plain.then(|| GeneralPurpose::new(&ALPHABET, config).decode(format!("{text}=")).ok()).flatten();
        key.and_then(|key| key.try_into().ok()).map(Self).ok_or(ParseMessageKeyError)
    }
}

impl std::fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageKey(…)")
    }
}

impl MessageKey {
    /// Encrypts `message` for `app_id`.
    ///
    /// # Errors
    /// [`Unreadable`] if the cryptographic library fails, or for a message of 4 GiB or more.
    pub(super) fn encrypt(&self, message: &str, app_id: &str, random: [u8; RANDOM]) -> Result<String, Unreadable> {
        let length = u32::try_from(message.len()).map_err(|_error| Unreadable)?;
        let mut bytes = [&random[..], &length.to_be_bytes(), message.as_bytes(), app_id.as_bytes()].concat();
        let padding = BLOCK - bytes.len() % BLOCK;
        bytes.resize(bytes.len() + padding, u8::try_from(padding).unwrap_or_default());
        let key = EncryptingKey::cbc(self.unbound()?).map_err(|_error| Unreadable)?;
        key.less_safe_encrypt(&mut bytes, EncryptionContext::Iv128(self.iv())).map_err(|_error| Unreadable)?;
        Ok(STANDARD.encode(bytes))
    }

    /// Decrypts a text that was encrypted for `app_id`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(super) fn decrypt(&self, text: &str, app_id: &str) -> Result<String, Unreadable> {
        let mut bytes = STANDARD.decode(text).map_err(|_error| Unreadable)?;
        if bytes.is_empty() || bytes.len() % BLOCK != 0 {
            return Err(Unreadable);
        }
        let key = DecryptingKey::cbc(self.unbound()?).map_err(|_error| Unreadable)?;
        key.decrypt(&mut bytes, DecryptionContext::Iv128(self.iv())).map_err(|_error| Unreadable)?;
        let content = unpadded(&bytes).ok_or(Unreadable)?;
        let (length, rest) = content.get(RANDOM..).and_then(|rest| rest.split_at_checked(LENGTH)).ok_or(Unreadable)?;
        let length = length.try_into().map(u32::from_be_bytes).map_err(|_error| Unreadable)?;
        let length = usize::try_from(length).map_err(|_error| Unreadable)?;
        let (message, tail) = rest.split_at_checked(length).ok_or(Unreadable)?;
        if !bool::from(tail.ct_eq(app_id.as_bytes())) {
            return Err(Unreadable);
        }
        String::from_utf8(message.to_vec()).map_err(|_error| Unreadable)
    }

    fn unbound(&self) -> Result<UnboundCipherKey, Unreadable> {
        UnboundCipherKey::new(&AES_256, &self.0).map_err(|_error| Unreadable)
    }

    /// Returns WeChat's initialization vector: the first half of the key.
    fn iv(&self) -> FixedLength<16> {
        let mut iv = [0; 16];
        iv.copy_from_slice(&self.0[..16]);
        FixedLength::from(iv)
    }
}

/// Removes the padding: 1 to [`BLOCK`] bytes, each of which is their number.
fn unpadded(bytes: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*bytes.last()?);
    let (content, padding) = bytes.split_at_checked(bytes.len().checked_sub(count)?)?;
    let is_padding = (1..=BLOCK).contains(&count) && padding.iter().all(|byte| usize::from(*byte) == count);
    is_padding.then_some(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The examples of WeChat's own documentation.
    const TOKEN: &str = "AAAAA";
    const APP_ID: &str = "wxba5fad812f8e6fb9";
    const ENCRYPTED: &str = "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsXUnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajAsjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04=";
    const MESSAGE: &str = r#"{"ToUserName":"gh_97417a04a28d","FromUserName":"o9AgO5Kd5ggOC-bXrbNODIiE3bGY","CreateTime":1714112445,"MsgType":"event","Event":"debug_demo","debug_str":"hello world"}"#;
    const REPLY: &str = "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ==";

    fn key() -> MessageKey {
        "A".repeat(KEY_CHARS).parse().unwrap()
    }

    #[test]
    fn signatures_are_as_wechat_publishes_them() {
        let published = [
            (&["1714036504", "1514711492"][..], "f464b24fc39322e44b38aa78f5edd27bd1441696"),
            (&["1714037059", "486452656"], "899cf89e464efb63f54ddac96b0a0a235f53aa78"),
            (&["1714112445", "415670741", ENCRYPTED], "046e02f8204d34f8ba5fa3b1db94908f3df2e9b3"),
            (&["1713424427", "415670741", REPLY], "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1"),
        ];
        for (parts, expected) in published {
            assert_eq!(signature(TOKEN, parts), expected);
            assert!(is_signature(expected, TOKEN, parts));
            assert!(!is_signature(&expected.to_uppercase(), TOKEN, parts));
            assert!(!is_signature(&expected[1..], TOKEN, parts) && !is_signature("", TOKEN, parts));
            assert!(!is_signature(expected, "AAAAB", parts));
        }
    }

    #[test]
    fn encryption_is_as_wechat_publishes_it() {
        assert_eq!(key().decrypt(ENCRYPTED, APP_ID).unwrap(), MESSAGE);
        let reply = r#"{"demo_resp":"good luck"}"#;
        assert_eq!(key().encrypt(reply, APP_ID, *b"707722b803182950").unwrap(), REPLY);
        assert_eq!(key().decrypt(REPLY, APP_ID).unwrap(), reply);
    }

    #[test]
    fn a_text_for_another_account_or_key_is_unreadable() {
        let other: MessageKey = "B".repeat(KEY_CHARS).parse().unwrap();
        for app_id in ["wxba5fad812f8e6fb8", "wxba5fad812f8e6fb", "", "xwxba5fad812f8e6fb9"] {
            assert_eq!(key().decrypt(ENCRYPTED, app_id), Err(Unreadable), "{app_id}");
        }
        assert_eq!(other.decrypt(ENCRYPTED, APP_ID), Err(Unreadable));
        for cut in [1, 4, 44, 64, ENCRYPTED.len()] {
            assert_eq!(key().decrypt(&ENCRYPTED[cut..], APP_ID), Err(Unreadable), "{cut}");
            assert_eq!(key().decrypt(&ENCRYPTED[..ENCRYPTED.len() - cut], APP_ID), Err(Unreadable), "{cut}");
        }
    }

    /// Encrypts raw bytes, for malformed input.
    fn raw(mut bytes: Vec<u8>) -> String {
        let cipher = EncryptingKey::cbc(key().unbound().unwrap()).unwrap();
        cipher.less_safe_encrypt(&mut bytes, EncryptionContext::Iv128(key().iv())).unwrap();
        STANDARD.encode(bytes)
    }

    fn plain(message: &str, claimed_length: u32, padding: &[u8]) -> Vec<u8> {
        [&[7; RANDOM][..], &claimed_length.to_be_bytes(), message.as_bytes(), APP_ID.as_bytes(), padding].concat()
    }

    #[test]
    fn every_padding_from_1_to_32_is_read_and_no_other() {
        // 16 + 4 + 26 + 18 is twice 32.
        for count in 1..=32_u8 {
            let message = "x".repeat(26 + 32 - usize::from(count));
            let good = plain(&message, u32::try_from(message.len()).unwrap(), &vec![count; count.into()]);
            assert_eq!(key().decrypt(&raw(good.clone()), APP_ID).unwrap(), message, "{count}");
            assert_eq!(key().encrypt(&message, APP_ID, [7; RANDOM]).unwrap(), raw(good.clone()), "{count}");
            if count > 1 {
                let mut bad = good;
                let first = bad.len() - usize::from(count);
                bad[first] ^= 1;
                assert_eq!(key().decrypt(&raw(bad), APP_ID), Err(Unreadable), "{count}");
            }
        }
        let message = "x".repeat(26);
        for padding in [vec![33; 32], vec![64; 64], vec![0; 32], vec![255; 32], Vec::new()] {
            assert_eq!(key().decrypt(&raw(plain(&message, 26, &padding)), APP_ID), Err(Unreadable), "{padding:?}");
        }
    }

    #[test]
    fn a_length_that_does_not_fit_is_unreadable() {
        let message = "x".repeat(26);
        for length in [0, 25, 27, 44, 45, u32::MAX] {
            assert_eq!(key().decrypt(&raw(plain(&message, length, &[32; 32])), APP_ID), Err(Unreadable), "{length}");
        }
        assert_eq!(key().decrypt(&raw(vec![32; 32]), APP_ID), Err(Unreadable));
        assert_eq!(key().decrypt(&raw(vec![14; 32]), APP_ID), Err(Unreadable));
    }

    #[test]
    fn a_key_is_43_letters_and_digits_with_any_last_bits() {
        // The last character's two lowest bits are unused: A, B, C and D are equivalent.
        let text = |last: char| format!("{}{last}", "a".repeat(KEY_CHARS - 1));
        let keys: Vec<[u8; 32]> = "ABCDE".chars().map(|last| text(last).parse::<MessageKey>().unwrap().0).collect();
        assert!(keys[..4].iter().all(|key| *key == keys[0]) && keys[4] != keys[0]);
        for text in ["", &"A".repeat(42), &"A".repeat(44), &text('='), &text('+'), &text('/'), &text('é')] {
            assert_eq!(text.parse::<MessageKey>().map(drop), Err(ParseMessageKeyError), "{text}");
        }
        assert_eq!(format!("{:?}", key()), "MessageKey(…)");
    }

    proptest! {
        #[test]
        fn encryption_round_trips(
            key in "[a-zA-Z0-9]{43}",
            message in ".{0,200}",
            app_id in "wx[a-f0-9]{16}",
            random: [u8; 16],
        ) {
            let key: MessageKey = key.parse().unwrap();
            let text = key.encrypt(&message, &app_id, random).unwrap();
            prop_assert_eq!(key.decrypt(&text, &app_id).unwrap(), message);
        }

        #[test]
        fn any_text_is_read_or_unreadable(text in "[A-Za-z0-9+/=]{0,200}|.{0,40}") {
            let _ = key().decrypt(&text, APP_ID);
        }

        #[test]
        fn any_plaintext_is_read_or_unreadable(bytes in proptest::collection::vec(any::<u8>(), 1..5)) {
            let bytes = bytes.iter().flat_map(|byte| [*byte; 32]).collect();
            let _ = key().decrypt(&raw(bytes), APP_ID);
        }
    }
}

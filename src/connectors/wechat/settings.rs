//! The table `[connectors.wechat]` of the TOML file: the values that WeChat's console shows and asks for.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::crypto::MessageKey;
use crate::secret::{Secret, direct_or_file};
use crate::ticket::MatchPolicy;
use crate::urls::{is_plain_http, parse_origin};

/// WeChat's API, and its second host for disaster recovery.
const API_BASES: [&str; 2] = ["https://api.weixin.qq.com", "https://api2.weixin.qq.com"];
/// The number of codes that WeChat creates for an account in a day.
const DAILY_CODES: u32 = 100_000;
/// The maximum number of hosts.
const MAX_API_BASES: usize = 4;
/// The lengths of a token that WeChat allows, in characters.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 3..=32;
/// The longest app id that is accepted, in characters. WeChat's have 18.
const MAX_APP_ID_CHARS: usize = 64;

/// How a person consents to a sign-in with WeChat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// They scan the code and send the number that the page shows in the chat.
    #[default]
    Number,
    /// They scan the code. No further step is needed.
    Scan,
}

/// The connector's settings, checked. Their `Debug` form hides the secrets.
#[derive(Debug, Clone)]
pub struct WechatSettings {
    /// The account's AppID.
    pub app_id: String,
    /// Its AppSecret.
    pub secret: Secret,
    /// The token that WeChat signs callbacks with.
    pub token: Secret,
    /// The keys that callbacks are encrypted with, the current one first; empty in plain mode.
    pub keys: Vec<MessageKey>,
    /// The hosts of WeChat's API, in the order of the attempts.
    pub api_bases: Vec<Url>,
    /// How a person consents to a sign-in.
    pub consent: Consent,
    /// The number of codes that this gateway may create in a day.
    pub daily_codes: u32,
}

/// The table, unchecked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WechatTable {
    app_id: Option<String>,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    encoding_aes_key: Option<Secret>,
    encoding_aes_key_file: Option<PathBuf>,
    previous_encoding_aes_key: Option<Secret>,
    previous_encoding_aes_key_file: Option<PathBuf>,
    api_base: Option<OneOrMore>,
    #[serde(default)]
    consent: Consent,
    daily_codes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a URL or a list of URLs")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl WechatTable {
    /// Returns how people compare the screens in its sign-ins.
    pub(in crate::connectors) fn match_policy(&self) -> MatchPolicy {
        match self.consent {
            Consent::Number => MatchPolicy::Type,
            Consent::Scan => MatchPolicy::None,
        }
    }

    /// Returns the files that contain its secrets. `path` is the TOML file itself.
    pub(in crate::connectors) fn secret_files(&self, path: &Path, directory: &Path) -> Vec<PathBuf> {
        let secrets = [
            (&self.secret, &self.secret_file),
            (&self.token, &self.token_file),
            (&self.encoding_aes_key, &self.encoding_aes_key_file),
            (&self.previous_encoding_aes_key, &self.previous_encoding_aes_key_file),
        ];
        let inside = secrets.iter().any(|(text, _)| text.is_some()).then(|| path.to_owned());
        inside.into_iter().chain(secrets.iter().filter_map(|(_, file)| Some(directory.join(file.as_ref()?)))).collect()
    }

    /// Checks the table. Relative paths start at `directory`.
    ///
    /// # Errors
    /// All faults, each with a fix.
    pub fn check(self, directory: &Path) -> Result<WechatSettings, Vec<String>> {
        let mut faults = Vec::new();
        let mut secret =
            |name: &str, text: Option<Secret>, file: Option<PathBuf>, is_good: fn(&str) -> bool, rule: &str| {
                let file = file.map(|path| directory.join(path));
                let names = (name, &*format!("{name}_file"));
                let read =
                    direct_or_file(names, text.as_ref().map(Secret::reveal), file.as_deref()).and_then(|found| {
                        match found {
                            Some(text) if !is_good(&text) => Err(format!("{name} is not {rule}")),
                            found => Ok(found),
                        }
                    });
                read.unwrap_or_else(|fault| {
                    faults.push(fault);
                    // Return a value, so that the key is not reported as missing as well.
                    Some(String::new())
                })
            };
        let key_rule = "the 43 characters a-z A-Z 0-9 that WeChat's console shows as EncodingAESKey";
        let is_key = |text: &str| text.parse::<MessageKey>().is_ok();
        let is_printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let app_secret = secret(
            "secret",
            self.secret,
            self.secret_file,
            is_printable,
            "the AppSecret, which WeChat's console showed once",
        );
        let is_token =
            |text: &str| TOKEN_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let token = secret(
            "token",
            self.token,
            self.token_file,
            is_token,
            "3 to 32 of the characters a-z A-Z 0-9, as in WeChat's console",
        );
        let key = secret("encoding_aes_key", self.encoding_aes_key, self.encoding_aes_key_file, is_key, key_rule);
        let previous = secret(
            "previous_encoding_aes_key",
            self.previous_encoding_aes_key,
            self.previous_encoding_aes_key_file,
            is_key,
            key_rule,
        );
        for (name, value) in [("secret", &app_secret), ("token", &token)] {
            if value.is_none() {
                faults.push(format!("{name} is missing; set it, or {name}_file"));
            }
        }
        if previous.is_some() && key.is_none() {
            faults.push(
                "previous_encoding_aes_key is set without encoding_aes_key; set the current key as well".to_owned(),
            );
        }
        let app_id = self.app_id.unwrap_or_default();
        if !(1..=MAX_APP_ID_CHARS).contains(&app_id.len()) || !app_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            faults
                .push("app_id is missing or not the AppID of WeChat's console, such as wx0123456789abcdef".to_owned());
        }
        let api_bases = api_bases(self.api_base).unwrap_or_else(|fault| {
            faults.push(fault);
            Vec::new()
        });
        let daily_codes = self.daily_codes.unwrap_or(DAILY_CODES);
        if daily_codes == 0 {
            faults.push("daily_codes is 0; set how many codes this gateway may create in a day".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults.into_iter().map(|fault| format!("connectors.wechat: {fault}")).collect());
        }
        Ok(WechatSettings {
            app_id,
            secret: Secret::new(app_secret.unwrap_or_default()),
            token: Secret::new(token.unwrap_or_default()),
            keys: [key, previous].into_iter().flatten().filter_map(|key| key.parse().ok()).collect(),
            api_bases,
            consent: self.consent,
            daily_codes,
        })
    }
}

fn api_bases(given: Option<OneOrMore>) -> Result<Vec<Url>, String> {
    let texts = match given {
        None => API_BASES.map(str::to_owned).to_vec(),
        Some(OneOrMore::One(text)) => vec![text],
        Some(OneOrMore::More(texts)) => texts,
    };
    if !(1..=MAX_API_BASES).contains(&texts.len()) {
        return Err(format!("api_base names {} hosts; name 1 to {MAX_API_BASES}", texts.len()));
    }
    let parse = |text: &String| {
        // The gateway sends the AppSecret there.
        parse_origin(text).filter(|url| !is_plain_http(url)).ok_or_else(|| {
            // A URL with a login may contain a password, which must not reach a log.
            let text = if text.contains('@') { "its value".to_owned() } else { format!("{text:?}") };
            format!("api_base: {text} is not an https origin such as \"https://api.weixin.qq.com\", without a path")
        })
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "app_id = \"wx0123456789abcdef\"\nsecret = \"s3cret-value\"\ntoken = \"abc\"\n";

    fn check(text: &str, directory: &Path) -> Result<WechatSettings, Vec<String>> {
        let table: WechatTable = toml::from_str(text).map_err(|error| vec![error.message().to_owned()])?;
        table.check(directory)
    }

    fn faults(text: &str) -> Vec<String> {
        check(text, Path::new("/nowhere")).unwrap_err()
    }

    #[test]
    fn the_required_keys_suffice_and_the_number_is_the_default() {
        let settings = check(GOOD, Path::new("/nowhere")).unwrap();
        assert_eq!((settings.consent, settings.keys.len()), (Consent::Number, 0));
        let bases: Vec<_> = settings.api_bases.iter().map(Url::as_str).collect();
        assert_eq!(bases, ["https://api.weixin.qq.com/", "https://api2.weixin.qq.com/"]);
    }

    #[test]
    fn secrets_are_read_from_files_and_hidden() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in
            [("s", "s3cret-value\n"), ("t", "t0ken\r\n"), ("k", &"K".repeat(43)), ("p", &"P".repeat(43))]
        {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let settings = check(
            "app_id = \"wx1\"\nsecret_file = \"s\"\ntoken_file = \"t\"\nencoding_aes_key_file = \"k\"\n\
             previous_encoding_aes_key_file = \"p\"\nconsent = \"scan\"\napi_base = \"http://127.0.0.1:1\"\n",
            directory.path(),
        )
        .unwrap();
        assert_eq!((settings.secret.reveal(), settings.token.reveal()), ("s3cret-value", "t0ken"));
        assert_eq!((settings.keys.len(), settings.consent), (2, Consent::Scan));
        let shown = format!("{settings:?}");
        assert!(["s3cret", "t0ken", "KKK", "PPP"].iter().all(|part| !shown.contains(part)), "{shown}");
    }

    #[test]
    fn all_faults_are_reported_at_once_and_quote_no_secret() {
        let all = faults(
            "app_id = \"wx:1\"\nsecret = \"h&n ter2\"\ntoken = \"hunter-2\"\nencoding_aes_key = \"hunter2\"\n\
             previous_encoding_aes_key_file = \"missing\"\napi_base = [\"http://api.weixin.qq.com\"]\n",
        );
        assert_eq!(all.len(), 6, "{all:#?}");
        assert!(
            all.iter().all(|fault| fault.starts_with("connectors.wechat: ") && !fault.contains("nter")),
            "{all:#?}"
        );
        let all = faults("");
        assert_eq!(all.len(), 3, "{all:#?}");
        for (text, part) in [
            (format!("{GOOD}secret_file = \"x\""), "both set"),
            (format!("{GOOD}previous_encoding_aes_key = \"{}\"", "A".repeat(43)), "without encoding_aes_key"),
            (format!("{GOOD}api_base = []"), "names 0"),
            (format!("{GOOD}api_base = \"https://a.example/path\""), "without a path"),
            (format!("{GOOD}api_base = 1"), "a URL or a list of URLs"),
            (format!("{GOOD}consent = \"none\""), "none"),
            (format!("{GOOD}appid = \"x\""), "appid"),
        ] {
            assert!(faults(&text).join("\n").contains(part), "{text}");
        }
        let base = faults(&format!("{GOOD}api_base = \"https://user:hunter2@api.weixin.qq.com\"")).join("\n");
        assert!(base.contains("api_base: its value is not") && !base.contains("hunter2"), "{base}");
        let number = faults("app_id = \"wx1\"\nsecret = 424242\ntoken = \"abc\"");
        assert!(!number.join("\n").contains("4242"), "{number:?}");
    }
}

//! The parameters of a query, decoded strictly: no client sends text that is not UTF-8, and the gateway must not return
//! a parameter changed.

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

/// The parameters with a value, in their order. One without a value is treated as absent (RFC 6749 §3.1).
pub(in crate::openid_provider) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Returns `None` if a name or a value is not UTF-8, or contains NUL.
    pub(in crate::openid_provider) fn parse(query: &str) -> Option<Self> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        let pairs = pairs.collect::<Option<Vec<_>>>()?;
        Some(Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }

    /// Returns them as a query.
    pub(in crate::openid_provider) fn to_query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// Returns the values of a parameter.
    pub(in crate::openid_provider) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of a parameter, the first one if there are several.
    pub(in crate::openid_provider) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Returns the only value of a parameter.
    pub(in crate::openid_provider) fn once<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut all = self.all(name);
        all.next().filter(|_value| all.next().is_none())
    }

    /// Returns the words of a parameter that is a list.
    pub(in crate::openid_provider) fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.find(name).unwrap_or_default().split(' ').filter(|word| !word.is_empty())
    }

    /// Returns whether a parameter occurs twice (RFC 6749 §3.1). Only `resource` may (RFC 8707 §2).
    pub(in crate::openid_provider) fn has_repeated(&self) -> bool {
        let mut names: Vec<&str> =
            self.0.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "resource").collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

fn decode(part: &str) -> Option<String> {
    let spaced = part.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

//! The identity providers of the settings, and their checks: the `[[identity_providers]]` tables of the TOML file, and the one
//! that the flags set, which is read into the same table.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::discovery;
use super::settings::{ClientAuthentication, DEFAULT_ID, DEFAULT_SCOPES, ProviderSettings, SignOut};
use super::userinfo::is_only_signed;
use crate::clients::tables::read_logo;
use crate::qr::Logo;
use crate::secret::{Secret, direct_or_file};
use crate::urls::is_local;

/// The longest id, in characters.
const MAX_ID_CHARS: usize = 32;
/// The longest name on a button, in characters.
const MAX_NAME_CHARS: usize = 40;
/// The most providers: their buttons fit one screen of a phone.
const MAX_PROVIDERS: usize = 8;
/// Ids that are not available: the path of the callback, and the prefixes of other subjects.
const RESERVED_IDS: [&str; 3] = ["callback", "demo", "wechat"];

/// How the gateway authenticates to the token endpoint, in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum AuthenticationName {
    #[serde(rename = "client_secret_basic")]
    Basic,
    #[serde(rename = "client_secret_post")]
    Post,
    #[serde(rename = "none")]
    Public,
}

/// An `[[identity_providers]]` table, unchecked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderTable {
    id: String,
    name: Option<String>,
    logo: Option<PathBuf>,
    issuer: String,
    client_id: String,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    token_endpoint_auth_method: Option<AuthenticationName>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    acr_values: Vec<String>,
    #[serde(default)]
    userinfo_claims: Vec<String>,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    sign_out: SignOut,
}

impl ProviderTable {
    /// Returns the provider that the flags set.
    #[must_use]
    pub fn of_flags(
        issuer: String,
        client_id: String,
        client_secret: Option<Secret>,
        scopes: Vec<String>,
        name: Option<String>,
    ) -> Self {
        Self {
            id: DEFAULT_ID.to_owned(),
            name,
            logo: None,
            issuer,
            client_id,
            client_secret,
            client_secret_file: None,
            token_endpoint_auth_method: None,
            scopes: (!scopes.is_empty()).then_some(scopes),
            acr_values: Vec::new(),
            userinfo_claims: Vec::new(),
            audiences: Vec::new(),
            sign_out: SignOut::Here,
        }
    }

    /// Returns the files that contain secrets: the secret's, relative to `directory`, and `path`, the TOML file itself, if it
    /// contains the secret.
    pub fn secret_files(&self, path: &Path, directory: &Path) -> impl Iterator<Item = PathBuf> {
        let own = self.client_secret.as_ref().map(|_secret| path.to_owned());
        let named = self.client_secret_file.as_ref().map(|file| directory.join(file));
        [own, named].into_iter().flatten()
    }
}

/// Checks the tables. Relative paths start at `directory`. Keys of providers are trusted for `keys_max_age`.
///
/// # Errors
/// All faults, each with its provider and a fix.
pub fn from_tables(
    tables: Vec<ProviderTable>,
    directory: &Path,
    keys_max_age: Duration,
) -> Result<Vec<ProviderSettings>, Vec<String>> {
    let mut faults = Vec::new();
    let (mut ids, mut issuers) = (HashSet::new(), HashSet::new());
    let mut all = Vec::new();
    if tables.len() > MAX_PROVIDERS {
        faults.push(format!("there are {} identity providers; at most {MAX_PROVIDERS} are allowed", tables.len()));
    }
    for table in tables {
        let id = table.id.clone();
        if !ids.insert(id.clone()) {
            faults.push(format!("identity provider {id:?}: two providers have this id; ids must differ"));
        }
        // Subjects of one issuer would have two prefixes, so one person would be two.
        if !issuers.insert(table.issuer.trim_end_matches('/').to_owned()) {
            faults.push(format!("identity provider {id:?}: two providers have this issuer; keep one of them"));
        }
        match from_table(table, directory, keys_max_age) {
            Ok(provider) => all.push(provider),
            Err(found) => {
                faults.extend(found.into_iter().map(|text| format!("identity provider {id:?}: {text}")));
            }
        }
    }
    let shared = audience_faults(&all);
    faults.extend(shared);
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

/// Audiences that are an issuer stand for any app of that provider, so a token for another app would pass.
fn audience_faults(providers: &[ProviderSettings]) -> Vec<String> {
    let is_issuer = |audience: &String| {
        let audience = audience.trim_end_matches('/');
        providers.iter().any(|provider| provider.issuer.trim_end_matches('/') == audience)
    };
    let of = |provider: &ProviderSettings| {
        provider.audiences.iter().any(is_issuer).then(|| {
            format!(
                "identity provider {:?}: audiences: an issuer is the audience of every app; name the audience of your app",
                provider.id
            )
        })
    };
    providers.iter().filter_map(of).collect()
}

fn from_table(table: ProviderTable, directory: &Path, keys_max_age: Duration) -> Result<ProviderSettings, Vec<String>> {
    let mut faults = Vec::new();
    faults.extend(id_fault(&table.id));
    faults.extend(issuer_fault(&table.issuer));
    if table.client_id.trim().is_empty() {
        faults.push("client_id: it is empty; set the client id that the provider shows".to_owned());
    }
    if table.name.as_deref().is_some_and(|name| name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS) {
        faults.push(format!("name: it must have 1 to {MAX_NAME_CHARS} characters, because it stands on a button"));
    }
    let scopes = table.scopes.unwrap_or_else(|| DEFAULT_SCOPES.map(str::to_owned).to_vec());
    if !scopes.iter().any(|scope| scope == "openid") {
        faults.push("scopes: `openid` is missing; without it the provider sends no ID token".to_owned());
    }
    if scopes.iter().any(|scope| scope == "offline_access") {
        faults.push("scopes: remove `offline_access`; the gateway keeps no refresh token".to_owned());
    }
    for (key, list) in [("scopes", &scopes), ("acr_values", &table.acr_values)] {
        // RFC 6749 §3.3: the request separates them by spaces.
        if list.iter().any(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic())) {
            faults.push(format!("{key}: each entry must be one word without spaces"));
        }
    }
    for name in table.userinfo_claims.iter().filter(|name| is_only_signed(name)) {
        faults.push(format!("userinfo_claims: {name} counts only in the signed ID token; remove it"));
    }
    let secret = client_secret(table.client_secret.as_ref(), table.client_secret_file.as_deref(), directory);
    let authentication = secret.and_then(|secret| authentication(table.token_endpoint_auth_method, secret));
    let authentication = authentication.map_err(|text| faults.push(text)).unwrap_or(ClientAuthentication::Public);
    let logo: Option<Logo> = match table.logo.map(|path| read_logo(&directory.join(path))) {
        None => None,
        Some(Ok(logo)) => Some(logo),
        Some(Err(text)) => {
            faults.push(text);
            None
        }
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(ProviderSettings {
        name: table.name.unwrap_or_else(|| default_name(&table.issuer)),
        id: table.id,
        logo,
        issuer: table.issuer,
        client_id: table.client_id,
        authentication,
        scopes,
        acr_values: table.acr_values,
        userinfo_claims: table.userinfo_claims,
        audiences: table.audiences,
        sign_out: table.sign_out,
        keys_max_age,
    })
}

fn id_fault(id: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || id.chars().count() > MAX_ID_CHARS || !id.chars().all(allowed) {
        return Some(format!("id: it must have 1 to {MAX_ID_CHARS} characters from a-z 0-9 -"));
    }
    RESERVED_IDS.contains(&id).then(|| format!("id: {id:?} is reserved; choose another one"))
}

fn issuer_fault(issuer: &str) -> Option<String> {
    let Some(url) = Url::parse(issuer).ok().filter(|_| discovery::address(issuer).is_some()) else {
        return Some(format!("issuer: {issuer:?} is not a URL; copy it from the provider's discovery document"));
    };
    if url.path().ends_with("/.well-known/openid-configuration") {
        return Some("issuer: this is the discovery document; set the `issuer` that it contains".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Some("issuer: it must have no login, query or fragment".to_owned());
    }
    let is_protected = url.scheme() == "https" || (url.scheme() == "http" && is_local(&url));
    (!is_protected).then(|| format!("issuer: {issuer:?} is not https; http is allowed only on this machine, for tests"))
}

fn client_secret(direct: Option<&Secret>, file: Option<&Path>, directory: &Path) -> Result<Option<Secret>, String> {
    let file = file.map(|file| directory.join(file));
    let names = ("client_secret", "client_secret_file");
    let secret = direct_or_file(names, direct.map(Secret::reveal), file.as_deref())?;
    if secret.as_deref() == Some("") {
        return Err("client_secret: it is empty; set it, or omit it for a public client".to_owned());
    }
    Ok(secret.map(Secret::new))
}

fn authentication(name: Option<AuthenticationName>, secret: Option<Secret>) -> Result<ClientAuthentication, String> {
    match (name, secret) {
        (None | Some(AuthenticationName::Public), None) => Ok(ClientAuthentication::Public),
        (None, Some(secret)) => Ok(ClientAuthentication::Discovered(secret)),
        (Some(AuthenticationName::Basic), Some(secret)) => Ok(ClientAuthentication::Basic(secret)),
        (Some(AuthenticationName::Post), Some(secret)) => Ok(ClientAuthentication::Post(secret)),
        (Some(AuthenticationName::Public), Some(_)) => {
            Err("token_endpoint_auth_method is \"none\", but a client secret is set; remove one".to_owned())
        }
        (Some(AuthenticationName::Basic | AuthenticationName::Post), None) => {
            Err("token_endpoint_auth_method needs a secret; set client_secret_file".to_owned())
        }
    }
}

/// Returns the host of the issuer, which a person may recognise.
fn default_name(issuer: &str) -> String {
    let host = Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| issuer.to_owned()).chars().take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default)]
        identity_providers: Vec<ProviderTable>,
    }

    fn read(text: &str) -> Result<Vec<ProviderSettings>, Vec<String>> {
        let file: File = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
        from_tables(file.identity_providers, Path::new("/nowhere"), Duration::from_secs(60))
    }

    fn table(rest: &str) -> String {
        format!(
            "[[identity_providers]]\nid = \"one\"\nissuer = \"https://one.example\"\nclient_id = \"gate\"\n{rest}\n"
        )
    }

    #[test]
    fn four_settings_are_enough() {
        let providers = read(&table("client_secret = \"hunter2\"")).unwrap();
        assert_eq!(providers[0].name, "one.example");
        assert_eq!(providers[0].scopes, ["openid", "profile"]);
        assert_eq!(providers[0].authentication, ClientAuthentication::Discovered(Secret::new("hunter2".to_owned())));
        assert_eq!(providers[0].bearer_audiences(), ["gate"]);
        let public = read(&table("audiences = [\"app\"]")).unwrap();
        assert_eq!(public[0].authentication, ClientAuthentication::Public);
        assert_eq!(public[0].bearer_audiences(), ["gate", "app"]);
    }

    #[test]
    fn each_fault_names_its_key() {
        for (rest, named) in [
            ("scopes = [\"profile\"]", "openid"),
            ("scopes = [\"openid\", \"offline_access\"]", "offline_access"),
            ("scopes = [\"openid profile\"]", "scopes"),
            ("acr_values = [\"\"]", "acr_values"),
            ("name = \" \"", "name"),
            ("logo = \"missing.png\"", "logo"),
            ("client_secret = \"\"", "client_secret"),
            ("client_secret_file = \"missing\"", "client_secret_file"),
            ("client_secret = \"a\"\nclient_secret_file = \"b\"", "both set"),
            ("token_endpoint_auth_method = \"client_secret_post\"", "client_secret_file"),
            ("token_endpoint_auth_method = \"none\"\nclient_secret = \"a\"", "none"),
            ("token_endpoint_auth_method = \"private_key_jwt\"", "private_key_jwt"),
            ("audiences = [\"https://one.example/\"]", "audiences"),
            ("secret = \"a\"", "secret"),
        ] {
            let faults = read(&table(rest)).unwrap_err().join("\n");
            assert!(faults.contains(named), "{rest}: {faults}");
        }
    }

    #[test]
    fn an_id_is_a_path_segment_and_no_other_prefix() {
        for id in ["", "A", "a b", "a:b", "a/b", "callback", "wechat", "demo", &"a".repeat(33)] {
            assert!(id_fault(id).is_some(), "{id}");
        }
        for id in ["oidc", "acme-2"] {
            assert_eq!(id_fault(id), None, "{id}");
        }
    }

    #[test]
    fn an_issuer_is_https_or_this_machine() {
        for issuer in [
            "",
            "one.example",
            "http://one.example",
            "ftp://one.example",
            "https://a@one.example",
            "https://one.example?x",
            "https://one.example/.well-known/openid-configuration",
        ] {
            assert!(issuer_fault(issuer).is_some(), "{issuer}");
        }
        for issuer in ["https://one.example", "https://one.example/a/", "http://127.0.0.1:9/api", "http://localhost:1"]
        {
            assert_eq!(issuer_fault(issuer), None, "{issuer}");
        }
    }

    #[test]
    fn ids_and_issuers_differ() {
        let faults = read(&[table(""), table("")].concat()).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:#?}");
    }

    proptest! {
        #[test]
        fn any_table_is_read_or_its_faults_are_named(
            key in "(id|name|issuer|client_id|scopes|acr_values|audiences|sign_out|client_secret)",
            value in "(\"[ -!#-\\[\\]-~]{0,12}\"|\\[\"[ -!#-\\[\\]-~]{0,12}\"\\]|[0-9]{1,4}|true)",
        ) {
            if let Err(faults) = read(&format!("[[identity_providers]]\n{key} = {value}\n")) {
                prop_assert!(!faults.is_empty());
            }
        }
    }
}

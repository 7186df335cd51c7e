//! The checks of the `[[clients]]` tables of the TOML file.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::openid::{OpenIdClient, TokenAuth};
use super::openid_tables;
use super::scopes::claims_of;
use super::table::ClientTable;
use super::theme::Theme;
use super::{Client, Clients, Connector, MAX_AUTH_AGES, TICKET_TTLS};
use crate::qr::Logo;
use crate::signer::RESERVED_CLAIMS;
use crate::ticket::{ClientId, Freshness, MatchPolicy};
use crate::urls::{is_plain_http, parse_origin};

/// The largest logo file, in bytes.
const MAX_LOGO_BYTES: usize = 64 * 1024;
/// The longest client id, in characters.
const MAX_ID_CHARS: usize = 64;
/// The maximum number of `acr_values`. They are part of each ticket, and of the address of the provider's page.
const MAX_ACR_VALUES: usize = 8;
/// The maximum length of one of them, in characters: tokens may have no longer `acr`.
const MAX_ACR_CHARS: usize = 255;

/// Checks the tables. Paths of logos start at `directory`. If the gateway `is_https`, URLs of clients must be https as well,
/// except for localhost. `policy_of` returns how people compare the screens in a connector's sign-ins, or `None`
/// if the file does not set that connector up.
///
/// # Errors
/// All faults, each with its client and a fix.
pub fn from_tables(
    tables: Vec<ClientTable>,
    directory: &Path,
    is_https: bool,
    policy_of: impl Fn(Connector) -> Option<MatchPolicy>,
) -> Result<Clients, Vec<String>> {
    let mut faults = Vec::new();
    let mut ids = HashSet::new();
    let mut all = Vec::new();
    if tables.is_empty() {
        faults
            .push("the file has no [[clients]]; add one, or run without the file to have the client `web`".to_owned());
    }
    for table in tables {
        if !ids.insert(table.id.clone()) {
            faults.push(format!("client {:?}: two clients have this id; ids must differ", table.id));
        }
        match from_table(table, directory, is_https, &policy_of) {
            Ok(client) => all.push(Arc::new(client)),
            Err(found) => faults.extend(found),
        }
    }
    // The list would lack a client with a fault of its own.
    if faults.is_empty() {
        faults = audience_faults(&all);
    }
    if faults.is_empty() { Ok(Clients { all }) } else { Err(faults) }
}

/// Returns the faults of `audiences` that are no URIs: they must be the ids of other clients, which then may introspect the tokens.
fn audience_faults(clients: &[Arc<Client>]) -> Vec<String> {
    let may_ask = |id: &str| {
        let is_confidential = |openid: &OpenIdClient| openid.token_auth != TokenAuth::None;
        clients.iter().any(|client| client.id.0 == id && client.openid.as_deref().is_some_and(is_confidential))
    };
    let mut faults = Vec::new();
    for client in clients {
        let audiences = client.openid.iter().flat_map(|openid| &openid.audiences);
        for id in audiences.filter(|audience| Url::parse(audience).is_err()) {
            let fault = if *id == client.id.0 {
                "is the client itself, which an access token is never for; remove it"
            } else if !may_ask(id) {
                "is not an absolute URI without a fragment, and not the id of another client with redirect_uris and a secret"
            } else {
                continue;
            };
            faults.push(format!("client {:?}: audiences: {id:?} {fault}", client.id.0));
        }
    }
    faults
}

fn from_table(
    table: ClientTable,
    directory: &Path,
    is_https: bool,
    policy_of: impl Fn(Connector) -> Option<MatchPolicy>,
) -> Result<Client, Vec<String>> {
    let mut faults = Vec::new();
    let id = table.id.clone();
    let mut fault = |text: String| faults.push(format!("client {id:?}: {text}"));

    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.chars().count() > MAX_ID_CHARS || !id.chars().all(allowed) {
        fault(format!("an id must have 1 to {MAX_ID_CHARS} characters from a-z A-Z 0-9 - _ ."));
    }
    for origin in &table.origins {
        if !is_origin(origin) {
            fault(format!(
                "origins: {origin:?} is not an origin; write it like \"https://app.example.com\", without a path"
            ));
        }
    }
    if table.return_to.is_some() {
        fault(
            "return_to: removed; set redirect_uris and use response_mode=form_post (docs/openid-connect.md#from-return_to)"
                .to_owned(),
        );
    }
    // An attacker who can change such a page in transit could take over its sign-ins and read the JWTs that it receives.
    for url in &table.origins {
        if is_https && Url::parse(url).is_ok_and(|url| is_plain_http(&url)) {
            fault(format!(
                "origins: {url:?} is not https, while the gateway is; use https://, or http://localhost for a test"
            ));
        }
    }
    if table.name.as_deref().is_some_and(|name| name.trim().is_empty()) {
        fault("name: it is empty; set one, or omit it to show the id".to_owned());
    }
    for claim in table.claims.iter().flatten() {
        if RESERVED_CLAIMS.contains(&claim.as_str()) {
            fault(format!("claims: the gateway itself sets {claim:?}; remove it from the list"));
        }
    }
    let openid = openid_tables::read(&table, directory, is_https, &mut fault);
    let match_policy = match_policy(table.connector, table.match_policy, policy_of).unwrap_or_else(|text| {
        fault(text);
        MatchPolicy::None
    });
    let freshness = freshness(table.max_auth_age.as_deref(), table.acr_values, table.connector, &mut fault);
    if table.flows.is_empty() {
        fault("flows: it is empty; name \"login\", \"share\" or both, or omit it for \"login\"".to_owned());
    }
    let ticket_ttl = match table.ticket_ttl.as_deref().map(humantime::parse_duration) {
        None => None,
        Some(Ok(ttl)) if TICKET_TTLS.contains(&ttl) => Some(ttl),
        Some(_) => {
            fault("ticket_ttl: use a time from \"5s\" to \"30m\"".to_owned());
            None
        }
    };
    let logo = match table.logo.map(|path| read_logo(&directory.join(path))) {
        None => None,
        Some(Ok(logo)) => Some(logo),
        Some(Err(text)) => {
            fault(text);
            None
        }
    };
    let theme = Theme::read(table.color.as_deref(), table.color_dark.as_deref()).unwrap_or_else(|texts| {
        texts.into_iter().for_each(&mut fault);
        None
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let of_scopes = || {
        let scopes = openid.iter().flat_map(|openid| &openid.scopes);
        scopes.flat_map(|scope| claims_of(scope)).map(|claim| (*claim).to_owned()).collect()
    };
    let mut claims: Vec<String> = table.claims.unwrap_or_else(of_scopes);
    if let Some(known) = table.connector.map(Connector::claim)
        && !claims.iter().any(|claim| claim == known)
    {
        claims.push(known.to_owned());
    }
    Ok(Client {
        name: table.name.unwrap_or_else(|| id.clone()),
        id: ClientId(id),
        origins: table.origins,
        ticket_ttl,
        logo,
        theme,
        claims,
        match_policy,
        freshness,
        flows: table.flows,
        connector: table.connector,
        openid: openid.map(Arc::new),
    })
}

/// Returns how people compare the screens: as the client's table says, or as its connector requires.
fn match_policy(
    connector: Option<Connector>,
    given: Option<MatchPolicy>,
    policy_of: impl Fn(Connector) -> Option<MatchPolicy>,
) -> Result<MatchPolicy, String> {
    let Some(connector) = connector else { return Ok(given.unwrap_or_default()) };
    let name = connector.as_str();
    let policy = policy_of(connector)
        .ok_or_else(|| format!("connector: the file has no [connectors.{name}]; add it, or omit connector"))?;
    if given.is_some_and(|given| given != policy) {
        return Err(format!(
            "match: consent of [connectors.{name}] decides how people compare the screens; omit match"
        ));
    }
    Ok(policy)
}

/// Returns what the client requires of the approver's sign-in, and records the faults.
fn freshness(
    max_auth_age: Option<&str>,
    acr_values: Vec<String>,
    connector: Option<Connector>,
    mut fault: impl FnMut(String),
) -> Freshness {
    let secs = |text: &str| {
        let age = humantime::parse_duration(text).ok().filter(|age| MAX_AUTH_AGES.contains(age))?;
        u32::try_from(age.as_secs()).ok()
    };
    let max_auth_age_secs = max_auth_age.and_then(secs);
    if max_auth_age.is_some() && max_auth_age_secs.is_none() {
        fault("max_auth_age: use a time from \"1m\" to \"30d\"".to_owned());
    }
    if acr_values.len() > MAX_ACR_VALUES || !acr_values.iter().all(|value| is_acr_value(value)) {
        fault(format!(
            "acr_values: list at most {MAX_ACR_VALUES} values, each of 1 to {MAX_ACR_CHARS} printable ASCII characters without \
             spaces"
        ));
    }
    let freshness = Freshness { max_auth_age_secs, acr_values, request_max_age_secs: None };
    // The connector's service states neither the time nor the strength of the sign-in, so nobody could ever confirm.
    if let Some(connector) = connector
        && !freshness.is_empty()
    {
        let name = connector.as_str();
        fault(format!("max_auth_age, acr_values: sign-ins with {name} have no such statements; omit them"));
    }
    freshness
}

/// Returns whether a provider can be asked for this class: a request separates the values by spaces (OpenID Connect Core
/// §3.1.2.1).
fn is_acr_value(text: &str) -> bool {
    (1..=MAX_ACR_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns whether `text` is an origin exactly as a browser sends it (RFC 6454 §6.2). Any other form would never match.
fn is_origin(text: &str) -> bool {
    parse_origin(text).is_some_and(|url| url.origin().ascii_serialization() == text)
}

/// Reads a logo, a PNG.
///
/// # Errors
/// The fault, which names the file.
pub(crate) fn read_logo(path: &Path) -> Result<Logo, String> {
    let png = std::fs::read(path).map_err(|error| format!("logo: cannot read {}: {error}", path.display()))?;
    if png.len() > MAX_LOGO_BYTES {
        return Err(format!("logo: {} is larger than {MAX_LOGO_BYTES} bytes", path.display()));
    }
    Logo::from_png(png)
        .map_err(|error| format!("logo: {} must be a PNG of at most 2048 × 2048 pixels; {error}", path.display()))
}

#[cfg(test)]
mod tests;

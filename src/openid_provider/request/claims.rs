//! The parameter `claims` (OpenID Connect Core §5.5).

use serde_json::{Map, Value};

use crate::openid_provider::failure::AuthorizationError::{self, InvalidRequest};
use crate::ticket::RequestedClaims;

/// The longest parameter, in bytes.
const MAX_BYTES: usize = 4_096;
/// The error for an invalid parameter.
const MALFORMED: AuthorizationError = InvalidRequest("claims must be a JSON object of at most 4096 bytes.");

/// The content of the parameter. Unknown members are ignored, as the specification says.
#[derive(Debug, Default)]
pub(super) struct ClaimsParameter {
    /// The names of claims that the client may have, by place.
    pub(super) names: RequestedClaims,
    /// The authentication context classes, the preferred one first.
    pub(super) acr: Vec<String>,
    /// Whether the person must have signed in with one of those classes.
    pub(super) is_acr_essential: bool,
    /// The only person who may sign in.
    pub(super) subject: Option<String>,
}

impl ClaimsParameter {
    /// Reads the parameter of a client that may have the claims in `allowed`.
    ///
    /// # Errors
    /// If it is not an object of objects, or too long.
    pub(super) fn read(text: Option<&str>, allowed: &[String]) -> Result<Self, AuthorizationError> {
        let Some(text) = text else { return Ok(Self::default()) };
        if text.len() > MAX_BYTES {
            return Err(MALFORMED);
        }
        let claims: Map<String, Value> = serde_json::from_str(text).map_err(|_error| MALFORMED)?;
        let id_token = place(&claims, "id_token")?;
        let userinfo = place(&claims, "userinfo")?;
        let names = |place: &Map<String, Value>| {
            let known = allowed.iter().filter(|name| place.contains_key(name.as_str()));
            known.cloned().collect()
        };
        let acr = id_token.get("acr");
        let values = |request: &Value| {
            let one = request.get("value").into_iter();
            let several = request.get("values").and_then(Value::as_array).into_iter().flatten();
            one.chain(several).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let acr_values = acr.map(values).unwrap_or_default();
        let is_essential = acr.and_then(|request| request.get("essential")).and_then(Value::as_bool) == Some(true);
        let subject = [&id_token, &userinfo].into_iter().find_map(|place| place.get("sub")?.get("value")?.as_str());
        Ok(Self {
            names: RequestedClaims { id_token: names(&id_token), userinfo: names(&userinfo) },
            // Essential without a value asks for the claim, whatever its value is.
            is_acr_essential: is_essential && !acr_values.is_empty(),
            acr: acr_values,
            subject: subject.map(str::to_owned),
        })
    }
}

fn place(claims: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, AuthorizationError> {
    match claims.get(name) {
        Some(Value::Object(place)) => Ok(place.clone()),
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(MALFORMED),
    }
}

//! The credentials of the parties of a run: the tokens of approvers, and the secret of an app.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::api::{Api, ApiError, Approver};
use crate::openid::App;
use crate::settings::Settings;

/// How many demo users sign in as approvers.
const APPROVERS: usize = 8;
/// The maximum length of a token or secret, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Returns the app of OpenID sign-ins, whose secret is in `file`.
///
/// # Errors
/// If the file does not contain a secret.
pub fn app(settings: &Settings, file: Option<&Path>) -> anyhow::Result<Option<App>> {
    let (Some(openid), Some(client_id), Some(file)) = (settings.scenario.openid(), &settings.client_id, file) else {
        return Ok(None);
    };
    let (secret, redirect_uri) = (read_word(file, "secret")?, openid.redirect_uri.clone());
    Ok(Some(App { client_id: client_id.clone(), secret, redirect_uri }))
}

/// Returns the only word in a file, which should be a `kind`.
fn read_word(path: &Path, kind: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let word = text.trim();
    if word.is_empty() || word.len() > MAX_TOKEN_BYTES || !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{} does not contain a {kind}", path.display());
    }
    Ok(word.to_owned())
}

/// Returns the approver of the token in `file`; without a file, demo users.
///
/// # Errors
/// If the file does not contain a token, or no demo user can sign in.
pub async fn sign_in_approvers(api: &Api, file: Option<&Path>) -> anyhow::Result<Vec<Approver>> {
    if let Some(path) = file {
        return Ok(vec![Approver { tokens: vec![read_word(path, "token")?] }]);
    }
    let mut approvers = Vec::new();
    for number in 1..=APPROVERS {
        match api.sign_in(&format!("Loadgen {number}")).await {
            Ok(approver) => approvers.push(approver),
            Err(error) if error.is_not_found() => bail!(
                "the gateway does not run the demo; set --approver-token-file to a file with a token of its identity provider"
            ),
            // A rate limit may allow fewer sign-ins.
            Err(ApiError::Refused { .. }) if !approvers.is_empty() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(approvers)
}

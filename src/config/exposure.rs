//! Warns of secrets that other users can read: in files with open permissions, and on the command line, which every user of
//! the machine can list.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::flags::Flags;

/// The permissions of other users.
const OTHERS: u32 = 0o007;
/// The permissions of the file's group.
const GROUP: u32 = 0o070;

/// Returns a warning for each secret that others can read. `files` are the files with secrets that the TOML file names.
pub(super) fn warnings(flags: &Flags, files: &[PathBuf]) -> Vec<String> {
    let open = flags.provenance.command_line_secrets.iter().filter(|flag| {
        // A Redis URL holds a secret only if it has a password.
        flag.as_str() != "redis-url" || flags.redis_url.as_deref().is_some_and(has_password)
    });
    let on_command_line = open.map(|flag| {
        let variable = flag.to_uppercase().replace('-', "_");
        format!(
            "--{flag} holds a secret and is on the command line, where every user of this machine can read it; use \
             --{flag}-file or SCANGATE_{variable}_FILE"
        )
    });
    let named = [&flags.identity_secret_file, &flags.oidc_client_secret_file, &flags.redis_url_file];
    let named = named.into_iter().flatten().cloned();
    let keys = flags.keys_dir.as_deref().map(keys).unwrap_or_default();
    let mut secrets: Vec<PathBuf> = named.chain(keys).chain(files.iter().cloned()).collect();
    secrets.sort();
    secrets.dedup();
    on_command_line.chain(secrets.iter().filter_map(|path| readable_by_others(path))).collect()
}

fn keys(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "pem")).collect()
}

/// Returns a warning with a fix if others can read the file.
///
/// A file of another owner that its group can read is correct: a Secret that Kubernetes mounts with `fsGroup`, or a file that
/// root created for the gateway's group. The gateway can read such a file only by the group's permissions.
fn readable_by_others(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.permissions().mode();
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    let (readers, change) = match (mode & OTHERS != 0, mode & GROUP != 0 && is_own) {
        (true, _) if is_own => ("other users", "600"),
        (true, _) => ("other users", "o="),
        (false, true) => ("its group", "600"),
        (false, false) => return None,
    };
    let path = path.display();
    Some(format!("{path} holds a secret and can be read by {readers}; run `chmod {change} {path}`"))
}

/// Returns whether a Redis URL holds a password: after the user's name, or in a parameter.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let parameters = query.split('&').filter_map(|pair| pair.split_once('='));
    login.split_once(':').is_some_and(|(_, password)| !password.is_empty())
        || parameters.into_iter().any(|(name, value)| matches!(name, "pass" | "sentinel_password") && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_in_every_part_of_a_redis_url() {
        for url in [
            "redis://:secret@127.0.0.1/",
            "rediss://ada:secret@h:6379/2",
            "redis+unix:///run/redis.sock?db=1&pass=secret",
            "redis-sentinel://h:1,i:2/name?sentinel_user=a&sentinel_password=secret",
            "redis-cluster://ada:s@cret@h:1,i:2",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in ["redis://127.0.0.1:6379/1", "redis://ada@h", "redis+unix:///run/a:b@c?db=1", "redis://h?pass=", "x"]
        {
            assert!(!has_password(url), "{url}");
        }
    }

    #[test]
    fn a_readable_secret_file_is_reported_and_a_private_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "x").unwrap();
        for (mode, expected) in [
            (0o600, None),
            (0o400, None),
            (0o640, Some("its group")),
            (0o440, Some("its group")),
            (0o604, Some("other users")),
            (0o644, Some("other users")),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let warning = readable_by_others(&path);
            assert_eq!(warning.is_some(), expected.is_some(), "{mode:o}: {warning:?}");
            assert!(expected.is_none_or(|readers| warning.unwrap().contains(readers)), "{mode:o}");
        }
    }
}

//! Profiles: URLs and identities that `agentidp login` has stored in a file that only its owner can read.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use toml::{Table, Value};

use crate::failure::Failure;
use crate::system::variable;

/// The profile that is used if no other is named.
pub const DEFAULT: &str = "default";

/// A service and an identity there.
#[derive(Clone)]
pub struct Profile {
    /// URL of the service.
    pub url: String,
    /// `client_id` of the caller.
    pub client_id: String,
    /// The caller's secret, if it has one.
    pub client_secret: Option<SecretString>,
    /// The caller's private key, if it has one.
    pub private_key: Option<PathBuf>,
}

/// Returns the path of the file of profiles.
///
/// Returns [`Failure`] if neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub fn path() -> Result<PathBuf, Failure> {
    let folder = match (variable("XDG_CONFIG_HOME"), variable("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => Path::new(&home).join(".config"),
        (None, None) => return Err(Failure::misused("profiles need HOME or XDG_CONFIG_HOME to be set")),
    };
    Ok(folder.join("agentidp").join("config.toml"))
}

fn read(path: &Path) -> Result<Table, Failure> {
    let shown = path.display();
    let text = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => return Err(Failure::misused(format!("{shown} cannot be read: {error}"))),
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            return Err(Failure::misused(format!(
                "{shown} contains secrets and others can read it; run: chmod 600 {shown}"
            )));
        }
        Ok(_) => std::fs::read_to_string(path),
    };
    let text = text.map_err(|error| Failure::misused(format!("{shown} cannot be read: {error}")))?;
    // The message of the parser would quote the line, which may contain a secret.
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Failure::misused(format!("{shown}, line {line}: this is not TOML"))
    })
}

/// Returns the names of the profiles, each with its URL and its `client_id`.
pub fn all() -> Result<Vec<(String, Profile)>, Failure> {
    let path = path()?;
    let table = read(&path)?;
    let entry = |(name, value): (&String, &Value)| Ok((name.clone(), parse(&path, name, value)?));
    table.iter().map(entry).collect()
}

/// Returns the profile with this name; `None` if there is no such profile.
pub fn find(name: &str) -> Result<Option<Profile>, Failure> {
    let Ok(path) = path() else { return Ok(None) };
    read(&path)?.get(name).map(|value| parse(&path, name, value)).transpose()
}

fn parse(path: &Path, name: &str, value: &Value) -> Result<Profile, Failure> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let needed = |field: &str| {
        text(field).ok_or_else(|| {
            Failure::misused(format!("{}: the profile {name:?} has no {field:?}", path.display()))
        })
    };
    Ok(Profile {
        url: needed("url")?,
        client_id: needed("client_id")?,
        client_secret: text("client_secret").map(Into::into),
        private_key: text("private_key").map(Into::into),
    })
}

/// Stores a profile in place of the one with its name, if there is one. A reader sees the old file or the new one.
pub fn store(name: &str, profile: &Profile) -> Result<PathBuf, Failure> {
    let path = path()?;
    let folder = path.parent().expect("the file is in a folder");
    let wrong = |error| Failure::misused(format!("{} cannot be written: {error}", path.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    // Another login waits, so that it does not replace the file by one without this profile.
    let lock = File::create(folder.join("config.lock")).map_err(wrong)?;
    lock.lock().map_err(wrong)?;
    let mut table = read(&path)?;
    let mut entry = Table::new();
    let key = profile.private_key.as_ref().map(|key| key.display().to_string());
    for (field, value) in [
        ("url", Some(profile.url.clone())),
        ("client_id", Some(profile.client_id.clone())),
        ("client_secret", profile.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned())),
        ("private_key", key),
    ] {
        if let Some(value) = value {
            entry.insert(field.to_owned(), value.into());
        }
    }
    table.insert(name.to_owned(), entry.into());
    let write = || -> std::io::Result<()> {
        // A link stays a link.
        let target = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        // A temporary file has mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(target.parent().unwrap_or(folder))?;
        file.write_all(table.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        Ok(())
    };
    write().map_err(wrong)?;
    Ok(path)
}

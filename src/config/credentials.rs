//! Who we are to the broker and to endpoints: read from files at start, and in no setting.

use super::endpoint::EndpointSettings;
use super::environment::Environment;
use super::error::ConfigError;
use super::mqtt::MqttSettings;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The most bytes of a user name or password.
const CREDENTIAL_LIMIT: u64 = 4096;

/// Who we are to the broker. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: Option<String>,
    /// The password, as the broker wants it.
    pub password: Option<Vec<u8>>,
    /// What is to be logged about the files.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl MqttSettings {
    /// Where the password is: the key's file, or systemd's credential `mqtt-password`.
    fn password_place(&self, environment: &Environment) -> Option<PathBuf> {
        let own = self.password_file.value.clone();
        own.or_else(|| credential(environment, "mqtt-password"))
    }

    pub(super) fn check_plaintext(&self, environment: &Environment) -> Result<(), ConfigError> {
        let Some(broker) = &self.broker.value else { return Ok(()) };
        let secret = broker.tls || broker.is_loopback() || self.allow_plaintext_password.value;
        match self.password_place(environment) {
            Some(_) if !secret => Err(ConfigError::Unset {
                key: "mqtt.allow-plaintext-password",
                problem: format!(
                    "the password would go to {} in plain text: write the url as mqtts:// with a \
                     broker that has a certificate, or set this to true if nobody can listen",
                    broker.host
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Reads the user name and password: of the keys, else of systemd's credentials
    /// `mqtt-username` and `mqtt-password`.
    ///
    /// # Errors
    /// [`ConfigError::Read`]: a file that is named and not there, empty, too long or (the user
    /// name) not UTF-8.
    pub fn credentials(&self, environment: &Environment) -> Result<Credentials, ConfigError> {
        let mut found = Credentials { username: self.username.value.clone(), ..Default::default() };
        if found.username.is_none()
            && let Some(file) = credential(environment, "mqtt-username")
        {
            let name = secret(&file)?;
            let name = String::from_utf8(name).map_err(|_| unreadable(&file, "not UTF-8"))?;
            found.username = Some(name);
        }
        if let Some(file) = self.password_place(environment) {
            found.password = Some(secret(&file)?);
            found.warnings.extend(exposed(&file));
        }
        Ok(found)
    }

    /// Our certificate and its key: the files that the keys name, else systemd's credentials
    /// `mqtt-cert` and `mqtt-key`.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if there is only one of the two credentials.
    pub fn identity(
        &self,
        environment: &Environment,
    ) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        // The configuration has checked that both are written or none.
        if let Some(own) = self.cert_file.value.clone().zip(self.key_file.value.clone()) {
            return Ok(Some(own));
        }
        match ["mqtt-cert", "mqtt-key"].map(|name| credential(environment, name)) {
            [Some(cert), Some(key)] => Ok(Some((cert, key))),
            [None, None] => Ok(None),
            [Some(file), None] => Err(unreadable(&file, "its key, `mqtt-key`, is not there")),
            [None, Some(file)] => {
                Err(unreadable(&file, "its certificate, `mqtt-cert`, is not there"))
            }
        }
    }
}

impl EndpointSettings {
    /// The key that it wants, of the file that is named or of systemd's credential `endpoint-NAME`, and
    /// what is to be logged about the file.
    ///
    /// # Errors
    /// [`ConfigError::Read`]: a file that is named and not there, empty, too long, or no plain text.
    pub fn api_key(
        &self,
        environment: &Environment,
    ) -> Result<(Option<String>, Vec<String>), ConfigError> {
        let own = || credential(environment, &format!("endpoint-{}", self.name));
        let Some(file) = self.api_key_file.clone().or_else(own) else {
            return Ok((None, Vec::new()));
        };
        let key = String::from_utf8(secret(&file)?).ok();
        // It goes into a header.
        let key = key.filter(|key| key.bytes().all(|b| b.is_ascii_graphic()));
        let key = key.ok_or_else(|| unreadable(&file, "not one line of plain text"))?;
        Ok((Some(key), exposed(&file).into_iter().collect()))
    }
}

/// A file of `$CREDENTIALS_DIRECTORY`, if it is there.
fn credential(environment: &Environment, name: &str) -> Option<PathBuf> {
    let dir = Path::new(environment.get("CREDENTIALS_DIRECTORY")?);
    Some(dir.join(name)).filter(|file| file.is_file())
}

/// The file's bytes without the newline at their end.
fn secret(file: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(CREDENTIAL_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|e| unreadable(file, &e.to_string()))?;
    if bytes.len() as u64 > CREDENTIAL_LIMIT {
        return Err(unreadable(file, "more than 4096 bytes"));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() { Err(unreadable(file, "empty")) } else { Ok(bytes) }
}

fn unreadable(file: &Path, problem: &str) -> ConfigError {
    ConfigError::Read { file: file.display().to_string(), problem: problem.into() }
}

/// A warning if others can read the file.
fn exposed(file: &Path) -> Option<String> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    let shown = file.display();
    (mode & 0o004 != 0).then(|| format!("{shown} can be read by every user: chmod o-r {shown}"))
}

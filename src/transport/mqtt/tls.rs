//! Certificates and keys from files, made into a TLS configuration once, at start.

use rumqttc::tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rumqttc::tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most bytes of a file of certificates; a system's own has about 220 kB.
const FILE_LIMIT: u64 = 4 << 20;
/// Where systems keep the certificates they trust: Debian and Alpine, Fedora, openSUSE, BSD.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to trust, and who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, one or several certificates; none: what the system trusts (`$SSL_CERT_FILE`, or the
    /// file of the distribution).
    pub ca: Option<PathBuf>,
    /// Our certificate, with what is between it and the root, and its key; PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file that cannot be used. The message names it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// A TLS configuration; cheap to clone.
#[derive(Clone)]
pub struct Tls(pub(super) Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file: not there, too large, no certificate or key in it, a key that
    /// is encrypted or not the certificate's.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let ca = files.ca.clone().unwrap_or_else(system_roots);
        let roots = roots(&ca)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(&ca, e))?
            .with_root_certificates(roots);
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|e| identity_fault(certificate, key, &e))?,
        };
        // One connection at a time: what it would remember is one session, not 256.
        config.resumption = rustls::client::Resumption::in_memory_sessions(1);
        Ok(Self(Arc::new(config)))
    }
}

fn system_roots() -> PathBuf {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|p| p.is_file());
    named.or_else(known).unwrap_or_else(|| SYSTEM_ROOTS[0].into())
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // A bundle may have some that this library does not understand; one will do.
    let (added, _) = roots.add_parsable_certificates(certificates(file)?);
    match added {
        0 => Err(fault(file, "none of its certificates can be read")),
        _ => Ok(roots),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found.map_err(|e| fault(file, e))? {
        none if none.is_empty() => Err(fault(file, "no PEM certificate in it")),
        found => Ok(found),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| match e {
        pem::Error::NoItemsFound if holds(&bytes, b"ENCRYPTED") => fault(
            file,
            "the key is encrypted; slmd asks for no passphrase: store it in plain \
             (`openssl pkey -in KEY -out PLAIN`) and readable by slmd only",
        ),
        pem::Error::NoItemsFound => fault(file, "no PEM private key in it"),
        e => fault(file, e),
    })
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

fn identity_fault(certificate: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            fault(key, format!("not the key of the certificate {}", certificate.display()))
        }
        rustls::Error::InvalidCertificate(e) => fault(certificate, format!("{e:?}")),
        other => fault(key, other),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|f| f.take(FILE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|e| fault(file, e))?;
    match bytes.len() as u64 > FILE_LIMIT {
        true => Err(fault(file, format!("more than {FILE_LIMIT} bytes"))),
        false => Ok(bytes),
    }
}

fn fault(file: &Path, problem: impl ToString) -> TlsError {
    TlsError { file: file.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

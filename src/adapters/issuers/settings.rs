//! Settings, and the certificate authorities that are trusted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::private_network::PrivateNetwork;

/// Servers from which the keys of issuers may be fetched.
#[derive(Clone, Debug, Default)]
pub struct IssuerKeySettings {
    /// Addresses that are allowed although they are not globally routable (`ISSUER_PRIVATE_NETWORKS`).
    pub private_networks: Vec<PrivateNetwork>,
    /// File of certificates in PEM that are trusted in addition to those of the system (`ISSUER_CA_FILE`).
    pub ca_file: Option<PathBuf>,
}

impl IssuerKeySettings {
    /// Returns the configuration of TLS connections.
    pub(crate) fn tls(&self) -> Result<Tls, IssuerKeysError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|_| IssuerKeysError::NoAuthority(path.clone()))?;
            }
        }
        Ok(Tls { roots, connector: OnceLock::new() })
    }
}

/// The configuration of TLS connections.
///
/// The certificates of the system are read before the first connection, because many services never make one.
pub(crate) struct Tls {
    roots: RootCertStore,
    connector: OnceLock<TlsConnector>,
}

impl Tls {
    /// Returns the connector.
    pub(crate) fn connector(&self) -> &TlsConnector {
        self.connector.get_or_init(|| {
            let mut roots = self.roots.clone();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                tracing::warn!(
                    "no trusted certificates were found, so that no keys of issuers can be fetched; \
                     install the certificates of the system, or name a file of certificates in ISSUER_CA_FILE"
                );
            }
            let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider knows TLS 1.2 and 1.3")
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            // A resumed session would skip the check of the certificate.
            config.resumption = Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IssuerKeysError> {
    let unreadable = |source| IssuerKeysError::File { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(IssuerKeysError::NoAuthority(path.to_owned()));
    }
    Ok(certificates)
}

/// Reason that keys cannot be fetched at all.
#[derive(Debug, thiserror::Error)]
pub enum IssuerKeysError {
    /// The file of certificates cannot be read.
    #[error("ISSUER_CA_FILE: cannot read {path}; name a readable file of certificates in PEM", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: pem::Error,
    },
    /// The file has no certificate, or one that cannot be used.
    #[error("ISSUER_CA_FILE: {path} must contain certificates of authorities in PEM only", path = .0.display())]
    NoAuthority(PathBuf),
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_in_one_line_that_names_it() {
        let file = |content: &str| {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(content.as_bytes()).expect("written");
            file
        };
        let wrong = [
            file(""),
            file("no PEM"),
            file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            file("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"),
            file("-----BEGIN CERTIFICATE-----\nAAAA\n"),
        ];
        let absent = PathBuf::from("/does/not/exist.pem");
        let paths = wrong.iter().map(|file| file.path().to_owned()).chain([absent, std::env::temp_dir()]);
        for path in paths {
            let settings = IssuerKeySettings { ca_file: Some(path.clone()), ..IssuerKeySettings::default() };
            let error = settings.tls().err().expect("refused").to_string();
            assert!(
                error.starts_with("ISSUER_CA_FILE: ") && error.contains(path.to_str().expect("text")),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(IssuerKeySettings::default().tls().is_ok());
    }
}

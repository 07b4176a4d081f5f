//! TLS to PostgreSQL with rustls, as strict as `sslmode` requires.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Files of the certificate by which the server knows this client, and of its private key, in PEM.
pub struct ClientCertificate<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

/// Configuration of TLS connections.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Encrypts, and accepts any server (`prefer`, `require`).
    ///
    /// This protects against passive eavesdroppers only.
    pub fn unverified(certificate: Option<&ClientCertificate<'_>>) -> Result<Self, TlsError> {
        Self::with(Verifier { trusted: None, checks_name: false }, certificate)
    }

    /// Accepts a server whose certificate chains to one of the roots.
    ///
    /// The roots are those of the file, or the system's. With `checks_name` the certificate must also be valid for
    /// the host (`verify-full`). Without it, the name is not checked (`verify-ca`).
    pub fn verified(
        roots: Option<&Path>,
        checks_name: bool,
        certificate: Option<&ClientCertificate<'_>>,
    ) -> Result<Self, TlsError> {
        let certificates = match roots {
            Some(path) if path != Path::new("system") => of_file("sslrootcert", path)?,
            _ => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.clone());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| TlsError::NoRoots)?;
        Self::with(Verifier { trusted: Some(Trusted { chain, certificates }), checks_name }, certificate)
    }

    fn with(verifier: Verifier, certificate: Option<&ClientCertificate<'_>>) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let Some(ClientCertificate { certificate, key: path }) = certificate else {
            return Ok(Self(Arc::new(config.with_no_client_auth())));
        };
        let chain = of_file("sslcert", certificate)?;
        let key = PrivateKeyDer::from_pem_file(path).map_err(unreadable("sslkey", path))?;
        let config = config.with_client_auth_cert(chain, key);
        Ok(Self(Arc::new(config.map_err(|error| TlsError::ClientCertificate(error.to_string()))?)))
    }

    pub fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(ClientConfig::clone(&self.0))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn of_file(parameter: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable(parameter, path))?;
    certificates.collect::<Result<_, _>>().map_err(unreadable(parameter, path))
}

fn unreadable(parameter: &'static str, path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |error| TlsError::File(parameter, path.to_owned(), error.to_string())
}

/// Verifies a server's certificate as `sslmode` requires. The handshake signature is always checked.
#[derive(Debug)]
struct Verifier {
    /// Trust anchors; `None` accepts any certificate.
    trusted: Option<Trusted>,
    checks_name: bool,
}

#[derive(Debug)]
struct Trusted {
    chain: Arc<WebPkiServerVerifier>,
    /// Certificates of the anchors. A server certificate that is itself an anchor is accepted, since self-signed
    /// server certificates are common.
    certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(Trusted { chain, certificates }) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        if certificates.contains(certificate) {
            if self.checks_name {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The chain is verified before the name, so this error means that only the name is wrong.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Reason that TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file that a parameter names cannot be read.
    #[error("{0} {path}: {2}", path = .1.display())]
    File(&'static str, PathBuf, String),
    /// Certificate and key do not fit, or there is no certificate.
    #[error("sslcert and sslkey cannot be used: {0}")]
    ClientCertificate(String),
    /// No root certificate was found.
    #[error("sslrootcert: contains no trusted certificate")]
    NoRoots,
}

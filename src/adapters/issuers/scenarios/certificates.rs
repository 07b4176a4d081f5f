//! An authority, and certificates of servers.

use std::io::Write as _;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

struct Certificates {
    authority: String,
    /// Certificates with their keys, by name.
    servers: Vec<(&'static str, String)>,
}

/// Name, authority, names for which the certificate is valid, and days.
const SERVERS: [(&str, &str, &str, i32); 4] = [
    ("right", "ours", "DNS:localhost,DNS:keys.example,IP:127.0.0.1", 2),
    ("other authority", "another", "DNS:localhost,IP:127.0.0.1", 2),
    ("other host", "ours", "DNS:other.example,IP:127.0.0.2", 2),
    ("expired", "ours", "DNS:localhost,IP:127.0.0.1", -1),
];

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |script: &str| {
        let output =
            Command::new("sh").arg("-ec").arg(script).current_dir(&folder).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("readable");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for authority in ["ours", "another"] {
        run(&format!(
            "openssl req -x509 {key} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
        ));
    }
    let server = |(name, authority, names, days): (&'static str, &str, &str, i32)| {
        run(&format!(
            "openssl req {key} -subj /CN=server -keyout server.key -out server.csr
             printf 'subjectAltName = {names}' >server.ext
             openssl x509 -req -in server.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
                 -days {days} -extfile server.ext -out server.pem"
        ));
        (name, read("server.pem") + &read("server.key"))
    };
    let servers = SERVERS.map(server).to_vec();
    Certificates { authority: read("ours.pem"), servers }
});

/// Returns a file with the certificate of the authority that is trusted.
pub fn authority_file() -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(CERTIFICATES.authority.as_bytes()).expect("written");
    file
}

/// Returns the TLS of a server with the certificate of this name.
pub fn server(name: &str) -> TlsAcceptor {
    let (_, pem) = CERTIFICATES.servers.iter().find(|(known, _)| *known == name).expect("a name");
    let chain =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    TlsAcceptor::from(Arc::new(config))
}

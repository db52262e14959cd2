//! TLS settings to a connector.
//!
//! Its promise: the broker's certificate is verified, against the named CA file alone or else the system's roots;
//! files are read at each connection, so that a renewed certificate is picked up.

use std::fs;
use std::path::Path;

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Cause, Identity, Tls};

type Certificates = Vec<CertificateDer<'static>>;

/// Reads the files and builds the connector; blocks for some milliseconds.
pub(super) fn connector(tls: &Tls) -> Result<RustlsConnector, Cause> {
    let config = match &tls.ca_file {
        Some(file) => RustlsConnectorConfig::default().with_parsable_certificates(certificates(file)?),
        None => RustlsConnectorConfig::new_with_platform_verifier(),
    };
    match &tls.identity {
        None => config.connector_with_no_client_auth().map_err(|error| Cause::File(format!("TLS: {error}"))),
        Some(identity) => {
            let (chain, key) = load(identity)?;
            config
                .connector_with_single_cert(chain, key)
                .map_err(|error| Cause::File(format!("TLS: the client certificate and key do not work: {error}")))
        }
    }
}

fn load(identity: &Identity) -> Result<(Certificates, PrivateKeyDer<'static>), Cause> {
    match identity {
        Identity::Pem { cert_file, key_file } => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
                .map_err(|error| unusable(key_file, "an unencrypted private key in PEM", &error.to_string()))?;
            Ok((certificates(cert_file)?, key))
        }
        Identity::Pkcs12 { file, password } => {
            let expected = "PKCS#12 with a private key, opened by the password";
            let store = p12_keystore::KeyStore::from_pkcs12(&read(file)?, password.expose())
                .map_err(|error| unusable(file, expected, &error.to_string()))?;
            let (_, chain) = store.private_key_chain().ok_or_else(|| unusable(file, expected, "no private key"))?;
            let certificates = chain.chain().iter().map(|c| CertificateDer::from(c.as_der().to_vec())).collect();
            Ok((certificates, PrivatePkcs8KeyDer::from(chain.key().to_vec()).into()))
        }
    }
}

fn certificates(file: &Path) -> Result<Certificates, Cause> {
    let expected = "at least one certificate in PEM";
    let certificates: Certificates = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, pem::Error>>()
        .map_err(|error| unusable(file, expected, &error.to_string()))?;
    if certificates.is_empty() { Err(unusable(file, expected, "none found")) } else { Ok(certificates) }
}

fn read(file: &Path) -> Result<Vec<u8>, Cause> {
    fs::read(file).map_err(|error| Cause::File(format!("cannot read {}: {error}", file.display())))
}

fn unusable(file: &Path, expected: &str, error: &str) -> Cause {
    Cause::File(format!("{} is not {expected}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_unusable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.pem");
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "not PEM").unwrap();
        for (ca_file, says) in [(missing, "cannot read"), (empty, "is not at least one certificate")] {
            let text = connector(&Tls { ca_file: Some(ca_file.clone()), identity: None }).unwrap_err().to_string();
            assert!(text.contains(says) && text.contains(ca_file.to_str().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_wrong_pkcs12_password_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.p12");
        fs::write(&file, "neither").unwrap();
        let identity = Identity::Pkcs12 { file, password: crate::secret::Secret::new("hunter2") };
        let text = connector(&Tls { ca_file: None, identity: Some(identity) }).unwrap_err().to_string();
        assert!(text.contains("client.p12") && !text.contains("hunter2"), "{text}");
    }
}

//! TLS for what is not HTTP.
//!
//! Its promise: the other's certificate is verified, against the named CA file alone or else the machine's authorities,
//! and the same files are asked for in the same words as for HTTP.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::{BuildError, Settings, content};

/// A client's side of TLS 1.2 and 1.3.
///
/// # Errors
/// Names the setting that cannot work.
pub(crate) fn client(settings: &Settings) -> Result<Arc<ClientConfig>, BuildError> {
    let unusable = |error: rustls::Error| {
        let problem =
            format!("no TLS client can be built: {error}; install the machine's ca-certificates or set ca_file");
        BuildError::new("ca_file", problem)
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = match &settings.ca_file {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => builder.with_platform_verifier().map_err(unusable)?,
    };
    let (cert, key) = match (&settings.cert_file, &settings.key_file) {
        (None, None) => return Ok(Arc::new(builder.with_no_client_auth())),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(BuildError::new("key_file", "missing, but cert_file is set: both are needed")),
        (None, Some(_)) => return Err(BuildError::new("cert_file", "missing, but key_file is set: both are needed")),
    };
    let wrong = || {
        let problem = format!("{} and {} are not a PEM certificate and its key", cert.display(), key.display());
        BuildError::new("cert_file", problem)
    };
    let chain = certificates("cert_file", cert)?;
    let key = PrivateKeyDer::from_pem_slice(&content("key_file", key)?).map_err(|_| wrong())?;
    builder.with_client_auth_cert(chain, key).map(Arc::new).map_err(|_| wrong())
}

fn roots(path: &Path) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates("ca_file", path)?);
    if taken == 0 {
        return Err(BuildError::new("ca_file", format!("{} holds no PEM certificate", path.display())));
    }
    Ok(roots)
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let text = content(setting, path)?;
    Ok(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let problem = |settings: &Settings| client(settings).unwrap_err().to_string();

        let text = problem(&Settings { ca_file: Some(dir.path().join("missing.pem")), ..Settings::default() });
        assert!(text.starts_with("ca_file: cannot read") && text.contains("missing.pem"), "{text}");
        let text = problem(&Settings { ca_file: Some(empty.clone()), ..Settings::default() });
        assert!(text.ends_with("empty.pem holds no PEM certificate"), "{text}");
        let text = problem(&Settings { cert_file: Some(empty.clone()), ..Settings::default() });
        assert_eq!(text, "key_file: missing, but cert_file is set: both are needed");
        let text = problem(&Settings { cert_file: Some(empty.clone()), key_file: Some(empty), ..Settings::default() });
        assert!(text.starts_with("cert_file: ") && text.contains("are not a PEM certificate and its key"), "{text}");
    }
}

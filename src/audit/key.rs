//! The private key that checkpoints are signed with.
//!
//! Its promise: a key that was named is used or refused, never replaced; one of our own is made once, readable by the
//! daemon's user alone, and on disk before anything is signed with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Signer;

/// The key's file within the state directory, where the settings name no other.
pub const FILE: &str = "trail.key";

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// No key's file is longer, comments included.
const MOST: usize = 64 << 10;

/// Why there is no key. Each says the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// An error of input or output.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{0} holds no Ed25519 private key; make one: openssl genpkey -algorithm ed25519 -out {0}")]
    NoKey(PathBuf),
    /// No random numbers, it seems.
    #[error("no key could be made")]
    Unmade,
}

impl SignerError {
    /// Whether it may pass by itself: the disk is full, or fails.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::store::may_pass(source))
    }
}

/// Reads the key in `path`: PKCS #8, PEM.
///
/// # Errors
/// See [`SignerError`].
pub fn read(path: &Path) -> Result<Signer, SignerError> {
    let io = |source| SignerError::Io { path: path.to_owned(), source };
    let pem = fs::read(path).map_err(io)?;
    let pem = std::str::from_utf8(&pem).ok().filter(|pem| pem.len() <= MOST);
    let body = pem.and_then(|pem| pem.split_once(BEGIN)?.1.split_once(END)).map(|(body, _)| body);
    let der = body.and_then(|body| STANDARD.decode(body.split_whitespace().collect::<String>()).ok());
    let signer = der.and_then(|der| Signer::from_pkcs8(&der).ok());
    signer.ok_or_else(|| SignerError::NoKey(path.to_owned()))
}

/// Reads our own key in the state directory `dir`, or makes it (0600).
///
/// # Errors
/// See [`SignerError`].
pub fn read_or_make(dir: &Path) -> Result<Signer, SignerError> {
    let path = dir.join(FILE);
    let io = |source| SignerError::Io { path: path.clone(), source };
    if !path.try_exists().map_err(io)? {
        let pair = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map_err(|_| SignerError::Unmade)?;
        let pem = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(pair.as_ref()));
        make(dir, &path, pem.as_bytes()).map_err(io)?;
    }
    read(&path)
}

/// Under another name first: a crash leaves a whole key or none.
fn make(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("key.new");
    let _left_by_a_crash = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn it_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = read_or_make(dir.path()).unwrap().public();
        assert_eq!(read_or_make(dir.path()).unwrap().public(), made);
        assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_of_openssl_s_is_taken_and_openssl_takes_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("theirs.pem");
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", path.to_str().unwrap()]);
        let theirs = openssl(&["pkey", "-in", path.to_str().unwrap(), "-pubout"]);
        assert_eq!(read(&path).unwrap().public().pem(), theirs);
        let ours = read_or_make(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(openssl(&["pkey", "-in", path.to_str().unwrap(), "-pubout"]), ours.public().pem());
    }

    #[test]
    fn what_is_no_key_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for wrong in ["", "hello\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&path, wrong).unwrap();
            let error = read_or_make(dir.path()).unwrap_err().to_string();
            assert!(error.contains("openssl genpkey"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), wrong);
        }
    }
}

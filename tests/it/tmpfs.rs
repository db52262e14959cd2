//! A small disk that can be filled.
//!
//! Its promise: it is full when [`Tmpfs::fill`] says so, and gone with the test process, however that ends.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Mounts, and unmounts at the end of its input.
const KEEPER: &str = r#"
    trap '' INT TERM HUP QUIT
    mount -t tmpfs -o "size=$2" cadfd-test "$1" || exit
    echo mounted
    cat > /dev/null
    umount -l "$1"
"#;

/// A file system in memory.
pub(crate) struct Tmpfs {
    keeper: Child,
    dir: TempDir,
}

impl Tmpfs {
    /// With so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(dir.path()).arg(bytes.to_string());
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 8];
        let mounted = keeper.stdout.as_mut().unwrap().read_exact(&mut said);
        assert!(
            mounted.is_ok(),
            "no file system can be mounted here, which the tests of a full disk need: run them as root, \
             or as anyone with: unshare --map-root-user --mount make test"
        );
        Self { keeper, dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

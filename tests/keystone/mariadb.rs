//! MariaDB's server as a child process, for one Keystone.
//!
//! Its promise: private (own folder, a socket in it and no network), and gone with the test process, as the brokers are.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::daemon::eventually;
use crate::node::Home;

/// Where Debian has programs that a user's own path may lack.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// A running server with an empty database `keystone`.
pub(crate) struct MariaDb {
    // Declared before `home`: the server ends first.
    server: Child,
    home: Home,
}

impl MariaDb {
    pub(crate) async fn start() -> Self {
        let home = Home::new("cadfd-mariadb-");
        let installed = command(&home, "mariadb-install-db")
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .expect("mariadb-install-db is missing: run .ci/keystone, which installs it");
        assert!(
            installed.status.success(),
            "mariadb-install-db: {}\n{}",
            installed.status,
            String::from_utf8_lossy(&installed.stderr)
        );
        let log = File::create(home.dir().join("log")).unwrap();
        fs::write(home.dir().join("init.sql"), "CREATE DATABASE keystone;\n").unwrap();
        let mut server = command(&home, "mariadbd");
        server
            .arg(format!("--socket={}", home.dir().join("socket").display()))
            .arg(format!("--pid-file={}", home.dir().join("pid").display()))
            .arg(format!("--init-file={}", home.dir().join("init.sql").display()))
            .args(["--skip-networking", "--innodb-buffer-pool-size=64M", "--performance-schema=OFF"])
            // The data need not outlive the machine.
            .args(["--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        let server = server.spawn().expect("mariadbd is missing: run .ci/keystone, which installs it");
        home.guard(server.id());
        let mut mariadb = Self { server, home };
        mariadb.wait_until_it_listens().await;
        mariadb
    }

    /// Where its data are.
    pub(crate) fn dir(&self) -> &Path {
        self.home.dir()
    }

    /// SQLAlchemy's address of the database.
    pub(crate) fn url(&self) -> String {
        format!("mysql+pymysql://root@localhost/keystone?unix_socket={}", self.home.dir().join("socket").display())
    }

    async fn wait_until_it_listens(&mut self) {
        // It runs the file before it takes the first connection.
        let (server, dir) = (&mut self.server, self.home.dir().to_owned());
        eventually(|| {
            let said = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(server.try_wait().unwrap().is_none(), "mariadbd ended:\n{}", said());
            said().contains("ready for connections").then_some(())
        })
        .await;
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn command(home: &Home, program: &str) -> Command {
    let mut command = Command::new(program);
    // The machine's own settings are for its own server; this has to be the first argument.
    command.env("PATH", PATH).arg("--no-defaults").arg(format!("--datadir={}", home.dir().join("data").display()));
    // Two that are set up at a time take each other's temporary tables for their own.
    command.arg(format!("--tmpdir={}", home.dir().display())).arg("--innodb-log-file-size=8M");
    if rustix::process::geteuid().is_root() {
        command.arg("--user=root");
    }
    command
}

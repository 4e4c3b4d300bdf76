//! nginx in front of bridges, with the configuration that is shipped.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use colloquy::cli::serve::Addresses;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Data, PATIENCE, Process, Server, port::port, within};

/// A running nginx, killed when it is dropped.
pub(crate) struct Proxy {
    server: Server,
    _folder: TempDir,
    _child: Child,
}

impl Proxy {
    /// Starts nginx in front of these bridges and waits until it answers. Its server answers gRPC where the first bridge
    /// does.
    pub(crate) async fn before(bridges: &[&Process]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
        let folder = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx");
        let shipped = |name: &str| fs::read_to_string(shipped.join(name)).unwrap();
        let main = put(&shipped("nginx.conf"), "listen 80;", &format!("listen {address};"));
        fs::write(folder.path().join("nginx.conf"), main).unwrap();
        let own: String = bridges.iter().map(|bridge| format!("server {};\n", bridge.server().http())).collect();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| {
            let folder = folder.path().join(name);
            format!("{name}_temp_path {};\n", folder.display())
        });
        // As it is shipped, with other servers; and nothing outside the folder, so that anybody may run it.
        let shipped = shipped("upstream.conf");
        let (before, servers) = shipped.split_once("    server ").expect("it names servers");
        let (_, after) = servers.rsplit_once("fail_timeout=5s;").expect("it names servers");
        let upstream = format!("{}{before}{own}{after}", paths.concat());
        fs::write(folder.path().join("upstream.conf"), upstream).unwrap();

        // One process, so that nothing is left when it is killed; as root it would give up the right to its own folder.
        let process = format!("daemon off; master_process off; user root; pid {}/pid;", folder.path().display());
        let debian = Path::new("/usr/sbin/nginx");
        let mut command = Command::new(if debian.exists() { debian } else { Path::new("nginx") });
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf")).args(["-g", &process]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().expect("nginx is installed");
        let grpc = bridges.first().map(|bridge| bridge.server().grpc_address());
        let server = Server::elsewhere(Data::fresh().await, Addresses { grpc, http: Some(address), metrics: None });
        let visitor = server.visitor();
        within(PATIENCE, "nginx answers", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        assert_eq!(visitor.get("/health").await.0, 200);
        Self { server, _folder: folder, _child: child }
    }

    /// The node that its clients see.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.http()
    }
}

/// A text in which the one occurrence of something is replaced.
fn put(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(&format!("        {old}\n")).count(), 1, "{old}");
    text.replace(&format!("        {old}\n"), &format!("        {new}\n"))
}

//! Binds the ports and sockets that the configuration names. Knows nothing of the protocols on them.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

use crate::config::{Config, Listen};
use crate::serve::Listener;

/// Maximum number of connections that wait to be accepted. The system caps it at its own limit, 4096 by default on
/// Linux.
const BACKLOG: u32 = 4096;

/// Addresses of the listeners, as bound: port 0 is replaced by the real port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    pub webhooks: SocketAddr,
    /// An address, or `unix:` and a path.
    pub grpc: String,
    pub operations: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}")]
pub struct BindError {
    purpose: &'static str,
    address: String,
    source: io::Error,
}

pub(super) struct Listeners {
    pub webhooks: TcpListener,
    pub grpc: Listener,
    pub operations: TcpListener,
    pub addresses: Addresses,
}

impl Listeners {
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let (webhooks, webhooks_address) = bind_tcp("webhooks.listen", config.webhooks.listen)?;
        let (operations, operations_address) = bind_tcp("operations.listen", config.operations.listen)?;
        let (grpc, grpc_address) = match &config.grpc.listen {
            Listen::Tcp(address) => {
                let (listener, address) = bind_tcp("grpc.listen", *address)?;
                (Listener::Tcp(listener), address.to_string())
            }
            Listen::Unix(path) => {
                (Listener::Unix(bind_unix(path, config.grpc.socket_mode).await?), format!("unix:{}", path.display()))
            }
        };
        let addresses = Addresses { webhooks: webhooks_address, grpc: grpc_address, operations: operations_address };
        Ok(Self { webhooks, grpc, operations, addresses })
    }
}

/// Like [`TcpListener::bind`], but with a longer queue. While a queue overflows, new connections wait a second or more.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_tcp(purpose: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { purpose, address: address.to_string(), source };
    let listener = listen(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Binds a Unix socket and sets its mode. Until the mode is set, the umask decides which users may connect: that of
/// `serve` excludes all other users.
async fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, BindError> {
    let failed = |source| BindError { purpose: "grpc.listen", address: format!("unix:{}", path.display()), source };
    if is_left_over(path).await {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Whether the path is a socket without a listener, as a daemon leaves it behind. Anything else at the path belongs to
/// others.
async fn is_left_over(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refuses(path: &Path) -> bool {
        bind_unix(path, 0o600).await.is_err_and(|error| error.source.kind() == io::ErrorKind::AddrInUse)
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let [file, socket, link] = ["file", "socket", "link"].map(|name| directory.path().join(name));
        std::fs::write(&file, "somebody's").unwrap();
        assert!(refuses(&file).await);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's");

        let listening = bind_unix(&socket, 0o600).await.unwrap();
        assert!(refuses(&socket).await);
        drop(listening);
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert!(refuses(&link).await);
        assert!(link.is_symlink() && socket.exists());
        bind_unix(&socket, 0o640).await.unwrap();
        assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }
}

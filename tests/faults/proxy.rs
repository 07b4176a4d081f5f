//! A TCP proxy between one instance and one store, which can disturb their connections.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::pace::wait;

/// How the proxy treats the data that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Forwards each piece of data after this delay.
    Delay(Duration),
    /// Reads and holds everything, and forwards it once the mode changes, as after a partition.
    Blackhole,
    /// Forwards requests, and holds the answers.
    OneWay,
    /// Resets every connection, existing and new.
    Reset,
    /// Resets each connection in the middle of its requests, after this many bytes.
    CutAfter(usize),
}

/// The proxy between one instance and one store.
pub struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy to the server at that Unix socket.
    pub async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (socket, modes) = (socket.clone(), modes.clone());
                tokio::spawn(async move { connection(client, &socket, modes).await });
            }
        });
        Self { port, mode, task }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Forwards in both directions until one end closes.
/// A connection that is cut or reset is ended with a reset.
async fn connection(client: TcpStream, socket: &Path, modes: watch::Receiver<Mode>) {
    let pumping = async {
        client.set_nodelay(true)?;
        let server = UnixStream::connect(socket).await?;
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let asked = async {
            let mut sent = 0;
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let mut read = from_client.read(&mut buffer).await?;
                let mode = held(&modes, |mode| mode == Mode::Blackhole).await?;
                if let Mode::CutAfter(limit) = mode {
                    let left = limit.saturating_sub(sent);
                    sent += read;
                    if read > left {
                        read = left;
                        to_server.write_all(&buffer[..read]).await?;
                        return Err(io::Error::other("cut"));
                    }
                }
                if read == 0 {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&buffer[..read]).await?;
            }
        };
        let answered = async {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let read = from_server.read(&mut buffer).await?;
                held(&modes, |mode| matches!(mode, Mode::Blackhole | Mode::OneWay)).await?;
                if read == 0 {
                    return to_client.shutdown().await;
                }
                to_client.write_all(&buffer[..read]).await?;
            }
        };
        let mut until_reset = modes.clone();
        let outcome = tokio::select! {
            outcome = asked => outcome,
            outcome = answered => outcome,
            _ = until_reset.wait_for(|mode| *mode == Mode::Reset) => Err(io::Error::other("reset")),
        };
        Ok((outcome, from_client.unsplit(to_client)))
    };
    let outcome: io::Result<(io::Result<()>, TcpStream)> = pumping.await;
    if let Ok((Err(_), client)) = outcome {
        // Nothing reads what follows a reset, so it does not matter whether it arrives.
        let _ = client.set_zero_linger();
    }
}

/// Waits while the mode holds the data, and for the mode's delay; returns the mode.
async fn held(modes: &watch::Receiver<Mode>, holds: impl Fn(Mode) -> bool) -> io::Result<Mode> {
    let mut modes = modes.clone();
    let mode = *modes.wait_for(|mode| !holds(*mode)).await.map_err(io::Error::other)?;
    if let Mode::Delay(time) = mode {
        wait(time).await;
    }
    Ok(mode)
}

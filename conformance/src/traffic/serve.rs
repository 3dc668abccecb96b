//! `traffic serve`: one thread, one poll loop, so that what is measured is the network and not thread creation.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::stop::{Told, pin, say_ready};

/// Options of `traffic serve`.
#[derive(Args)]
pub struct Options {
    /// The name to answer with.
    #[arg(long)]
    name: String,
    /// Answer with `NAME@ADDRESS`, the address being the client's as this server sees it.
    #[arg(long)]
    tell_client: bool,
    /// Go on after the end of standard input, which otherwise means to stop: whoever started it may be gone.
    #[arg(long)]
    linger: bool,
    /// `tcp:PORT` or `udp:PORT`, any number of them.
    #[arg(required = true)]
    ports: Vec<Port>,
    /// Run on this CPU only.
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Clone, Copy)]
enum Port {
    Tcp(u16),
    Udp(u16),
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no port"));
        match text.split_once(':') {
            Some(("tcp", port)) => Ok(Self::Tcp(number(port)?)),
            Some(("udp", port)) => Ok(Self::Udp(number(port)?)),
            _ => Err(format!("{text:?} is neither tcp:PORT nor udp:PORT")),
        }
    }
}

/// A connection and what of its current line has come.
struct Session {
    stream: TcpStream,
    /// What it is answered with.
    name: String,
    pending: Vec<u8>,
}

/// How often the loop looks whether it was told to stop, in ms.
const LOOK: u16 = 50;

pub(super) fn run(options: &Options) -> Result<()> {
    pin(options.cpu)?;
    let told = Told::listen(!options.linger)?;
    let mut listeners = Vec::new();
    let mut sockets = Vec::new();
    for port in &options.ports {
        match port {
            Port::Tcp(port) => listeners.push(on_every_address(*port, TcpListener::bind)?),
            Port::Udp(port) => sockets.push(on_every_address(*port, UdpSocket::bind)?),
        }
    }
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    say_ready();
    let mut sessions: Vec<Session> = Vec::new();
    while !told.to_stop() {
        let readable = wait(&listeners, &sockets, &sessions)?;
        let (at_listeners, rest) = readable.split_at(listeners.len());
        let (at_sockets, at_sessions) = rest.split_at(sockets.len());
        let mut number = 0;
        sessions.retain_mut(|session| {
            let ready = at_sessions.get(number).copied().unwrap_or(false);
            number += 1;
            !ready || session.answer()
        });
        for (socket, _) in sockets.iter().zip(at_sockets).filter(|(_, ready)| **ready) {
            answer_datagrams(socket, options);
        }
        for (listener, _) in listeners.iter().zip(at_listeners).filter(|(_, ready)| **ready) {
            while let Ok((stream, from)) = listener.accept() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let mut session = Session { stream, name: options.answer_to(from), pending: Vec::new() };
                if session.answer() {
                    sessions.push(session);
                }
            }
        }
    }
    Ok(())
}

/// Which of them can be read, in the order given.
fn wait(listeners: &[TcpListener], sockets: &[UdpSocket], sessions: &[Session]) -> Result<Vec<bool>> {
    let fds = listeners.iter().map(AsFd::as_fd);
    let fds = fds.chain(sockets.iter().map(AsFd::as_fd)).chain(sessions.iter().map(|session| session.stream.as_fd()));
    let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, PollTimeout::from(LOOK)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => (),
        Err(errno) => return Err(errno).context("poll"),
    }
    Ok(fds.iter().map(|fd| fd.any().unwrap_or(false)).collect())
}

impl Options {
    fn answer_to(&self, client: SocketAddr) -> String {
        match self.tell_client {
            true => format!("{}@{}", self.name, client.ip().to_canonical()),
            false => self.name.clone(),
        }
    }
}

impl Session {
    /// Answers every whole line there is; false when the peer is done.
    fn answer(&mut self) -> bool {
        let mut bytes = [0u8; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.pending.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let answer = [self.name.as_bytes(), b" ", &line].concat();
                if self.stream.write_all(&answer).is_err() {
                    return false;
                }
            }
        }
        true
    }
}

fn answer_datagrams(socket: &UdpSocket, options: &Options) {
    let mut bytes = [0u8; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let name = options.answer_to(from);
        // An answer that cannot be sent is the client's loss to count.
        let _ = socket.send_to(&[name.as_bytes(), b" ", &bytes[..length]].concat(), from);
    }
}

/// Both families on one socket; where IPv6 is switched off, IPv4 alone.
fn on_every_address<T>(port: u16, bind: fn(SocketAddr) -> std::io::Result<T>) -> Result<T> {
    bind((Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|_| bind((Ipv4Addr::UNSPECIFIED, port).into()))
        .with_context(|| format!("listen on port {port}"))
}

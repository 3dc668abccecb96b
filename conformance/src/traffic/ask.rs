//! One question, one answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sched::sched_yield;
use nix::sys::socket::{setsockopt, sockopt};

use super::tally::Outcome;
use super::{Protocol, Target};

/// A worker's own sockets and buffers.
pub(super) struct Asker {
    target: Target,
    timeout: Duration,
    clean: bool,
    socket: Option<UdpSocket>,
}

impl Asker {
    /// `clean`: close TCP connections with RST, which leaves no port in TIME_WAIT, and let others run before the next request.
    pub(super) fn new(target: Target, timeout: Duration, clean: bool) -> Self {
        Self { target, timeout, clean, socket: None }
    }

    /// Asks with this number and waits for the answer to it.
    pub(super) fn ask(&mut self, number: u64) -> Outcome {
        let start = Instant::now();
        let answer = match self.target.protocol {
            Protocol::Tcp => return self.ask_tcp(number, start).unwrap_or_else(|error| outcome(&error)),
            Protocol::Udp => self.ask_udp(number),
            Protocol::UdpConnected => self.ask_connected(number),
        };
        match answer {
            Ok(backend) => Outcome::Answered { backend, took: start.elapsed() },
            Err(error) => outcome(&error),
        }
    }

    /// From before the connect to the end of the answer; closing is not part of it.
    fn ask_tcp(&self, number: u64, start: Instant) -> std::io::Result<Outcome> {
        let mut stream = TcpStream::connect_timeout(&self.target.address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        if self.clean {
            setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        }
        let backend = converse(&mut stream, number)?;
        let took = start.elapsed();
        drop(stream);
        if self.clean {
            sched_yield()?;
        }
        Ok(Outcome::Answered { backend, took })
    }

    fn ask_udp(&mut self, number: u64) -> std::io::Result<String> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open_udp(self.target.address, self.timeout)?,
        };
        let answer = self.exchange(&socket, number);
        // After an error the socket may hold a late answer or a pending error: the next request gets a fresh one.
        if answer.is_ok() {
            self.socket = Some(socket);
        }
        answer
    }

    fn exchange(&self, socket: &UdpSocket, number: u64) -> std::io::Result<String> {
        socket.send_to(format!("{number}\n").as_bytes(), self.target.address)?;
        let mut bytes = [0u8; 512];
        loop {
            let (length, from) = socket.recv_from(&mut bytes)?;
            if let Some(backend) = answer_to(&bytes[..length], number) {
                if from != self.target.address {
                    return Err(std::io::Error::other(format!("answered from {from}")));
                }
                return Ok(backend);
            }
        }
    }

    fn ask_connected(&self, number: u64) -> std::io::Result<String> {
        let socket = open_udp(self.target.address, self.timeout)?;
        socket.connect(self.target.address)?;
        socket.send(format!("{number}\n").as_bytes())?;
        let mut bytes = [0u8; 512];
        loop {
            let length = socket.recv(&mut bytes)?;
            if let Some(backend) = answer_to(&bytes[..length], number) {
                return Ok(backend);
            }
        }
    }
}

/// Sends the number and reads lines until its answer.
pub(super) fn converse(stream: &mut TcpStream, number: u64) -> std::io::Result<String> {
    stream.write_all(format!("{number}\n").as_bytes())?;
    let mut bytes = [0u8; 512];
    let mut length = 0;
    loop {
        let more = stream.read(&mut bytes[length..])?;
        if more == 0 {
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "closed before the answer"));
        }
        length += more;
        if bytes[..length].ends_with(b"\n") {
            let answer = answer_to(&bytes[..length], number);
            return answer.ok_or_else(|| std::io::Error::other("an answer to another question"));
        }
    }
}

pub(super) fn outcome(error: &std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Outcome::Lost,
        _ => Outcome::Failed(error.to_string()),
    }
}

fn open_udp(target: SocketAddr, timeout: Duration) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(timeout))?;
    Ok(socket)
}

/// The backend's name if this is `<name> <number>\n` with our number.
fn answer_to(bytes: &[u8], number: u64) -> Option<String> {
    let (name, echoed) = std::str::from_utf8(bytes).ok()?.trim_end().rsplit_once(' ')?;
    (echoed.parse() == Ok(number)).then(|| name.to_owned())
}

//! Sockets that the tests talk with.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use fairlead_ebpf_shared::{IPPROTO_TCP, IPPROTO_UDP};

/// How long a datagram on `lo` may take before a test is given up as failed.
pub const LIMIT: Duration = Duration::from_secs(20);

pub fn listener(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).expect("a listener on lo");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

pub fn udp(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("a socket on lo");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit is set");
    let address = socket.local_addr().expect("a bound socket has an address");
    (socket, address)
}

/// A client's socket of the family that `vip` is written in.
pub fn client_for(vip: SocketAddr) -> UdpSocket {
    udp(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).0
}

pub fn refused<T: std::fmt::Debug>(result: io::Result<T>, what: &str) {
    assert_eq!(result.expect_err(what).kind(), ErrorKind::ConnectionRefused, "{what}");
}

/// Takes one datagram at `server`, answers it with the same, and returns where it came from.
pub fn echo(server: &UdpSocket) -> SocketAddr {
    let mut datagram = [0; 64];
    let (length, from) = server.recv_from(&mut datagram).expect("the backend gets the datagram");
    server.send_to(&datagram[..length], from).expect("the backend answers");
    from
}

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Tcp,
    /// A UDP socket that connects.
    Connected,
    /// A UDP socket that names the address with each datagram.
    Datagram,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Connected, Self::Datagram];

    pub fn protocol(self) -> u8 {
        if self == Self::Tcp { IPPROTO_TCP } else { IPPROTO_UDP }
    }

    /// Asks and goes away again: the answer of the system call.
    pub fn attempt(self, asked: SocketAddr) -> io::Result<()> {
        match self {
            Self::Tcp => TcpStream::connect(asked).map(drop),
            Self::Connected => client_for(asked).connect(asked),
            Self::Datagram => client_for(asked).send_to(b"ask", asked).map(drop),
        }
    }
}

/// A backend: TCP and UDP at one address and port.
pub struct Server {
    pub address: SocketAddr,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Server {
    pub fn at(address: &str) -> Self {
        // The port is free for TCP, and nobody else in this namespace uses UDP.
        let (tcp, address) = listener(address);
        let (udp, _) = udp(&address.to_string());
        Self { address, tcp, udp }
    }

    /// `way` reaches this server at `asked` and is answered by it, and the client is shown `shown` as who it talks to.
    pub fn answers(&self, way: Way, asked: SocketAddr, shown: SocketAddr) {
        let what = format!("{way:?} to {asked}");
        let named = |peer: io::Result<SocketAddr>| assert_eq!(peer.expect(&what), shown, "{what}");
        match way {
            Way::Tcp => {
                let client = TcpStream::connect(asked).unwrap_or_else(|error| panic!("{what}: {error}"));
                self.tcp.accept().expect("the backend is connected to");
                named(client.peer_addr());
            }
            Way::Connected => {
                let client = client_for(asked);
                client.connect(asked).unwrap_or_else(|error| panic!("{what}: {error}"));
                named(client.peer_addr());
                client.send(b"ask").unwrap_or_else(|error| panic!("{what}: {error}"));
                echo(&self.udp);
                named(client.recv_from(&mut [0; 8]).map(|(_, from)| from));
            }
            Way::Datagram => {
                let client = client_for(asked);
                client.send_to(b"ask", asked).unwrap_or_else(|error| panic!("{what}: {error}"));
                echo(&self.udp);
                named(client.recv_from(&mut [0; 8]).map(|(_, from)| from));
            }
        }
    }
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

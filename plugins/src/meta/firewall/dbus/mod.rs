//! A client of the system bus that can do one thing: call a method with texts and take a text or a boolean back.
//!
//! Written here and not taken from a crate. `rustbus` 0.19 (MIT, pure Rust, blocking) would do; but it brings a second `nix`
//! and a second `syn`, a derive macro and signals, properties and file descriptors that nobody here needs. `zbus` needs an
//! executor, `dbus` a C library. Two files that a fuzzer can hold are less to keep than either.
//!
//! Every wait ends: a bus or a service that does not answer within [`LIMIT`] is an error that says so.

mod address;
mod message;

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use address::Place;
pub use message::Value;
use message::{Answer, BODY_MAX, HEADER_MAX};

/// How long one call may take: what libdbus waits by default. firewalld answers when its rules are loaded, which takes
/// seconds on a slow machine.
const LIMIT: Duration = Duration::from_secs(25);

/// Longest line of the authentication.
const LINE_MAX: usize = 4096;

/// The bus's own name and object.
const BUS: Target<'static> =
    Target { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// A method's place.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Name on the bus.
    pub destination: &'a str,
    /// Object.
    pub path: &'a str,
    /// Interface.
    pub interface: &'a str,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Failure {
    /// The bus could not be reached, or broke off.
    Io(io::Error),
    /// The service, or the bus in its place, answered with an error: its name and its text.
    Refused { name: String, text: String },
    /// What came is not what the protocol allows.
    Nonsense(&'static str),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Io(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    write!(f, "no answer on the system bus within {} s", LIMIT.as_secs())
                }
                _ => write!(f, "system bus: {error}"),
            },
            Failure::Refused { name, text } => write!(f, "{name}: {text}"),
            Failure::Nonsense(what) => write!(f, "system bus: {what}"),
        }
    }
}

/// A connection that has been introduced.
pub struct Bus {
    stream: UnixStream,
    serial: u32,
}

impl Bus {
    /// The system bus: `address` is the value of `DBUS_SYSTEM_BUS_ADDRESS`, if there is one. The first of its places that
    /// lets us in.
    pub fn system(address: Option<&str>) -> Result<Bus, Failure> {
        let mut last =
            Failure::Nonsense("DBUS_SYSTEM_BUS_ADDRESS names no unix socket (unix:path=… or unix:abstract=…)");
        for place in address::places(address.unwrap_or(address::DEFAULT)) {
            match Bus::connect(&place) {
                Ok(bus) => return Ok(bus),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn connect(place: &Place) -> Result<Bus, Failure> {
        let stream = match place {
            Place::Path(path) => UnixStream::connect(path)?,
            Place::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        };
        let mut bus = Bus { stream, serial: 0 };
        bus.introduce()?;
        Ok(bus)
    }

    /// Who we are: the bus asks the kernel, we only have to say the same.
    fn introduce(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + LIMIT;
        self.stream.set_write_timeout(Some(LIMIT))?;
        let user = nix::unistd::geteuid().to_string();
        let digits: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
        if !self.line(deadline)?.starts_with(b"OK ") {
            return Err(Failure::Nonsense("the bus does not let us in"));
        }
        self.stream.write_all(b"BEGIN\r\n")?;
        self.call(&BUS, "Hello", &[]).map(drop)
    }

    /// One line of the authentication, without its end.
    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() == LINE_MAX {
                return Err(Failure::Nonsense("a line of the authentication has no end"));
            }
            let mut byte = [0];
            self.read(&mut byte, deadline)?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    /// Who owns a name on the bus; `None`: nobody.
    pub fn owner_of(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.call(&BUS, "GetNameOwner", &[name]) {
            Ok(Value::Text(owner)) => Ok(Some(owner)),
            Ok(_) => Err(Failure::Nonsense("the owner of a name is not a text")),
            Err(Failure::Refused { name, .. }) if name == "org.freedesktop.DBus.Error.NameHasNoOwner" => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Calls a method with texts. Signals and answers to others that come meanwhile are left aside.
    pub fn call(&mut self, target: &Target<'_>, method: &str, texts: &[&str]) -> Result<Value, Failure> {
        let deadline = Instant::now() + LIMIT;
        self.serial += 1;
        self.stream.write_all(&message::call(self.serial, target, method, texts))?;
        loop {
            let mut bytes = vec![0; message::FIXED];
            self.read(&mut bytes, deadline)?;
            let (header, body) = message::lengths(&bytes).ok_or(Failure::Nonsense("a message has no header"))?;
            if header > HEADER_MAX || body > BODY_MAX {
                return Err(Failure::Nonsense("a message is longer than any answer to us"));
            }
            bytes.resize(message::FIXED + header + body, 0);
            self.read(&mut bytes[message::FIXED..], deadline)?;
            match message::answer(&bytes, self.serial).ok_or(Failure::Nonsense("a message cannot be read"))? {
                Answer::Other => {}
                Answer::Returned(value) => return Ok(value),
                Answer::Error { name, text } => return Err(Failure::Refused { name, text }),
            }
        }
    }

    /// Fills `bytes`, in what is left of the time.
    fn read(&mut self, bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is read of a message that came, whether it says the truth about its length or not.
#[cfg(any(test, feature = "fuzz"))]
pub fn read(bytes: &[u8]) {
    let _ = message::lengths(bytes);
    let _ = message::answer(bytes, 1);
    let text = String::from_utf8_lossy(bytes);
    let _ = address::places(&text).count();
}

//! Small HTTP servers: answers of a few kilobytes to whoever may reach the port, be it a load balancer or a stranger.
//!
//! A listener has at most [`CONNECTIONS`] connections at a time, and each must send its request's head within
//! [`HEAD_LIMIT`]: what answers kubelet on every address of the node is not to be exhausted by one idle client.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Connections at a time, on one listener.
const CONNECTIONS: usize = 128;
/// From the start of a connection, or the end of an answer, to the end of a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Between two attempts to bind, as kube-proxy's (`cmd/kube-proxy/app/server.go`, serveHealthz).
pub const BIND_AGAIN: Duration = Duration::from_secs(5);

/// An answer.
pub type Reply = Response<Full<Bytes>>;

/// An answer with a body of the given type.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// What Go's servers say to a path that they do not know.
pub fn not_found() -> Reply {
    reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

/// Adds a header whose value is a number.
pub fn with_number(mut reply: Reply, name: &'static str, number: u32) -> Reply {
    reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(number));
    reply
}

/// Which clients a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As Go's network `tcp`: an unspecified address of either family stands for both.
    Both,
    /// The address's own family only, as `tcp4` and `tcp6`.
    Own,
}

/// Binds and listens; needs the runtime, waits for nothing.
pub fn listen(addr: SocketAddr, reach: Reach) -> io::Result<TcpListener> {
    if reach == Reach::Both && addr.ip().is_unspecified() {
        let all = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), addr.port());
        match open(all, false) {
            // No IPv6 in this kernel, or not in this namespace.
            Err(_) if addr.is_ipv4() => open(addr, true),
            outcome => outcome,
        }
    } else {
        open(addr, true)
    }
}

fn open(addr: SocketAddr, own_family: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(own_family)?;
    }
    // Connections of a predecessor that linger must not keep the successor from its port.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Answers on `listener` until the task is dropped.
pub async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed, so never an error.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is free, or the client has gone: neither is cured by asking again at once.
                tracing::debug!("accept: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // A client that hangs up is the client's matter.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

/// Binds at once, so that clients may come from now on; and tries again until it can. What it gives is to be spawned: it
/// answers until it is dropped. `failed` is told of each new reason why it cannot bind, and says whether to go on.
pub fn keep_serving<H, F>(
    what: impl Display + Send,
    addr: SocketAddr,
    mut failed: impl FnMut(String) -> bool + Send,
    handler: H,
) -> impl Future<Output = ()> + Send
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut bound = listen(addr, Reach::Both);
    async move {
        let mut told = None;
        loop {
            match bound {
                Ok(listener) => {
                    tracing::info!(address = %addr, "{what} answers");
                    return serve(listener, handler).await;
                }
                Err(error) => {
                    let text = format!("listen on {addr} for {what}: {error}");
                    if told.as_ref() != Some(&text) {
                        if !failed(text.clone()) {
                            return;
                        }
                        told = Some(text);
                    }
                }
            }
            sleep(BIND_AGAIN).await;
            bound = listen(addr, Reach::Both);
        }
    }
}

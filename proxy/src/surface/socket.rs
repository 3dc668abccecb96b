//! The daemon's unix socket, `<state-dir>/socket`: the verbs ask, the loop answers.
//!
//! One question a connection: a line of JSON in, `{"answer": …}` or `{"error": "…"}` out, then the end. Who may connect is the
//! file's matter: root only. A verb that finds nobody there says what the maps and files say, and that no daemon does.

use std::fs::{File, Permissions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::questions::Question;

/// The socket's name in the state directory.
pub const NAME: &str = "socket";
/// The longest question, in bytes.
const LONGEST: u64 = 16 * 1024;
/// A client that takes longer to ask, or to take its answer, is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at a time.
const CLIENTS: usize = 8;

/// A question with the way back.
pub type Asked = (Question, oneshot::Sender<Result<String>>);

/// Takes the place of whatever socket a predecessor left. The caller holds the state directory's lock.
pub fn bind(state_dir: &Path) -> Result<UnixListener> {
    let path = state_dir.join(NAME);
    let bind = || -> io::Result<UnixListener> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Short::of(state_dir)?.using(|path| UnixListener::bind(path))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().with_context(|| format!("listen on {}", path.display()))
}

/// The socket by way of its directory's descriptor: a socket's path has at most 107 bytes (unix(7)), a state directory's may
/// have more.
struct Short(File);

impl Short {
    fn of(state_dir: &Path) -> io::Result<Self> {
        File::open(state_dir).map(Self)
    }

    fn using<T>(&self, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        call(Path::new(&format!("/proc/self/fd/{}/{NAME}", self.0.as_raw_fd())))
    }
}

/// Hands questions on until the task is dropped.
pub async fn serve(listener: UnixListener, questions: mpsc::Sender<Asked>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let questions = questions.clone();
        tokio::spawn(async move {
            let mut line = String::new();
            let mut reader = tokio::io::BufReader::new((&mut stream).take(LONGEST));
            if !matches!(timeout(PATIENCE, reader.read_line(&mut line)).await, Ok(Ok(1..))) {
                return;
            }
            let text = match answer(&line, &questions).await {
                Ok(answer) => format!("{{\"answer\":{answer}}}"),
                Err(error) => json!({ "error": format!("{error:#}") }).to_string(),
            };
            let _ = timeout(PATIENCE, stream.write_all(text.as_bytes())).await;
            drop(place);
        });
    }
}

async fn answer(line: &str, questions: &mpsc::Sender<Asked>) -> Result<String> {
    let question = serde_json::from_str(line).context("not a question that this version of the daemon knows")?;
    let (back, answer) = oneshot::channel();
    questions.send((question, back)).await.context("the daemon is ending")?;
    answer.await.context("the daemon is ending")?
}

/// Asks the daemon that runs with this state directory; `None`: none does.
pub fn ask<T: DeserializeOwned>(state_dir: &Path, question: &Question) -> Result<Option<T>> {
    let path = state_dir.join(NAME);
    let mut stream = match Short::of(state_dir).and_then(|short| short.using(|path| UnixStream::connect(path))) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("connect to the daemon at {}", path.display())),
    };
    let mut talk = || -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        BufReader::new(&stream).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = match talk() {
        Ok(answer) => answer,
        // It ended meanwhile.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("ask the daemon at {}", path.display())),
    };
    if answer.is_empty() {
        return Ok(None);
    }
    let mut answer: Value = serde_json::from_slice(&answer).context("read the daemon's answer")?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("the daemon says: {error}");
    }
    serde_json::from_value(answer["answer"].take())
        .map(Some)
        .context("read the daemon's answer: is it another version?")
}

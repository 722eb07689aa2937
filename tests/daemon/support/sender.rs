//! A blocking sender on one kept connection. It signs each event as Fasten does.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::signer;

/// The signing secret of the tests' daemons, in addition to the development secret.
pub const SECRET: &str = "whsec_ZGFlbW9uLXRlc3RzLXNlY3JldC1kYWVtb24tdGVzdHM=";

/// Maximum of requests that wait for answers on one connection.
const PIPELINED: usize = 16;

/// Longest time for which a slow disk may refuse one event.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Answer of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Value of `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    pub body: serde_json::Value,
}

/// The last answer to an event that was sent again while the disk was slow.
#[derive(Debug)]
pub struct Delivered {
    pub answer: Answer,
    /// Whether it was sent before. An earlier try may have been taken: then the event is a duplicate of itself.
    again: bool,
}

impl Delivered {
    /// Position of a new event. `None` if it was in the log before. The answer must be 200.
    #[track_caller]
    pub fn as_new(&self) -> Option<u64> {
        let (position, duplicate) = self.answer.taken();
        (!duplicate || self.again).then_some(position)
    }

    /// Position of the event that it repeats. `None` if the answer says that it is new. The answer must be 200.
    #[track_caller]
    pub fn as_duplicate(&self) -> Option<u64> {
        let (position, duplicate) = self.answer.taken();
        duplicate.then_some(position)
    }
}

impl Answer {
    /// Whether nothing is wrong and the event is to be sent again.
    pub fn is_slow(&self) -> bool {
        self.status == 503 && ["STORAGE_SLOW", "KEYS_UNKNOWN"].into_iter().any(|reason| self.body["reason"] == reason)
    }

    /// Position, and whether the event was a duplicate. The answer must be 200.
    #[track_caller]
    pub fn taken(&self) -> (u64, bool) {
        assert_eq!(self.status, 200, "{}", self.body);
        (self.body["position"].as_u64().unwrap(), self.body["duplicate"].as_bool().unwrap())
    }
}

pub struct Sender {
    stream: BufReader<TcpStream>,
}

impl Sender {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Delivers an event, signed now with [`SECRET`]. An error means that it is not acknowledged.
    pub fn deliver(&mut self, id: &str, body: &[u8]) -> io::Result<Answer> {
        self.begin(id, body)?;
        self.finish()
    }

    /// Sends an event and leaves the answer for [`Self::finish`]. Several may be begun before the first is finished.
    pub fn begin(&mut self, id: &str, body: &[u8]) -> io::Result<()> {
        self.write(&signed(id, body))
    }

    /// Like [`Self::deliver`], but sends the event again while the disk is slow.
    pub fn deliver_patiently(&mut self, id: &str, body: &[u8]) -> io::Result<Delivered> {
        self.patiently(|sender| sender.deliver(id, body))
    }

    /// Sends one event by `once`, and again while the disk is slow, for a limited time.
    pub fn patiently(&mut self, mut once: impl FnMut(&mut Self) -> io::Result<Answer>) -> io::Result<Delivered> {
        let deadline = Instant::now() + PATIENCE;
        let mut again = false;
        loop {
            let answer = once(self)?;
            if !answer.is_slow() || Instant::now() > deadline {
                return Ok(Delivered { answer, again });
            }
            again = true;
            std::thread::sleep(PAUSE);
        }
    }

    /// Delivers several events, some of them at a time, and returns the answers in order. Events that a slow disk
    /// refused are sent again.
    pub fn deliver_all(&mut self, deliveries: &[(&str, &[u8])]) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for some in deliveries.chunks(PIPELINED) {
            some.iter().try_for_each(|(id, body)| self.begin(id, body))?;
            let first = answers.len();
            for _ in some {
                answers.push(self.finish()?);
            }
            for ((id, body), answer) in some.iter().zip(&mut answers[first..]) {
                if answer.is_slow() {
                    *answer = self.deliver_patiently(id, body)?.answer;
                }
            }
        }
        Ok(answers)
    }

    /// Sends any bytes, such as a part of a request.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn finish(&mut self) -> io::Result<Answer> {
        let status = self.line()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut length = 0;
        let mut retry_after = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            if let Some(value) = line.strip_prefix("retry-after:") {
                retry_after = Some(value.trim().parse().map_err(io::Error::other)?);
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, retry_after, body: serde_json::from_slice(&body)? })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Returns the bytes of a request, signed now with [`SECRET`].
pub fn signed(id: &str, body: &[u8]) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "the daemon judges timestamps by the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let headers = signer::headers(SECRET, id, i64::try_from(now).unwrap(), body);
    let lines = headers.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let length = body.len();
    let head = format!("POST /webhooks/fasten HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

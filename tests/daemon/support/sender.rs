//! A blocking sender on one kept connection, signing with the reference implementation of Standard Webhooks.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the door said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: serde_json::Value,
}

impl Answer {
    /// Position and whether it was a duplicate, of an answer 200.
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

    /// Signed with the development secret, now. An error means: not acknowledged.
    pub fn deliver(&mut self, id: &str, body: &[u8]) -> io::Result<Answer> {
        self.begin(id, body)?;
        self.finish()
    }

    /// Sends, and leaves the answer for [`Self::finish`].
    pub fn begin(&mut self, id: &str, body: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let webhook = standardwebhooks::Webhook::new(cleat::config::DEVELOPMENT_SECRET).unwrap();
        let signature = webhook.sign(id, i64::try_from(now).unwrap(), body).unwrap();
        let head = format!(
            "POST /webhooks/fasten HTTP/1.1\r\nhost: localhost\r\nwebhook-id: {id}\r\nwebhook-timestamp: {now}\r\n\
             webhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())
    }

    pub fn finish(&mut self) -> io::Result<Answer> {
        let status = self.line()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body: serde_json::from_slice(&body)? })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

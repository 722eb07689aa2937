//! strace's output, parsed into calls in the order in which they began and returned. It knows nothing of their meaning.
//!
//! strace sees a call before it runs, and its return before the thread goes on. So if one call waits for another in any
//! way, the lines are in that order. A call that is interrupted by the lines of others has two lines.

use std::collections::HashMap;

/// One system call on a file or socket. Times are line numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub path: String,
    /// Bytes of all its buffers, one after another.
    pub bytes: Vec<u8>,
    pub began: usize,
    pub returned: Option<usize>,
    pub result: i64,
}

/// Parses lines as `strace -f -y -xx` writes them: `PID TIME NAME(FILE<PATH>, "BYTES"..) = RESULT`.
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished = HashMap::new();
    for (now, line) in text.lines().enumerate() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let Some((_, call)) = call.trim_start().split_once(' ') else { continue };
        if call.starts_with("<... ") {
            if let Some(index) = unfinished.remove(process) {
                end(&mut calls[index], now, call);
            }
        } else if let Some(call_begun) = begin(call, now) {
            calls.push(call_begun);
            if call.ends_with("<unfinished ...>") {
                unfinished.insert(process, calls.len() - 1);
            } else {
                end(calls.last_mut().unwrap(), now, call);
            }
        }
    }
    calls
}

fn begin(call: &str, began: usize) -> Option<Call> {
    let (name, arguments) = call.split_once('(')?;
    let path = arguments.split_once('<')?.1.split_once('>')?.0;
    let bytes = arguments.split('"').skip(1).step_by(2).flat_map(unescaped).collect();
    let path = String::from_utf8_lossy(&unescaped(path)).into_owned();
    Some(Call { name: name.to_owned(), path, bytes, began, returned: None, result: 0 })
}

fn end(call: &mut Call, now: usize, line: &str) {
    // A call that ended with the process has no number.
    let result = line.rsplit_once(" = ").and_then(|(_, result)| result.split(' ').next()?.parse().ok());
    if let Some(result) = result {
        (call.returned, call.result) = (Some(now), result);
    }
}

/// Decodes `\x2f\x61` to `/a`. Text that is not escaped stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let Some(hex) = text.strip_prefix("\\x") else { return text.as_bytes().to_vec() };
    hex.split("\\x").map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_call_has_its_beginning_and_its_return() {
        let text = r#"7  1.0 fdatasync(3<\x2f\x61> <unfinished ...>
8  1.1 writev(4<\x73\x3a\x5b\x31\x5d>, [{iov_base="\x61\x62", iov_len=2}, {iov_base="\x63", iov_len=1}], 2) = 3
7  1.2 <... fdatasync resumed>) = -1 EIO (Input/output error)
8  1.3 +++ exited with 0 +++
8  1.4 write(1<\x61>, "\x62", 1) = ?
"#;
        let call = |name: &str, path: &str, bytes: &[u8], began, returned, result| Call {
            name: name.into(),
            path: path.into(),
            bytes: bytes.to_vec(),
            began,
            returned,
            result,
        };
        let expected = [
            call("fdatasync", "/a", b"", 0, Some(2), -1),
            call("writev", "s:[1]", b"abc", 1, Some(1), 3),
            call("write", "a", b"b", 4, None, 0),
        ];
        assert_eq!(parse(text), expected);
    }
}

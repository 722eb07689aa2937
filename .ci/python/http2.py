"""The bytes of HTTP/2 connections that ask much of a gRPC server, and take or finish nothing.

Knows neither sockets nor messages.
"""

import struct
from collections.abc import Iterable

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4


def connection(window: int, streams: Iterable[bytes] = ()) -> bytes:
    """A connection from its first byte on. Each of its answers may send as much as the window says."""
    settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window))
    numbered = (_renumber(stream, 2 * place + 1) for place, stream in enumerate(streams))
    return _PREFACE + settings + b"".join(numbered)


def request(path: str, message: bytes) -> bytes:
    """A whole request, as the first stream of a connection."""
    return _headers(path) + _frame(_DATA, _END_STREAM, 1, _announced(len(message)) + message)


def half_request(path: str, announced: int, sent: int) -> bytes:
    """A request that announces a message, and sends only a part of it."""
    data = _announced(announced) + bytes(sent)
    return _headers(path) + b"".join(_frame(_DATA, 0, 1, data[at : at + 16384]) for at in range(0, len(data), 16384))


def _headers(path: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "cleat",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    # Literals without indexing, and without Huffman's code: each is shorter than 127 bytes.
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
    return _frame(_HEADERS, _END_HEADERS, 1, block)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _announced(length: int) -> bytes:
    return b"\x00" + struct.pack(">I", length)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _renumber(frames: bytes, stream: int) -> bytes:
    """The same frames, of another stream."""
    renumbered, at = bytearray(frames), 0
    while at < len(renumbered):
        length = int.from_bytes(renumbered[at : at + 3], "big")
        renumbered[at + 5 : at + 9] = struct.pack(">I", stream)
        at += 9 + length
    return bytes(renumbered)

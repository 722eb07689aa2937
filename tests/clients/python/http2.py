"""The bytes of HTTP/2 connections that ask much of a gRPC server, and take or finish nothing.

Knows neither sockets nor messages.
"""

import struct
from collections.abc import Iterable

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
# Before the peer says otherwise.
_WINDOW = 65_535
_FRAME_BYTES_MAX = 16_384


def connection(window: int, streams: Iterable[bytes] = ()) -> bytes:
    """A connection from its first byte on. Each of its answers may send as much as the window says."""
    settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window))
    numbered = (_renumber(stream, 2 * place + 1) for place, stream in enumerate(streams))
    return _PREFACE + settings + b"".join(numbered)


def request(path: str, message: bytes) -> bytes:
    """A whole request, as the first stream of a connection."""
    return _headers(path) + _frame(_DATA, _END_STREAM, 1, _announced(len(message)) + message)


class HalfRequests:
    """A client that sends all but the last byte of each of its requests, as fast as the server's windows allow.

    It acknowledges settings and pings, so that the server finds it alive.
    """

    def __init__(self, path: str = "", message_bytes: int = 0, requests: int = 0) -> None:
        self._path = path
        self._message_bytes = message_bytes
        self._requests = requests
        # By stream: how many bytes are not sent yet, and how many may be sent.
        self._unsent = {2 * place + 1: message_bytes - 1 for place in range(requests)}
        self._windows = dict.fromkeys(self._unsent, _WINDOW)
        self._stream_window = self._window = _WINDOW
        self._received = bytearray()

    def begin(self) -> bytes:
        half = _headers(self._path) + _frame(_DATA, 0, 1, _announced(self._message_bytes))
        self._window -= 5 * self._requests
        for stream in self._windows:
            self._windows[stream] -= 5
        return connection(_WINDOW, [half] * self._requests) + self._data()

    def hear(self, data: bytes) -> bytes:
        """What the client sends after this."""
        self._received += data
        answers = bytearray()
        while len(self._received) >= 9:
            end = 9 + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                break
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9], "big")
            payload = bytes(self._received[9:end])
            del self._received[:end]
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                answers += _frame(kind, _ACK, 0, payload if kind == _PING else b"")
            if kind == _SETTINGS and not flags & _ACK:
                self._take_settings(payload)
            elif kind == _RST_STREAM:
                self._unsent.pop(stream, None)
            elif kind == _WINDOW_UPDATE and stream == 0:
                self._window += int.from_bytes(payload, "big")
            elif kind == _WINDOW_UPDATE and stream in self._windows:
                self._windows[stream] += int.from_bytes(payload, "big")
        return bytes(answers) + self._data()

    def _take_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._stream_window
                self._stream_window = value

    def _data(self) -> bytes:
        data = bytearray()
        for stream in list(self._unsent):
            length = min(self._unsent[stream], self._windows[stream], self._window, _FRAME_BYTES_MAX)
            if length > 0:
                data += _frame(_DATA, 0, stream, bytes(length))
                self._unsent[stream] -= length
                self._windows[stream] -= length
                self._window -= length
        return bytes(data)


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

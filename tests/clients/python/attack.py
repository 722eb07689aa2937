"""Strangers at an address of their own who hold many connections to a listener at once, from a process of their own.

Knows nothing of what a daemon should do about it.
"""

import multiprocessing
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

# Linux's: the port is chosen when the peer is known, so that the same port can serve several peers.
IP_BIND_ADDRESS_NO_PORT = 24
PAUSE_SECONDS = 0.01


class Client(Protocol):
    """What a connection of an attack says."""

    def begin(self) -> bytes:
        """Its first bytes."""

    def hear(self, data: bytes) -> bytes:
        """Its bytes in answer to those of the listener."""


@dataclass(frozen=True)
class Attack:
    """What each connection does, and how many there are."""

    source: str = "127.0.0.2"
    # Sent at once.
    first: bytes = b""
    # Makes what speaks on each connection, after the first bytes. `None` if nothing answers.
    client: Callable[[], Client] | None = None
    # Sent again and again, if it is not empty.
    drip: bytes = b""
    drip_seconds: float = 1.0
    connections: int = 2100
    # Whether a connection that the listener closes is opened again at once.
    reconnects: bool = True


@contextmanager
def under(attack: Attack, address: str) -> Iterator[None]:
    """While the block runs, the attack does: from when all its connections were opened once."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_attack, args=(attack, address, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(60), "the attack did not begin"
        yield
    finally:
        process.kill()
        process.join()


class _Stranger:
    """One connection. `OSError` says that the listener has closed it, or that no port is free."""

    def __init__(self, attack: Attack, address: tuple[str, int]) -> None:
        self.socket = socket.socket()
        self._client = attack.client and attack.client()
        self._unsent = attack.first + (self._client.begin() if self._client else b"")
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self.socket.bind((attack.source, 0))
            with suppress(BlockingIOError):
                self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise

    def send(self) -> bool:
        """Sends what it can; whether that was all."""
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        return not self._unsent

    def drip(self, data: bytes) -> None:
        self._unsent = self._unsent or data
        self.send()

    def hear(self) -> bool:
        """Reads, and sends the answer as far as it can; whether that was all."""
        heard = self.socket.recv(65536)
        if not heard:
            raise ConnectionResetError
        if self._client:
            self._unsent += self._client.hear(heard)
        return self.send()


class _Crowd:
    """All connections of an attack."""

    def __init__(self, attack: Attack, address: tuple[str, int]) -> None:
        self._attack = attack
        self._address = address
        self._strangers: dict[int, _Stranger] = {}
        self._poll = select.epoll()
        self.missing = attack.connections
        self.opened = 0

    def open_missing(self) -> None:
        # An error says that no port is free: those of closed connections return in time.
        with suppress(OSError):
            while self.missing:
                stranger = _Stranger(self._attack, self._address)
                self._strangers[stranger.socket.fileno()] = stranger
                self._poll.register(stranger.socket, select.EPOLLIN | select.EPOLLOUT)
                self.missing -= 1
                self.opened += 1

    def go_on(self) -> None:
        for number, events in self._poll.poll(PAUSE_SECONDS):
            with self._watched(number) as stranger:
                if events & select.EPOLLOUT and stranger.send():
                    self._poll.modify(number, select.EPOLLIN)
                if events & ~select.EPOLLOUT and not stranger.hear():
                    self._poll.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def drip(self) -> None:
        for number in list(self._strangers):
            with self._watched(number) as stranger:
                stranger.drip(self._attack.drip)

    @contextmanager
    def _watched(self, number: int) -> Iterator[_Stranger]:
        """If it is closed meanwhile, it is missing."""
        stranger = self._strangers[number]
        try:
            yield stranger
        except OSError:
            del self._strangers[number]
            stranger.socket.close()
            self.missing += self._attack.reconnects


def _attack(attack: Attack, address: str, parent: Connection) -> None:
    host, _, port = address.rpartition(":")
    crowd = _Crowd(attack, (host, int(port)))
    # Not "until none is missing": some may be closed while others are opened.
    while crowd.opened < attack.connections:
        crowd.open_missing()
        crowd.go_on()
    parent.send("all opened")
    drip_at = time.monotonic() + attack.drip_seconds
    while True:
        crowd.open_missing()
        crowd.go_on()
        if attack.drip and time.monotonic() >= drip_at:
            drip_at = time.monotonic() + attack.drip_seconds
            crowd.drip()

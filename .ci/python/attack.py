"""Strangers at 127.0.0.2 who hold many connections to a listener at once, from a process of their own.

Knows nothing of what a daemon should do about it.
"""

import multiprocessing
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

SOURCE = "127.0.0.2"
# Linux's: the port is chosen when the peer is known, so that the same port can serve several peers.
IP_BIND_ADDRESS_NO_PORT = 24
PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Attack:
    """What each connection does, and how many there are."""

    # Sent at once.
    first: bytes = b""
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
        assert ours.poll(60) and ours.recv() == "all opened", "the attack did not begin"
        yield
    finally:
        process.kill()
        process.join()


def _attack(attack: Attack, address: str, parent: Connection) -> None:
    host, _, port = address.rpartition(":")
    selector = selectors.EpollSelector()
    missing = attack.connections
    begun = False
    drip_at = time.monotonic() + attack.drip_seconds
    while True:
        for _ in range(missing):
            opened = _open(host, int(port))
            if opened is None:
                break
            missing -= 1
            selector.register(opened, selectors.EVENT_READ | selectors.EVENT_WRITE)
        if not missing and not begun:
            begun = True
            parent.send("all opened")
        for key, events in selector.select(PAUSE_SECONDS):
            if not _goes_on(selector, key, events, attack):
                missing += attack.reconnects
        if attack.drip and time.monotonic() >= drip_at:
            drip_at = time.monotonic() + attack.drip_seconds
            for key in list(selector.get_map().values()):
                if key.data == "sent" and not _send(key.fileobj, attack.drip):
                    _close(selector, key.fileobj)
                    missing += attack.reconnects


def _open(host: str, port: int) -> socket.socket | None:
    opened = socket.socket()
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    opened.bind((SOURCE, 0))
    try:
        opened.connect((host, port))
    except BlockingIOError:
        pass
    except OSError:
        # No port is free: those that were closed return in time.
        opened.close()
        return None
    return opened


def _goes_on(selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int, attack: Attack) -> bool:
    """Whether the connection is still there, once it has sent or heard what it could."""
    if events & selectors.EVENT_WRITE:
        if not _send(key.fileobj, attack.first):
            return _close(selector, key.fileobj)
        selector.modify(key.fileobj, selectors.EVENT_READ, "sent")
    if events & selectors.EVENT_READ:
        try:
            heard = key.fileobj.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            heard = b""
        if not heard:
            return _close(selector, key.fileobj)
    return True


def _send(peer: socket.socket, data: bytes) -> bool:
    try:
        peer.sendall(data)
    except OSError:
        return False
    return True


def _close(selector: selectors.BaseSelector, peer: socket.socket) -> bool:
    selector.unregister(peer)
    peer.close()
    return False

"""Keeps a table of all connections in SQLite, as cleat tells of them. It may be stopped or killed at any moment, and so may
cleat: what a message says and the token after it are committed together, so that nothing is missed or taken twice.

    python watch.py 127.0.0.1:7481 connections.db
"""

import asyncio
import random
import sqlite3
import sys

import grpc
from cleat.v1 import connection_pb2 as connections
from cleat.v1.connection_pb2_grpc import ConnectionServiceStub
from cleat.v1.watch_pb2 import WatchStart

HEARTBEAT = 15  # seconds, unless the request says otherwise
# The request itself is wrong, or may not be made: the same again would fail again.
FATAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
SCHEMA = """
CREATE TABLE IF NOT EXISTS connections (id TEXT PRIMARY KEY, external_id TEXT, status TEXT, version INTEGER);
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT);
CREATE TEMPORARY TABLE seen (id TEXT PRIMARY KEY);
"""


class Table:
    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(SCHEMA)

    def token(self) -> str:
        """After the last message that was taken; empty: none was, or none is of use."""
        found = self._db.execute("SELECT token FROM place").fetchone()
        return found[0] if found else ""

    def forget_token(self) -> None:
        with self._db:
            self._db.execute("DELETE FROM place")

    def take(self, message: connections.WatchConnectionsResponse) -> None:
        """One message is one transaction, its token included."""
        with self._db:
            match message.WhichOneof("message"):
                case "started" if message.started.snapshot:
                    self._db.execute("DELETE FROM seen")
                case "snapshot_batch":
                    for row in message.snapshot_batch.connections:
                        self._put(row)
                        self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", [row.org_connection_id])
                case "snapshot_end":
                    # What the snapshot has not told is no longer there.
                    self._db.execute("DELETE FROM connections WHERE id NOT IN (SELECT id FROM seen)")
                case "change_batch":
                    for change in message.change_batch.changes:
                        self._change(change)
            self._db.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", [message.resume_token])

    def _change(self, change: connections.Change) -> None:
        row = change.connection
        if change.effect == connections.Change.EFFECT_LEFT:
            self._db.execute("DELETE FROM connections WHERE id = ?", [row.org_connection_id])
        else:
            self._put(row)
        print(row.org_connection_id, row.version, flush=True)

    def _put(self, row: connections.Connection) -> None:
        status = connections.ConnectionStatus.Name(row.status)
        values = [row.org_connection_id, row.external_id, status, row.version]
        self._db.execute("INSERT OR REPLACE INTO connections VALUES (?, ?, ?, ?)", values)


async def watch_once(address: str, table: Table) -> float:
    """Until the stream ends: how long to wait before the next, if cleat has said so, in seconds."""
    token = table.token()
    start = WatchStart(resume_token=token) if token else WatchStart(snapshot=True)
    request = connections.WatchConnectionsRequest(start=start, kinds=[connections.WATCH_KIND_CONNECTION])
    async with grpc.aio.insecure_channel(address) as channel:
        stream = ConnectionServiceStub(channel).WatchConnections(request)
        while True:
            # Heartbeats come when nothing else does: silence means that nobody is there.
            message = await asyncio.wait_for(stream.read(), 3 * HEARTBEAT)
            if message is grpc.aio.EOF:
                return 0
            table.take(message)
            if message.WhichOneof("message") == "going_away":
                return message.going_away.reconnect_after.ToTimedelta().total_seconds()


def is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """The reason stands in the error's details, which name it in plain text."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return b"CHANGE_TOO_LARGE" in details


async def watch(address: str, table: Table) -> None:
    failures = 0
    while True:
        before = table.token()
        try:
            wait = await watch_once(address, table)
        except grpc.aio.AioRpcError as error:
            if error.code() in FATAL:
                raise
            if error.code() == grpc.StatusCode.FAILED_PRECONDITION or is_too_large(error):
                # Another log, other rules for states, or a change that no message can hold: start with a snapshot.
                table.forget_token()
            wait = 0
        except TimeoutError:
            wait = 0
        failures = failures + 1 if table.token() == before else 0
        await asyncio.sleep(wait or random.uniform(0.5, 1) * min(0.1 * 2**failures, 30))


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], Table(sys.argv[2])))

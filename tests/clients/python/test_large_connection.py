"""One connection with 200,000 exports, and one with five facts of 250 KB: every read of them ends, before and after a restart
and a rebuild."""

import subprocess
from collections.abc import Iterator
from typing import Any

import bodies
from case import ADMIN, CONNECTIONS, EXPORTS, DaemonCase
from daemon import BINARY, TENANT, until
from reflection import Fields, told
from storyteller import CONSISTENT

LARGE, LONG = "large", "long"
EXPORTED = 200_000
FACTS = ("external_id", "platform_type", "endpoint_id", "brand_id", "portal_id")
# What gRPC's clients take by default.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024


def connected(event_id: str, connection: str, **facts: str) -> bytes:
    data = {"org_connection_id": connection, "connection_status": "authorized"} | facts
    return bodies.body("patient.connection_success", event_id, data)


def payloads() -> Iterator[bytes]:
    yield connected("first", LARGE, external_id="patient-1")
    for number in range(EXPORTED):
        data = {"org_connection_id": LARGE, "task_id": f"task-{number:06}", "download_link": f"https://x.test/{number}"}
        yield bodies.body("patient.ehi_export_success", f"exported-{number}", data)
    # Each changes every export.
    yield connected("joined", LARGE, external_id="patient-2")
    yield bodies.body("patient.authorization_revoked", "revoked", {"org_connection_id": LARGE})
    for fact in FACTS:
        yield connected(f"long-{fact}", LONG, **{fact: fact + "x" * 250_000})


class LargeConnection(DaemonCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        file = cls.directory / "payloads.jsonl"
        with file.open("wb") as lines:
            lines.writelines(payload + b"\n" for payload in payloads())
        subprocess.run([BINARY, "import", file, "--address", cls.daemon.grpc], check=True, stdout=subprocess.DEVNULL)

    def test_every_read_ends_and_stays_the_same(self) -> None:
        self.caught_up()
        before = self.reads()
        self.daemon.terminate()
        self.assertEqual(self.daemon.exit_code(), 0)
        self.start()
        self.caught_up()
        self.assertEqual(self.reads(), before)
        self.api.call(ADMIN + "RebuildViews")
        until("it is rebuilt", lambda: not self.api.call(ADMIN + "GetStatus").HasField("rebuild_position"))
        self.assertEqual(self.reads(), before)

    def caught_up(self) -> None:
        until("the views have caught up", lambda: self.api.call(ADMIN + "GetStatus").views_position == self.head())

    def reads(self) -> Fields:
        """What the reads of both connections come to."""
        read: Fields = {}
        for connection, events in ((LARGE, EXPORTED + 3), (LONG, len(FACTS))):
            got = self.api.call(CONNECTIONS + "GetConnection", CONSISTENT | {"org_connection_id": connection})
            read[connection] = told(got.connection)
            history = self.pages(CONNECTIONS + "ListConnectionEvents", "events", org_connection_id=connection)
            positions = [row.position for row in history]
            self.assertEqual(positions, sorted(set(positions), reverse=True))
            self.assertEqual(len(positions), events)
        of_large = {"filter": {"org_connection_ids": [LARGE]}}
        tasks = [row.task_id for row in self.pages(EXPORTS + "ListExports", "exports", **of_large)]
        self.assertEqual(tasks, sorted(set(tasks)))
        self.assertEqual(len(tasks), EXPORTED)
        newest = {"order_by": "last_recorded_at desc"} | of_large
        read["newest"] = told(next(self.pages(EXPORTS + "ListExports", "exports", **newest)))
        first = self.api.call(CONNECTIONS + "GetConnection", {"org_connection_id": LARGE, "as_of": {"position": 1}})
        self.assertEqual(first.connection.external_id, "patient-1")
        return read

    def pages(self, rpc: str, field: str, **request: Any) -> Iterator[Any]:
        asked: Fields = CONSISTENT | {"tenant": TENANT, "page_size": 1000} | request
        while True:
            page = self.api.call(rpc, asked)
            self.assertLess(page.ByteSize(), MESSAGE_BYTES_MAX)
            yield from getattr(page, field)
            if not page.next_page_token:
                return
            asked = asked | {"page_token": page.next_page_token}

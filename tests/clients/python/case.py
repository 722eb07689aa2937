"""What all test cases share: a daemon of their own, its API, and how refusals are judged."""

import tempfile
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

import bodies
from daemon import ENDPOINTS, TENANT, Daemon, Endpoints
from reflection import Api, Fields, told
from webhook import Answer, deliver

CONNECTIONS = "cleat.v1.ConnectionService."
EXPORTS = "cleat.v1.ExportService."
EVENTS = "cleat.v1.EventService."
ADMIN = "cleat.v1.AdminService."


class DaemonCase(unittest.TestCase):
    """One fresh daemon for all tests of a class."""

    maxDiff = None
    endpoints: ClassVar[Endpoints] = ENDPOINTS
    grpc_keys: ClassVar[str] = ""
    # A port of its own for each start, or always the same.
    grpc_address: ClassVar[str] = "127.0.0.1:0"
    directory: ClassVar[Path]
    daemon: ClassVar[Daemon]
    api: ClassVar[Api]

    @classmethod
    def setUpClass(cls) -> None:
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.start()

    @classmethod
    def start(cls) -> None:
        """Over the directory as it is: also again, once the daemon has ended."""
        cls.daemon = Daemon(cls.directory, cls.endpoints, cls.grpc_keys, cls.grpc_address)
        cls.addClassCleanup(cls.daemon.kill)
        cls.api = Api(cls.daemon.grpc)
        cls.addClassCleanup(cls.api.close)

    @classmethod
    def deliver(cls, message_id: str, body: bytes, **options: Any) -> Answer:
        return deliver(cls.daemon.webhooks, body, message_id, **options)

    @classmethod
    def post(cls, message_id: str, body: bytes, **options: Any) -> dict[str, Any]:
        """Taken; what the answer's body says."""
        answer = cls.deliver(message_id, body, **options)
        assert answer.status == 200, answer
        return answer.body

    @classmethod
    def head(cls) -> int:
        return cls.api.call(EVENTS + "GetHead").position

    @classmethod
    def event(cls, position: int, tenant: str = TENANT) -> Message:
        return cls.api.call(EVENTS + "GetEvent", {"tenant": tenant, "position": position}).event

    @classmethod
    def rows(cls, rpc: str, request: Fields | None = None) -> dict[str, Fields]:
        """Every page of a list, from the newest state, by the id of each row."""
        field, key = {
            "ListConnections": ("connections", "org_connection_id"),
            "ListExports": ("exports", "task_id"),
        }[rpc.rpartition(".")[2]]
        request = {"consistency": {"fully_consistent": True}} | (request or {})
        found: dict[str, Fields] = {}
        while True:
            page = cls.api.call(rpc, request)
            rows = {getattr(row, key): told(row) for row in getattr(page, field)}
            assert not rows.keys() & found.keys(), "a row came twice"
            found |= rows
            if not page.next_page_token:
                return found
            request = request | {"page_token": page.next_page_token}

    @contextmanager
    def assertRefused(self, code: grpc.StatusCode, reason: str) -> Iterator[None]:
        """The API refuses, and says why as every one of its errors does."""
        with self.assertRaises(grpc.RpcError) as raised:
            yield
        self.assertEqual((raised.exception.code(), self.reasons(raised.exception)), (code, [reason]))

    def reasons(self, error: grpc.RpcError) -> list[str]:
        """Those of cleat that its details bear."""
        status = rpc_status.from_call(error)
        self.assertIsNotNone(status, error)
        found = []
        for detail in status.details:
            info = ErrorInfo()
            if detail.Unpack(info):
                self.assertEqual(info.domain, "cleat")
                found.append(info.reason)
        return found


class TakenCase(DaemonCase):
    """Webhooks have been taken, each under a name; so rows can be told by the names of what they come from."""

    # What each was answered.
    taken: ClassVar[dict[str, dict[str, Any]]]

    def position(self, name: str) -> int:
        return self.taken[name]["position"]

    def tenant(self, name: str) -> str:
        return TENANT

    def recorded_at(self, name: str) -> str:
        """When the daemon says that it recorded this event."""
        return told(self.event(self.position(name), self.tenant(name)))["recorded_at"]

    def connection_row(
        self, connection: str, first: str, last: str, status_by: str, export_by: str = "", **fields: object
    ) -> Fields:
        """Every field, but for times that are not told; those not given are empty."""
        texts = (
            "reported_status external_id external_state request_id scope platform_type "
            "endpoint_id brand_id portal_id tefca_directory_id org_id"
        )
        return (
            dict.fromkeys(texts.split(), "")
            | {"org_connection_id": connection}
            | {"reconnect_count": 0, "needs_reconnect": False, "order_ambiguous": False}
            | self._trail(first, last)
            | ({"status_recorded_at": self.recorded_at(status_by)} if status_by else {})
            | ({"last_export_recorded_at": self.recorded_at(export_by)} if export_by else {})
            | fields
        )

    def export_row(self, task: str, first: str, last: str = "", **fields: object) -> Fields:
        """Every field, but for stats and a deadline; those not given are empty. It is ready."""
        return (
            dict.fromkeys(("failure_reason", "org_connection_id", "external_id", "org_id"), "")
            | {"task_id": task, "status": "EXPORT_STATUS_READY", "links": [], "after_revocation": False, "version": "1"}
            | self._trail(first, last or first)
            | fields
        )

    def _trail(self, first: str, last: str) -> Fields:
        """Whose a row is, and the first and last event that it comes from."""
        return {
            "tenant": self.tenant(first),
            "api_mode": "API_MODE_LIVE",
            "first_position": str(self.position(first)),
            "last_position": str(self.position(last)),
            "first_recorded_at": self.recorded_at(first),
            "last_recorded_at": self.recorded_at(last),
        }


class StoryCase(TakenCase):
    """All recorded bodies have been posted."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.taken = {name: cls.post(message_id(name), body) for name, body in bodies.fixtures().items()}


def message_id(fixture: str) -> str:
    """Standard Webhooks separates what it signs by full stops, so an id has none."""
    return "msg_" + fixture.replace(".", "_")

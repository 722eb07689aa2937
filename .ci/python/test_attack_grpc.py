"""The gRPC API and the webhook door, while a caller at 127.0.0.2 takes what it can of the API."""

import base64
import itertools
import subprocess
import time

import grpc

import bodies
from attack import Attack, under
from case import ADMIN, CONNECTIONS, EVENTS
from daemon import BINARY, TENANT, until
from http2 import connection, half_request, request
from reflection import Api, Fields
from test_attack_door import ANSWER_SECONDS_MAX, RESIDENT_GROWTH_MAX, AttackCase

WATCHED_SECONDS = 7.0
ROWS = 20_000
PAGE: Fields = {"tenant": TENANT, "page_size": 1000}
WINDOW = 65_535

_number = itertools.count()


def path(rpc: str) -> str:
    service, _, method = rpc.rpartition(".")
    return f"/{service}/{method}"


class OneCaller(AttackCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        payloads = cls.directory / "payloads.jsonl"
        with payloads.open("wb") as file:
            file.writelines(_connected(number) + b"\n" for number in range(ROWS))
        subprocess.run(
            [BINARY, "import", payloads, "--address", cls.daemon.grpc],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        until("all are applied", lambda: cls.api.call(ADMIN + "GetStatus").views_position >= ROWS)
        # What the allocator keeps of honest use is no attack's.
        for _ in range(20):
            cls.api.call(CONNECTIONS + "ListConnections", PAGE)

    def others_are_served_under(self, first: bytes, connections: int = 256) -> None:
        """Calls and webhooks, each on a new connection. Memory stays within its bound."""
        idle, most, slowest = self.resident(), 0, 0.0
        with under(Attack(first=first, connections=connections, reconnects=False), self.daemon.grpc):
            begun = time.monotonic()
            while time.monotonic() - begun < WATCHED_SECONDS:
                for ask in (self.status, self.connection, self.webhook):
                    asked = time.monotonic()
                    ask()
                    slowest = max(slowest, time.monotonic() - asked)
                    self.assertLess(slowest, ANSWER_SECONDS_MAX, ask.__name__)
                most = max(most, self.resident() - idle)
                self.assertLess(most, RESIDENT_GROWTH_MAX)
        name = self.id().rpartition(".")[2]
        print(f"{name}: {most / 1024**2:.0f} MiB more, the slowest in {slowest:.3f} s", flush=True)

    def new_api(self) -> Api:
        api = Api(self.daemon.grpc)
        self.addCleanup(api.close)
        return api

    def status(self) -> None:
        api = self.new_api()
        self.assertGreaterEqual(api.call(ADMIN + "GetStatus").head_position, ROWS)
        api.close()

    def connection(self) -> None:
        found = self.api.call(CONNECTIONS + "GetConnection", {"tenant": TENANT, "org_connection_id": "c-7"})
        self.assertEqual(found.connection.org_connection_id, "c-7")

    def webhook(self) -> None:
        number = next(_number)
        answer = self.deliver(f"msg_{number}", bodies.body("webhook.test", f"signed-{number}", bodies.TEST))
        self.assertEqual(answer.status, 200, answer)

    def streams(self, rpc: str, fields: Fields, count: int = 250) -> list[bytes]:
        return [request(path(rpc), self.api.encoded(rpc, fields))] * count

    def test_lists_that_nobody_takes(self) -> None:
        self.others_are_served_under(connection(0, self.streams(CONNECTIONS + "ListConnections", PAGE)))

    def test_lists_of_which_a_byte_is_taken(self) -> None:
        self.others_are_served_under(connection(1, self.streams(CONNECTIONS + "ListConnections", PAGE)))

    def test_events_that_nobody_takes(self) -> None:
        self.others_are_served_under(connection(0, self.streams(EVENTS + "ReadEvents", {"tenant": TENANT})))

    def test_half_requests(self) -> None:
        half = half_request(path(EVENTS + "GetEvent"), 512 * 1024, 300)
        self.others_are_served_under(connection(WINDOW, [half] * 250))

    def test_half_imports(self) -> None:
        half = half_request(path(ADMIN + "ImportEvents"), 1024 * 1024, 65_000)
        self.others_are_served_under(connection(WINDOW, [half] * 250))

    def test_connections_that_ask_nothing(self) -> None:
        self.others_are_served_under(connection(WINDOW), connections=600)

    def test_watches(self) -> None:
        watches = self.streams(CONNECTIONS + "WatchConnections", {"tenant": TENANT, "start": {"snapshot": True}})
        self.others_are_served_under(connection(0, watches))

    def test_lists_in_an_order(self) -> None:
        ordered = self.streams(CONNECTIONS + "ListConnections", PAGE | {"order_by": "last_recorded_at desc"}, 100)
        self.others_are_served_under(connection(WINDOW, ordered), connections=20)

    def test_watches_of_others_have_places(self) -> None:
        watches = self.streams(CONNECTIONS + "WatchConnections", {"tenant": TENANT})
        with under(Attack(first=connection(WINDOW, watches), connections=8, reconnects=False), self.daemon.grpc):
            until("the caller has its share", lambda: self.api.call(ADMIN + "GetStatus").watches == 500)
            stream = self.api.stream(CONNECTIONS + "WatchConnections", {"tenant": TENANT})
            self.assertEqual(next(iter(stream)).WhichOneof("message"), "started")
            stream.cancel()

    def test_a_dry_run_without_an_end(self) -> None:
        idle = self.resident()
        batches = (
            {
                "tenant": TENANT,
                "dry_run": True,
                "payloads": [_payload(f"{batch}-{at}") for at in range(5000)],
            }
            for batch in range(210)
        )
        with self.assertRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_KEYS"):
            self.api.upload(ADMIN + "ImportEvents", *batches)
        self.assertLess(self.resident() - idle, RESIDENT_GROWTH_MAX)


def _payload(event_id: str) -> str:
    return base64.b64encode(bodies.body("webhook.test", event_id, {})).decode()


def _connected(number: int) -> bytes:
    data = bodies.CONNECTED | {
        "org_connection_id": f"c-{number}",
        "external_id": f"patient-{number}",
        "external_state": "x" * 800,
    }
    return bodies.body("patient.connection_success", f"connected-{number}", data)

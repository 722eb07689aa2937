"""The gRPC API and the webhook door, while callers at other addresses take what they can of the API."""

import base64
import itertools
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import grpc

import bodies
from attack import Attack, under
from case import ADMIN, CONNECTIONS, EVENTS
from daemon import BINARY, TENANT, until
from http2 import HalfRequests, connection, request
from reflection import Api, Fields
from test_attack_door import ANSWER_SECONDS_MAX, RESIDENT_GROWTH_MAX, AttackCase

WATCHED_SECONDS = 7.0
ROWS = 20_000
PAGE: Fields = {"tenant": TENANT, "page_size": 1000}
WINDOW = 65_535
# Of one connection: as many as it may have.
STREAMS = 128

_number = itertools.count()


def path(rpc: str) -> str:
    service, _, method = rpc.rpartition(".")
    return f"/{service}/{method}"


class ApiAttackCase(AttackCase):
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

    def setUp(self) -> None:
        """A daemon for each attack: what the allocator keeps of one is not charged to the next."""
        self.daemon.kill()
        self.start()
        # What it keeps of honest use is no attack's, nor is what the log caches.
        for _ in range(20):
            self.api.call(CONNECTIONS + "ListConnections", PAGE)
        for _ in self.api.stream(EVENTS + "ReadEvents", {"tenant": TENANT}):
            pass

    def served_under(self, attacks: list[Attack], asks: list[Callable[[], None]]) -> None:
        """All asks are answered in time. Memory stays within its bound."""
        idle, most, slowest = self.resident(), 0, 0.0
        with ExitStack() as stack:
            for attack in attacks:
                stack.enter_context(under(attack, self.daemon.grpc))
            begun = time.monotonic()
            while time.monotonic() - begun < WATCHED_SECONDS:
                for ask in asks:
                    asked = time.monotonic()
                    ask()
                    slowest = max(slowest, time.monotonic() - asked)
                    self.assertLess(slowest, ANSWER_SECONDS_MAX, ask.__name__)
                most = max(most, self.resident() - idle)
                self.assertLess(most, RESIDENT_GROWTH_MAX)
        name = self.id().rpartition(".")[2]
        print(f"{name}: {most / 1024**2:.0f} MiB more, the slowest in {slowest:.3f} s", flush=True)

    def status(self) -> None:
        self.assertGreaterEqual(self.api.call(ADMIN + "GetStatus").head_position, ROWS)

    def status_on_a_new_connection(self) -> None:
        api = Api(self.daemon.grpc)
        self.addCleanup(api.close)
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


class OneCaller(ApiAttackCase):
    """Others have all of the API."""

    def others_are_served_under(
        self, first: bytes = b"", connections: int = 256, client: Callable[[], HalfRequests] | None = None
    ) -> None:
        attack = Attack(first=first, client=client, connections=connections, reconnects=False)
        self.served_under([attack], [self.status_on_a_new_connection, self.connection, self.webhook])

    def test_lists_that_nobody_takes(self) -> None:
        self.others_are_served_under(connection(0, self.streams(CONNECTIONS + "ListConnections", PAGE)))

    def test_lists_of_which_a_byte_is_taken(self) -> None:
        self.others_are_served_under(connection(1, self.streams(CONNECTIONS + "ListConnections", PAGE)))

    def test_events_that_nobody_takes(self) -> None:
        self.others_are_served_under(connection(0, self.streams(EVENTS + "ReadEvents", {"tenant": TENANT})))

    def test_half_requests(self) -> None:
        self.others_are_served_under(client=partial(HalfRequests, path(EVENTS + "GetEvent"), 512 * 1024, STREAMS))

    def test_half_imports(self) -> None:
        self.others_are_served_under(client=partial(HalfRequests, path(ADMIN + "ImportEvents"), 1024 * 1024, STREAMS))

    def test_connections_that_ask_nothing(self) -> None:
        self.others_are_served_under(client=HalfRequests, connections=600)

    def test_watches(self) -> None:
        watches = self.streams(CONNECTIONS + "WatchConnections", {"tenant": TENANT, "start": {"snapshot": True}})
        self.others_are_served_under(connection(0, watches))

    def test_lists_in_an_order(self) -> None:
        ordered = self.streams(CONNECTIONS + "ListConnections", PAGE | {"order_by": "last_recorded_at desc"}, 100)
        self.others_are_served_under(connection(WINDOW, ordered), connections=20)

    def test_watches_of_others_have_places(self) -> None:
        watches = self.streams(CONNECTIONS + "WatchConnections", {"tenant": TENANT})
        with under(Attack(first=connection(WINDOW, watches), connections=8, reconnects=False), self.daemon.grpc):
            until("the caller has its share", lambda: self.api.call(ADMIN + "GetStatus").watches == 300)
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


class FourCallers(ApiAttackCase):
    """They take all seats and streams that are no administrator's: 256 connections, where one caller has 64."""

    def administrators_are_served_under(self, first: bytes) -> None:
        sources = [f"127.0.0.{host}" for host in range(2, 6)]
        attacks = [Attack(source=source, first=first, connections=64, reconnects=False) for source in sources]
        self.served_under(attacks, [self.status, self.webhook])

    def test_lists_that_nobody_takes(self) -> None:
        self.administrators_are_served_under(connection(0, self.streams(CONNECTIONS + "ListConnections", PAGE)))

    def test_events_that_nobody_takes(self) -> None:
        self.administrators_are_served_under(connection(0, self.streams(EVENTS + "ReadEvents", {"tenant": TENANT})))

    def test_watches_from_the_beginning_that_nobody_takes(self) -> None:
        watches = {"tenant": TENANT, "start": {"after_position": 1}, "include_event": True}
        self.administrators_are_served_under(connection(0, self.streams(CONNECTIONS + "WatchConnections", watches)))

    def test_watches_of_events_from_the_beginning_that_nobody_takes(self) -> None:
        watches = {"tenant": TENANT, "start": {"after_position": 1}}
        self.administrators_are_served_under(connection(0, self.streams(EVENTS + "WatchEvents", watches)))

    def test_snapshots_that_nobody_takes(self) -> None:
        watches = self.streams(CONNECTIONS + "WatchConnections", {"tenant": TENANT, "start": {"snapshot": True}})
        self.administrators_are_served_under(connection(0, watches))


def _payload(event_id: str) -> str:
    return base64.b64encode(bodies.body("webhook.test", event_id, {})).decode()


def _connected(number: int) -> bytes:
    data = bodies.CONNECTED | {
        "org_connection_id": f"c-{number}",
        "external_id": f"patient-{number}",
        "external_state": "x" * 800,
    }
    return bodies.body("patient.connection_success", f"connected-{number}", data)

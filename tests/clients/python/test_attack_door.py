"""The webhook door and the operations port, while strangers take what they can of them."""

import itertools
import re
import resource
import time
import unittest
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bodies
from attack import Attack, under
from case import ADMIN, DaemonCase
from daemon import TENANT, until
from reflection import told
from webhook import deliver

# How long each attack is watched, and the longest that a webhook on a new connection may take meanwhile.
WATCHED_SECONDS = 6.0
ANSWER_SECONDS_MAX = 5.0
RESIDENT_GROWTH_MAX = 256 * 1024 * 1024

HEAD = b"POST /webhooks/fasten HTTP/1.1\r\nhost: x\r\n"
SIGNED_HEAD = HEAD + b"webhook-id: msg_1\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,x\r\n"
LARGE = 256 * 1024

_number = itertools.count()


def all_but_a_byte(size: int) -> bytes:
    """A request with a body of this size, without the body's last byte."""
    return SIGNED_HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * (size - 1)


class AttackCase(DaemonCase):
    @classmethod
    def setUpClass(cls) -> None:
        # For both sides of each connection of the attacks.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        super().setUpClass()

    def metric(self, name: str) -> float:
        """0 if it has not been counted yet."""
        status, text = self.daemon.ask_operations("/metrics")
        self.assertEqual(status, 200)
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def resident(self) -> int:
        """Bytes of memory that the daemon has."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kilobytes) * 1024

    def webhooks_are_taken(self, seconds: float = WATCHED_SECONDS) -> None:
        """Signed ones, each on a new connection, for this long."""
        slowest, taken, begun = 0.0, 0, time.monotonic()
        while time.monotonic() - begun < seconds:
            number = next(_number)
            body = bodies.body("webhook.test", f"signed-{number}", bodies.TEST)
            sent = time.monotonic()
            answer = self.deliver(f"msg_{number}", body)
            slowest = max(slowest, time.monotonic() - sent)
            self.assertEqual(answer.status, 200, answer)
            self.assertLess(slowest, ANSWER_SECONDS_MAX)
            taken += 1
            time.sleep(0.1)
        print(f"{self.id().rpartition('.')[2]}: {taken} taken, the slowest in {slowest:.3f} s", flush=True)


class Seats(AttackCase):
    def taken_under(self, attack: Attack) -> None:
        idle = self.resident()
        evicted = self.metric('cleat_http_evicted_total{listener="webhooks"}')
        with under(attack, self.daemon.webhooks):
            self.webhooks_are_taken()
            self.assertEqual(self.daemon.ask_operations("/readyz")[0], 200)
            self.assertLess(self.resident() - idle, RESIDENT_GROWTH_MAX)
        self.assertGreater(self.metric('cleat_http_evicted_total{listener="webhooks"}'), evicted + 1000)

    def test_silent_connections(self) -> None:
        self.taken_under(Attack(reconnects=False))

    def test_dripping_headers(self) -> None:
        self.taken_under(Attack(first=HEAD + b"x: ", drip=b"x", reconnects=False))

    def test_dripping_bodies(self) -> None:
        self.taken_under(Attack(first=SIGNED_HEAD + b"content-length: 1000\r\n\r\n", drip=b"x", reconnects=False))

    def test_idle_connections(self) -> None:
        self.taken_under(Attack(first=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", reconnects=False))

    def test_silent_connections_that_come_again_at_once(self) -> None:
        self.taken_under(Attack())

    def test_idle_connections_that_ask_again_and_come_again_at_once(self) -> None:
        request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        self.taken_under(Attack(first=request, drip=request, drip_seconds=0.1))


class Memory(AttackCase):
    def test_announced_bodies_take_only_what_is_charged(self) -> None:
        idle = self.resident()
        announced = SIGNED_HEAD + b"content-length: %d\r\n\r\nx" % LARGE
        with under(Attack(first=announced, connections=1000, reconnects=False), self.daemon.webhooks):
            held = until("all bodies have begun", lambda: self.begun(1000))
            # Half of `inflight_bytes`: all of them are large.
            self.assertLessEqual(held, 32 * 1024 * 1024)
            self.assertLess(self.resident() - idle, 128 * 1024 * 1024)
            self.assertEqual(held, 1000 * (4 + 16) * 1024)

    def begun(self, requests: int) -> float | None:
        """What is charged, once it is as much as so many requests need."""
        charged = self.metric("cleat_webhook_inflight_bytes")
        return charged if charged >= requests * (4 + 16) * 1024 else None

    def test_large_unsigned_bodies_leave_room_for_small_signed_ones(self) -> None:
        large = Attack(first=all_but_a_byte(LARGE), connections=260)
        # What fits in where one more large one does not.
        small = Attack(first=all_but_a_byte(1024), connections=100)
        with under(large, self.daemon.webhooks), under(small, self.daemon.webhooks):
            self.webhooks_are_taken()
        self.assertGreater(self.metric('cleat_webhooks_total{endpoint="fasten",outcome="overloaded"}'), 0)
        self.assertLessEqual(self.daemon.log().count("cannot accept a webhook"), 1)

    def test_small_unsigned_bodies_leave_room_for_small_signed_ones(self) -> None:
        with under(Attack(first=all_but_a_byte(16 * 1024)), self.daemon.webhooks):
            self.webhooks_are_taken()


class Replays(AttackCase):
    def test_one_old_delivery_neither_fills_the_log_nor_unsets_readiness(self) -> None:
        old = bodies.body("webhook.test", "captured", bodies.TEST)
        at = datetime.now(UTC) - timedelta(hours=6)
        begun = time.monotonic()
        replays = 0
        while time.monotonic() - begun < 3:
            self.assertEqual(deliver(self.daemon.webhooks, old, "captured", at=at).status, 401)
            replays += 1
        self.assertEqual(self.daemon.ask_operations("/readyz")[0], 200)
        self.assertGreater(replays, 100)
        self.assertEqual(self.daemon.log().count("stale_timestamp"), 1)

    def test_a_flood_of_one_refusal_leaves_the_others_listed(self) -> None:
        wrong = "whsec_YW5vdGhlci1zZWNyZXQtYW5vdGhlci1zZWNyZXQtMDA="
        body = bodies.body("webhook.test", "wrong", bodies.TEST)
        self.assertEqual(self.deliver("wrong", body, secret=wrong).status, 401)
        unknown = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
        with under(Attack(first=unknown, drip=unknown, drip_seconds=0.1, connections=100), self.daemon.webhooks):
            until("the flood has come", self.flooded)
        listed = told(self.api.call(ADMIN + "ListRejectedDeliveries", {"tenant": TENANT}))["deliveries"]
        reasons = Counter(it["reason"] for it in listed)
        self.assertEqual((reasons["signature_mismatch"], reasons["unknown_endpoint"]), (1, 100))

    def flooded(self) -> bool:
        return self.metric('cleat_webhooks_total{endpoint="",outcome="unknown_endpoint"}') > 2000


class OperationsPort(AttackCase):
    def alive_under(self, attack: Attack) -> None:
        slowest, begun = 0.0, time.monotonic()
        with under(attack, self.daemon.operations):
            while time.monotonic() - begun < WATCHED_SECONDS:
                asked = time.monotonic()
                self.assertEqual(self.daemon.ask_operations("/livez")[0], 200)
                slowest = max(slowest, time.monotonic() - asked)
                self.assertLess(slowest, ANSWER_SECONDS_MAX)
                time.sleep(0.1)
        print(f"{self.id().rpartition('.')[2]}: the slowest in {slowest:.3f} s", flush=True)

    def test_silent_connections(self) -> None:
        self.alive_under(Attack(connections=64))

    def test_connections_that_come_again_at_once(self) -> None:
        self.alive_under(Attack(first=b"GET /", drip=b"x", drip_seconds=0.1, connections=500))


if __name__ == "__main__":
    unittest.main()

"""SIGTERM: watches are told, the process ends well, and nothing is lost."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import grpc
from google.protobuf.message import Message

import bodies
from case import CONNECTIONS, EVENTS, EXPORTS, StoryCase, message_id
from reflection import told
from watch import LIVE, SNAPSHOT, Watch


class Stop(StoryCase):
    def test_it_ends_with_code_0_while_watches_are_open_and_starts_again_as_it_was(self) -> None:
        watches = [Watch(self.api, SNAPSHOT), Watch(self.api, LIVE)]
        for watch in watches:
            watch.until("caught_up")
        health = self.api.stream("grpc.health.v1.Health.Watch", {})
        self.assertEqual(told(next(health)), {"status": "SERVING"})
        head = told(self.api.call(EVENTS + "GetHead"))
        lists = [self.rows(CONNECTIONS + "ListConnections"), self.rows(EXPORTS + "ListExports")]

        self.daemon.terminate()
        for watch in watches:
            going = watch.until("going_away")
            self.assertEqual((going.going_away.reason, going.position), ("SHUTTING_DOWN", 14))
            self.assertGreater(going.going_away.reconnect_after.ToMilliseconds(), 0)
            with self.assertRefused(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
                watch.next()
        self.assertEqual(self.daemon.exit_code(), 0)
        self.assertNotIn("SERVING", [told(it)["status"] for it in self.rest(health)])
        self.assertNotIn('"level":"ERROR"', self.daemon.log())

        self.start()
        self.assertEqual(told(self.api.call(EVENTS + "GetHead")), head)
        again = [self.rows(CONNECTIONS + "ListConnections"), self.rows(EXPORTS + "ListExports")]
        self.assertEqual(again, lists)
        for name, body in bodies.fixtures().items():
            first = self.taken[name]
            again = self.post(message_id(name), body)
            # The token of a duplicate is of a later point.
            self.assertEqual(again | {"token": first["token"]}, first | {"duplicate": True})

    @staticmethod
    def rest(stream: Iterable[Message]) -> Iterator[Message]:
        """What still comes, however the stream ends."""
        with suppress(grpc.RpcError):
            yield from stream

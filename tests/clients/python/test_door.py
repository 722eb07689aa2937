"""The webhook door, as a sender with the reference library meets it."""

from datetime import UTC, datetime, timedelta

import bodies
from case import EVENTS, DaemonCase, message_id


class Door(DaemonCase):
    def test_every_recorded_body_is_taken_once_and_told_where_it_is_when_it_comes_again(self) -> None:
        recorded = bodies.fixtures()
        self.assertEqual(len(recorded), 14)
        head = self.head()
        taken = [self.deliver(message_id(name), body) for name, body in recorded.items()]
        self.assertEqual([(it.status, it.content_type) for it in taken], [(200, "application/json")] * 14)
        positions = [head + 1 + place for place in range(14)]
        told = [(it.body["position"], it.body["duplicate"]) for it in taken]
        self.assertEqual(told, [(position, False) for position in positions])

        again = [self.deliver("again_" + message_id(name), body) for name, body in recorded.items()]
        answered = [(it.status, it.body["position"], it.body["duplicate"]) for it in again]
        self.assertEqual(answered, [(200, position, True) for position in positions])
        self.assertEqual(self.head(), head + 14)

    def test_without_an_id_in_the_body_the_webhook_id_tells_a_duplicate(self) -> None:
        body = b'{"api_mode":"live","type":"webhook.test","data":{"hello":"world"}}'
        first = self.post("no_id_1", body)
        self.assertEqual(self.post("no_id_1", body), first | {"duplicate": True})
        other = self.post("no_id_2", body)
        self.assertEqual((other["position"], other["duplicate"]), (first["position"] + 1, False))

    def test_a_wrong_signature_leaves_nothing(self) -> None:
        wrong = "whsec_YW5vdGhlci1zZWNyZXQtYW5vdGhlci1zZWNyZXQtMDA="
        body = bodies.body("webhook.test", "never-taken", bodies.TEST)
        head = self.head()
        answer = self.deliver("wrong", body, secret=wrong)
        self.assertEqual((answer.status, answer.content_type), (401, "application/problem+json"))
        self.assertEqual((answer.body["status"], answer.body["reason"]), (401, "UNAUTHENTICATED"))
        self.assertEqual(self.head(), head)

        taken = self.post("right", body)
        self.assertEqual((taken["position"], taken["duplicate"]), (head + 1, False))
        event = self.api.call(EVENTS + "GetEvent", {"event_key": "id:never-taken"}).event
        self.assertEqual((event.position, event.webhook_id), (head + 1, "right"))

    def test_a_stale_or_early_timestamp_is_answered_as_a_wrong_signature(self) -> None:
        body = bodies.body("webhook.test", "untimely", bodies.TEST)
        wrong = self.deliver("wrong", body, secret="whsec_YW5vdGhlci1zZWNyZXQtYW5vdGhlci1zZWNyZXQtMDA=")
        head = self.head()
        for off in (timedelta(hours=-1), timedelta(hours=1)):
            with self.subTest(off=off):
                at = datetime.now(UTC) + off
                self.assertEqual(self.deliver("untimely", body, at=at), wrong)
        self.assertEqual(self.head(), head)

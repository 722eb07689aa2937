"""The log: every delivery as it was received, and its head."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from standardwebhooks import Webhook

import bodies
from case import ADMIN, CONNECTIONS, EVENTS, StoryCase, message_id
from daemon import ROOT, SECRET, SECRET_LABEL, TENANT
from reflection import told


class Events(StoryCase):
    def test_every_delivery_is_there_as_it_was_received(self) -> None:
        for name, body in bodies.fixtures().items():
            with self.subTest(name):
                sent = json.loads(body)
                event = self.event(self.position(name))
                self.assertEqual(event.body, body)
                self.assertLess(abs(_age(event.recorded_at)), timedelta(minutes=10))
                fields = told(event)
                for checked in ("body", "recorded_at", "webhook_timestamp", "webhook_signature"):
                    del fields[checked]
                expected = {
                    "position": str(self.position(name)),
                    "tenant": TENANT,
                    "endpoint": "fasten",
                    "event_key": "id:" + sent["id"],
                    "provenance": "PROVENANCE_WEBHOOK",
                    "mode_verdict": "MODE_VERDICT_MATCHED",
                    "api_mode": "API_MODE_" + sent["api_mode"].upper(),
                    "type": sent["type"],
                    "webhook_id": message_id(name),
                    "secret_label": SECRET_LABEL,
                    "unreadable": False,
                    "conflict_of": "0",
                }
                self.assertEqual(fields, expected)

    def test_whoever_has_the_secret_can_verify_what_is_kept(self) -> None:
        event = self.event(self.position("connection_success.live"))
        headers = {
            "webhook-id": event.webhook_id,
            "webhook-timestamp": event.webhook_timestamp,
            "webhook-signature": event.webhook_signature,
        }
        verified = Webhook(SECRET).verify(event.body, headers)
        self.assertEqual(verified["data"]["external_id"], "user-1842")

    def test_an_event_is_found_by_what_its_deliveries_share(self) -> None:
        for name, body in bodies.fixtures().items():
            with self.subTest(name):
                key = "id:" + json.loads(body)["id"]
                event = self.api.call(EVENTS + "GetEvent", {"event_key": key}).event
                self.assertEqual(event, self.event(self.position(name)))

    def test_the_order_of_events_is_the_order_of_their_times(self) -> None:
        events = [self.event(position) for position in range(1, self.head() + 1)]
        self.assertEqual([it.position for it in events], list(range(1, 15)))
        times = [it.recorded_at.ToDatetime() for it in events]
        self.assertEqual(times, sorted(times))

    def test_head_status_and_answers_tell_the_same_log(self) -> None:
        head = self.api.call(EVENTS + "GetHead")
        self.assertRegex(head.log_id, "^[0-9a-f]{32}$")
        self.assertRegex(head.epoch, "^[0-9a-f]{32}$")
        self.assertEqual((head.position, len(head.chain_hash)), (14, 32))
        last = self.taken["authorization_revoked.flat"]
        self.assertEqual((head.position, head.read_token), (last["position"], last["token"]))

        # Views follow the log: let them be there.
        self.rows(CONNECTIONS + "ListConnections")
        status = self.api.call(ADMIN + "GetStatus")
        fields = told(status)
        started_at = status.started_at.ToDatetime()
        self.assertLess(started_at, self.event(1).recorded_at.ToDatetime())
        self.assertLess(abs(_age(status.started_at)), timedelta(minutes=10))
        del fields["started_at"]
        expected = {
            "version": _version(),
            "state": "SERVING_STATE_SERVING",
            "state_reason": "",
            "log_id": head.log_id,
            "epoch": head.epoch,
            "head_position": "14",
            "views_position": "14",
            "head_recorded_at": self.recorded_at("authorization_revoked.flat"),
            "connections": "4",
            "exports": "5",
            "watches": 0,
            "views_lag": "0s",
        }
        self.assertEqual(fields, expected)


def _age(timestamp: Any) -> timedelta:
    return datetime.now(UTC) - timestamp.ToDatetime(UTC)


def _version() -> str:
    manifest = (ROOT / "Cargo.toml").read_text()
    return manifest.partition('\nversion = "')[2].partition('"')[0]

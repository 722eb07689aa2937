"""Every field of the five events that Fasten documents can be read again, through the API alone."""

import json

import bodies
from case import CONNECTIONS, EVENTS, EXPORTS, DaemonCase
from reflection import Fields, told


class Document(DaemonCase):
    def send(self, kind: str, data: Fields) -> None:
        """The event is taken, and its data is in the log as it was sent."""
        event_id = f"{kind}-{self.head()}"
        position = self.post("document", bodies.body(kind, event_id, data))["position"]
        event = self.event(position)
        self.assertEqual((event.type, json.loads(event.body)["data"]), (kind, data))

    def connection(self) -> Fields:
        request = {"org_connection_id": bodies.CONNECTION, "consistency": {"fully_consistent": True}}
        return told(self.api.call(CONNECTIONS + "GetConnection", request).connection)

    def export(self) -> Fields:
        request = {"task_id": bodies.TASK, "consistency": {"fully_consistent": True}}
        return told(self.api.call(EXPORTS + "GetExport", request).export)

    def has(self, row: Fields, **expected: object) -> None:
        self.assertEqual({name: row.get(name) for name in expected}, expected)

    def test_the_five_events_one_after_the_other(self) -> None:
        self.send("patient.connection_success", bodies.CONNECTED)
        connected = dict(bodies.CONNECTED)
        reported = connected.pop("connection_status")
        self.has(self.connection(), **connected, reported_status=reported, status="CONNECTION_STATUS_AUTHORIZED")

        self.send("patient.ehi_export_success", bodies.EXPORTED)
        exported = {"org_connection_id": bodies.CONNECTION, "task_id": bodies.TASK, "org_id": bodies.ORGANISATION}
        self.has(
            self.export(),
            **exported,
            status="EXPORT_STATUS_READY",
            links=[{"url": bodies.LINK, "export_type": "", "content_type": ""}],
            stats={"total_resources": "12", "total_by_resource_type": {}},
            external_id="patient-1",
        )

        self.send("patient.ehi_export_failed", bodies.FAILED)
        reason = "suppressed_please_contact"
        self.has(self.export(), **exported, status="EXPORT_STATUS_FAILED", failure_reason=reason)

        self.send("webhook.test", bodies.TEST)

        self.send("patient.authorization_revoked", bodies.REVOKED)
        revoked = dict(bodies.REVOKED)
        reported = revoked.pop("connection_status")
        kept = {"external_id": "patient-1", "external_state": "attempt-1", "request_id": "request-1"}
        self.has(
            self.connection(),
            **revoked,
            **kept,
            org_id=bodies.ORGANISATION,
            reported_status=reported,
            status="CONNECTION_STATUS_REVOKED",
            version="4",
        )

    def test_the_documents_bodies_without_an_envelope_are_kept_as_they_are(self) -> None:
        for data in (bodies.CONNECTED, bodies.EXPORTED, bodies.FAILED, bodies.TEST, bodies.REVOKED):
            with self.subTest(fields=sorted(data)):
                body = json.dumps(data).encode()
                event_key = f"bare-{self.head()}"
                position = self.post(event_key, body)["position"]
                # Without a mode it claims no key.
                event = self.event(position)
                self.assertEqual((event.position, event.body, event.type), (position, body, ""))

    def test_the_documents_empty_sample_names_no_connection(self) -> None:
        before = self.rows(CONNECTIONS + "ListConnections")
        self.send("patient.connection_success", dict.fromkeys(bodies.CONNECTED, ""))
        self.assertEqual(self.rows(CONNECTIONS + "ListConnections"), before)

"""What Fasten sends: the recorded bodies, the five events of its documentation, and made ones for volume.

Knows nothing of what becomes of them.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

from daemon import ROOT

# Of Fasten's documentation, with a value for every field that it lists.
CONNECTION = "189484f4-1234-1234-1234-78a8caa3b64a"
TASK = "fedec7b78cf6905872032b426473"
ORGANISATION = "592c0579-443f-a94e-4c8847c0c066"
LINK = (
    "https://api.connect.fastenhealth.com/v1/bridge/fhir/ehi-export/"
    "fedec7b7-8cf6-4bc9-72032b426473/download/"
    "2024-06-12-6715-4ae4-bde5-ab97519bd1fa.jsonl"
)
CONNECTED = {
    "org_connection_id": CONNECTION,
    "endpoint_id": "endpoint-1",
    "brand_id": "brand-1",
    "portal_id": "portal-1",
    "connection_status": "authorized",
    "platform_type": "epic",
    "request_id": "request-1",
    "external_id": "patient-1",
    "external_state": "attempt-1",
}
EXPORTED = {
    "download_link": LINK,
    "org_connection_id": CONNECTION,
    "task_id": TASK,
    "org_id": ORGANISATION,
    "stats": {"total_resources": 12},
}
FAILED = {
    "failure_reason": "suppressed_please_contact",
    "org_connection_id": CONNECTION,
    "task_id": TASK,
    "org_id": ORGANISATION,
}
REVOKED = {
    "org_connection_id": CONNECTION,
    "endpoint_id": "endpoint-2",
    "portal_id": "portal-2",
    "brand_id": "brand-2",
    "platform_type": "cerner",
    "connection_status": "revoked",
}
TEST = {"hello": "world", "random": "txpsdf923jksdfl93"}


def fixtures() -> dict[str, bytes]:
    """Every recorded body, by the name of its file, in the order of the bodies' own dates."""
    files = (ROOT / "tests" / "fixtures").glob("*.json")
    bodies = {file.stem: file.read_bytes() for file in files}
    return dict(sorted(bodies.items(), key=lambda named: json.loads(named[1])["date"]))


def body(kind: str, event_id: str, data: dict[str, Any]) -> bytes:
    envelope = {
        "api_mode": "live",
        "date": "2026-05-04T14:03:11Z",
        "id": event_id,
        "type": kind,
        "data": data,
    }
    return json.dumps(envelope).encode()


def volume(count: int) -> Iterator[tuple[str, bytes]]:
    """Events of a few connections that connect, are revoked, are exported and change hands; the same in every run."""
    choose = random.Random(20261123)
    for number in range(count):
        event_id, connection = f"volume-{number}", f"connection-{choose.randrange(25)}"
        yield event_id, body(*_event(choose, event_id, connection))


def _event(choose: random.Random, event_id: str, connection: str) -> tuple[str, str, dict[str, Any]]:
    data: dict[str, Any] = {"org_connection_id": connection}
    task = f"task-{choose.randrange(60)}"
    match choose.randrange(5):
        case 0 | 1:
            data["connection_status"] = choose.choice(["authorized", "authorized", "rejected"])
            data["platform_type"] = choose.choice(["epic", "cerner"])
            data["external_id"] = f"patient-{choose.randrange(8)}"
            kind = "patient.connection_success"
        case 2:
            data["connection_status"] = "revoked"
            kind = "patient.authorization_revoked"
        case 3:
            data |= {"task_id": task, "download_link": f"https://x.test/{event_id}"}
            kind = "patient.ehi_export_success"
        case _:
            data |= {"task_id": task, "failure_reason": "token_refresh_failure"}
            kind = "patient.ehi_export_failed"
    return kind, event_id, data

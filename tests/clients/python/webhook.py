"""Posts bodies to the webhook door, signed by the reference library of Standard Webhooks.

Knows nothing of what is in a body.
"""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from daemon import PATIENCE_SECONDS, SECRET


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str | None
    body: dict[str, Any]


def deliver(
    address: str,
    body: bytes,
    message_id: str,
    *,
    endpoint: str = "fasten",
    secret: str = SECRET,
    more_secrets: Sequence[str] = (),
    at: datetime | None = None,
) -> Answer:
    """One delivery, on a connection of its own. With several secrets it bears a signature of each."""
    at = at or datetime.now(UTC)
    signatures = [Webhook(it).sign(message_id, at, body.decode()) for it in (secret, *more_secrets)]
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", f"/webhooks/{endpoint}", body, headers)
        response = connection.getresponse()
        told = json.loads(response.read())
        return Answer(response.status, response.headers["content-type"], told)
    finally:
        connection.close()

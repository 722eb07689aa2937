"""Tells the story of ten patients to a daemon, which is killed in the middle, and helps to ask about it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, ClassVar

from google.protobuf.message import Message

import cast
import story
from case import CONNECTIONS, EVENTS, EXPORTS, TakenCase
from cast import DORA, EMIL, HANA
from reflection import Fields
from story import Delivery
from watch import SNAPSHOT, Watch
from webhook import Answer

CONSISTENT = {"consistency": {"fully_consistent": True}}
# How a delivery ends that is an event from then on.
TAKEN = ("accepted", "accepted_mode_mismatch", "accepted_mode_unknown")


class TenPatients(TakenCase):
    """The whole story has been told."""

    endpoints = cast.ENDPOINTS
    deliveries: ClassVar[dict[str, Delivery]]
    answers: ClassVar[dict[str, Answer]]
    # Emil, read with the token of the answer to the last webhook of the morning, as soon as that was there.
    at_once: ClassVar[Message]
    # By external id, from noon on.
    watches: ClassVar[dict[str, Watch]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.deliveries, cls.answers, cls.taken = {}, {}, {}
        for burst in story.MORNING:
            cls.tell(burst)
        fresh = {"at_least_as_fresh": cls.taken[story.NOON]["token"]}
        request = {"tenant": cast.HARBOR, "org_connection_id": EMIL.connection, "consistency": fresh}
        cls.at_once = cls.api.call(CONNECTIONS + "GetConnection", request)

        cls.api.close()
        cls.daemon.kill()
        cls.start()
        cls.watches = {who.external_id: cls.watch(who.external_id) for who in (DORA, HANA)}
        for burst in story.AFTERNOON:
            cls.tell(burst)

    @classmethod
    def watch(cls, external_id: str) -> Watch:
        """Of one patient, from a snapshot on, which it has."""
        watch = Watch(cls.api, SNAPSHOT, tenant=cast.HARBOR, filter={"external_ids": [external_id]})
        watch.until("caught_up")
        return watch

    @classmethod
    def tell(cls, burst: story.Burst) -> None:
        """All at once."""
        with ThreadPoolExecutor(len(burst)) as senders:
            for delivery, answer in zip(burst, senders.map(cls.send, burst), strict=True):
                assert delivery.name not in cls.answers, f"told twice: {delivery.name}"
                cls.deliveries[delivery.name], cls.answers[delivery.name] = delivery, answer
                if answer.status == 200:
                    cls.taken[delivery.name] = answer.body

    @classmethod
    def send(cls, delivery: Delivery) -> Answer:
        secret, *more = delivery.secrets
        at = datetime.now(UTC) - delivery.signed_ago
        options: dict[str, Any] = {"endpoint": delivery.endpoint, "secret": secret, "more_secrets": more, "at": at}
        return cls.deliver(delivery.message_id, delivery.body, **options)

    def tenant(self, name: str) -> str:
        return cast.ENDPOINTS[self.deliveries[name].endpoint].tenant

    def ended(self, *outcomes: str) -> list[str]:
        """The deliveries that should have ended so, in the order of the story."""
        return [name for name, delivery in self.deliveries.items() if delivery.outcome in outcomes]

    def ask(self, rpc: str, **request: object) -> Message:
        """Harbor, unless another tenant is named; from the newest state."""
        return self.api.call(rpc, {"tenant": cast.HARBOR} | CONSISTENT | request)

    def connections(self, realm: Fields | None = None, **wanted: object) -> dict[str, Fields]:
        """Harbor's in live mode, unless another realm is named."""
        return self.rows(CONNECTIONS + "ListConnections", (realm or {"tenant": cast.HARBOR}) | {"filter": wanted})

    def exports(self, realm: Fields | None = None, **wanted: object) -> dict[str, Fields]:
        return self.rows(EXPORTS + "ListExports", (realm or {"tenant": cast.HARBOR}) | {"filter": wanted})

    def events(self, tenant: str = cast.HARBOR, **wanted: object) -> dict[str, Message]:
        """What ReadEvents tells, by the names of the deliveries."""
        places = {field: wanted.pop(field) for field in ("from_position", "to_position") if field in wanted}
        parts = self.api.stream(EVENTS + "ReadEvents", {"tenant": tenant, "filter": wanted} | places)
        names = {self.position(name): name for name in self.ended(*TAKEN)}
        return {names[event.position]: event for part in parts for event in part.events}

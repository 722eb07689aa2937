"""A client of WatchConnections that keeps what it is told, and holds the stream to its promises.

It says what the state is by messages alone; it never asks for it otherwise.
"""

from google.protobuf.message import Message

from case import CONNECTIONS
from reflection import Api, Fields, told

SNAPSHOT = {"snapshot": True}
LIVE = {"live": True}
EFFECTS = ("UNSPECIFIED", "ENTERED", "UPDATED", "LEFT")


class Watch:
    def __init__(self, api: Api, start: Fields, **request: object) -> None:
        self._request = {"heartbeat_interval": "1s"} | request
        self._messages = api.stream(CONNECTIONS + "WatchConnections", self._request | {"start": start})
        self.position = 0
        # Of the last message.
        self.token = ""
        self.connections: dict[str, Fields] = {}
        self.exports: dict[str, Fields] = {}
        # Of every message, in order; and of every change.
        self.kinds: list[str] = []
        self.effects: list[tuple[str, str]] = []

    def resume(self, api: Api) -> None:
        """On a new stream, after the last message of the one before. What was told is still known."""
        start = {"resume_token": self.token}
        self._messages = api.stream(CONNECTIONS + "WatchConnections", self._request | {"start": start})
        started = next(self._messages)
        assert (started.WhichOneof("message"), started.position) == ("started", self.position), started
        assert not started.started.snapshot, "from a snapshot's end on, none is needed"

    def next(self) -> Message:
        """One message, taken in."""
        message = next(self._messages)
        kind = message.WhichOneof("message")
        assert (kind == "started") == (not self.kinds), f"{kind} after {self.kinds}"
        assert message.resume_token, kind
        if kind == "change_batch":
            # All of one position come at once, so each message of changes has its own.
            assert message.position > self.position, "a change of the past"
        assert message.position >= self.position, "the position went back"
        self.position, self.token = message.position, message.resume_token
        self.kinds.append(kind)
        self._take(kind, message)
        return message

    def until(self, kind: str) -> Message:
        while (message := self.next()).WhichOneof("message") != kind:
            pass
        return message

    def reach(self, position: int) -> "Watch":
        """Reads until everything up to there has been told. Heartbeats tell it where nothing matches."""
        while self.position < position or "caught_up" not in self.kinds:
            self.next()
        return self

    def _take(self, kind: str, message: Message) -> None:
        if kind == "snapshot_batch":
            batch = message.snapshot_batch
            self.connections |= {row.org_connection_id: told(row) for row in batch.connections}
            self.exports |= {row.task_id: told(row) for row in batch.exports}
        elif kind == "snapshot_end":
            end = message.snapshot_end
            counted = (len(self.connections), len(self.exports))
            assert (end.connections, end.exports) == counted, (end, counted)
        elif kind == "change_batch":
            assert message.change_batch.changes, "a change of nothing"
            for change in message.change_batch.changes:
                self._change(change)

    def _change(self, change: Message) -> None:
        entity, effect = change.WhichOneof("entity"), EFFECTS[change.effect]
        row = getattr(change, entity)
        if entity == "connection":
            held, key = self.connections, row.org_connection_id
        else:
            held, key = self.exports, row.task_id
        # A watch that began with a snapshot, or before the first event, knows what it has been told of.
        assert (key in held) == (effect != "ENTERED"), f"{effect} {entity} {key}"
        if key in held:
            # None of its changes was left out; an export may also change in what it borrows from its connection.
            steps = row.version - int(held[key]["version"])
            assert steps == 1 or (entity, steps) == ("export", 0), f"{steps} versions on: {entity} {key}"
        self._compare_previous(change, held.get(key))
        self.effects.append((entity, effect))
        if effect == "LEFT":
            del held[key]
        else:
            held[key] = told(row)

    def _compare_previous(self, change: Message, held: Fields | None) -> None:
        previous = change.WhichOneof("previous")
        if previous and held:
            before = told(getattr(change, previous))
            assert before == held, "another state before it than was told"

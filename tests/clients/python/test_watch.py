"""Watches: whenever they begin, they end up with what the lists say."""

import threading

import bodies
from case import CONNECTIONS, EXPORTS, DaemonCase, message_id
from daemon import until
from watch import LIVE, SNAPSHOT, Watch

EVENTS = 400
# The poster waits here until every watch that begins while it posts has its snapshot.
GATE = 300
FILTER = {"statuses": ["CONNECTION_STATUS_AUTHORIZED"], "external_ids": ["patient-1", "patient-2"]}


class Poster(threading.Thread):
    """Posts the recorded bodies and many more, from a thread of its own."""

    def __init__(self, case: type[DaemonCase]) -> None:
        super().__init__(daemon=True)
        self._case = case
        self.position = 0
        self.gate = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        recorded = [(message_id(name), body) for name, body in bodies.fixtures().items()]
        try:
            for number, (event_id, body) in enumerate([*recorded, *bodies.volume(EVENTS)]):
                if number == GATE:
                    assert self.gate.wait(60), "nobody opened the gate"
                self.position = self._case.post(event_id, body)["position"]
        except (AssertionError, OSError, ValueError) as error:
            self.error = error

    def reach(self, position: int) -> None:
        until(f"event {position} is posted", lambda: self.error or self.position >= position)
        if self.error:
            raise self.error


class WatchesOfEverything(DaemonCase):
    def test_a_watch_from_before_during_or_after_the_posts_ends_with_what_the_lists_say(self) -> None:
        before = {"snapshot": Watch(self.api, SNAPSHOT), "live": Watch(self.api, LIVE)}
        for watch in before.values():
            self.assertEqual(watch.until("caught_up").position, 0)
        self.assertEqual(before["snapshot"].kinds, ["started", "snapshot_end", "caught_up"])

        poster = Poster(type(self))
        poster.start()
        during = {}
        for position in (20, 100, 200, 280):
            poster.reach(position)
            during[f"at {position}"] = Watch(self.api, SNAPSHOT)
        for watch in during.values():
            watch.until("snapshot_end")
            self.assertGreater(len(watch.connections) * len(watch.exports), 0)
        poster.gate.set()
        last = EVENTS + len(bodies.fixtures())
        poster.reach(last)
        poster.join()
        self.assertEqual((self.head(), poster.position), (last, last))

        after = {"after": Watch(self.api, SNAPSHOT)}
        connections = self.rows(CONNECTIONS + "ListConnections", {"page_size": 7})
        exports = self.rows(EXPORTS + "ListExports", {"page_size": 7})
        self.assertGreaterEqual(len(connections), 25)
        for name, watch in (before | during | after).items():
            with self.subTest(name):
                watch.reach(last)
                self.assertEqual(watch.connections, connections)
                self.assertEqual(watch.exports, exports)
                self.assertEqual("change_batch" in watch.kinds, name != "after")


class WatchesAcrossEnds(DaemonCase):
    # So few that a watch which comes back reads from disk.
    grpc_keys = "watch_ring = 10"

    def test_a_watch_that_is_resumed_after_a_stop_or_a_kill_misses_nothing_and_repeats_nothing(self) -> None:
        watches = [Watch(self.api, SNAPSHOT), Watch(self.api, LIVE), Watch(self.api, SNAPSHOT, filter=FILTER)]
        for watch in watches:
            watch.until("caught_up")
        for number, (event_id, body) in enumerate(bodies.volume(EVENTS)):
            last = self.post(event_id, body)["position"]
            if number % 100 != 99:
                continue
            # Each is somewhere else when its stream breaks.
            for step, watch in enumerate(watches):
                watch.reach(last - 30 * step)
            self.api.close()
            if number % 200 == 99:
                self.daemon.kill()
            else:
                self.daemon.terminate()
                self.assertEqual(self.daemon.exit_code(), 0)
            self.start()
            for watch in watches:
                watch.resume(self.api)
        connections, exports = self.rows(CONNECTIONS + "ListConnections"), self.rows(EXPORTS + "ListExports")
        for watch in watches[:2]:
            watch.reach(last)
            self.assertEqual((watch.connections, watch.exports), (connections, exports))
        expected = self.rows(CONNECTIONS + "ListConnections", {"filter": FILTER})
        self.assertEqual(watches[2].reach(last).connections, expected)


class WatchesOfSome(DaemonCase):
    def test_a_filtered_watch_tells_what_enters_and_leaves_and_ends_with_the_filtered_list(self) -> None:
        watches = [
            Watch(self.api, SNAPSHOT, filter=FILTER, include_previous=True),
            Watch(self.api, SNAPSHOT, filter=FILTER, kinds=["WATCH_KIND_CONNECTION"]),
            Watch(self.api, SNAPSHOT, filter=FILTER, kinds=["WATCH_KIND_EXPORT"]),
        ]
        for watch in watches:
            watch.until("caught_up")
        for event_id, body in bodies.volume(EVENTS):
            last = self.post(event_id, body)["position"]
        both, connections, exports = (watch.reach(last) for watch in watches)

        expected = self.rows(CONNECTIONS + "ListConnections", {"filter": FILTER})
        self.assertGreater(len(expected), 0)
        self.assertEqual((both.connections, connections.connections), (expected, expected))
        all_exports = self.rows(EXPORTS + "ListExports").items()
        joined = {task: row for task, row in all_exports if row["org_connection_id"] in expected}
        self.assertGreater(len(joined), 0)
        self.assertEqual((both.exports, exports.exports), (joined, joined))
        self.assertEqual((connections.exports, exports.connections), ({}, {}))

        effects = {(entity, effect) for entity in ("connection", "export") for effect in ("ENTERED", "UPDATED", "LEFT")}
        self.assertEqual(set(both.effects), effects)
        self.assertEqual(sorted(both.effects), sorted(connections.effects + exports.effects))

    def test_a_change_bears_the_state_before_it_if_that_is_asked_for(self) -> None:
        asked = Watch(self.api, LIVE, include_previous=True)
        unasked = Watch(self.api, LIVE)
        for watch in (asked, unasked):
            watch.until("caught_up")
        connected = bodies.CONNECTED | {"org_connection_id": "with-a-past"}
        self.post("past-1", bodies.body("patient.connection_success", "past-1", connected))
        renamed = connected | {"external_id": "patient-other"}
        self.post("past-2", bodies.body("patient.connection_success", "past-2", renamed))
        for watch, previous in ((asked, ["", "patient-1"]), (unasked, ["", ""])):
            changes = [watch.until("change_batch").change_batch.changes for _ in range(2)]
            self.assertEqual([len(it) for it in changes], [1, 1])
            told = [it[0].previous_connection.external_id for it in changes]
            self.assertEqual(told, previous)
            now = [it[0].connection.external_id for it in changes]
            self.assertEqual(now, ["patient-1", "patient-other"])

    def test_a_quiet_watch_is_told_that_it_lives(self) -> None:
        watch = Watch(self.api, LIVE)
        heartbeats = [watch.until("heartbeat") for _ in range(2)]
        self.assertEqual({it.position for it in heartbeats}, {watch.position})
        self.assertNotIn("change_batch", watch.kinds)

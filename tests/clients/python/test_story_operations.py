"""What those who run the daemon ask of it, and of its log, when ten patients' webhooks have come."""

import json
from collections import Counter

import grpc

import cast
import story
from case import ADMIN, CONNECTIONS, EVENTS, EXPORTS
from cast import ADA, FATIMA, GORAN, HARBOR, LIVE, SUMMIT, TEST
from daemon import until
from reflection import Fields, told
from storyteller import TAKEN, TenPatients

GET = CONNECTIONS + "GetConnection"
HARBOR_TEST = {"tenant": HARBOR, "api_mode": "API_MODE_TEST"}
SUMMIT_LIVE = {"tenant": SUMMIT}
SUMMIT_TEST = {"tenant": SUMMIT, "api_mode": "API_MODE_TEST"}
AUTHORIZED, REVOKED, UNKNOWN = (f"CONNECTION_STATUS_{it}" for it in ("AUTHORIZED", "REVOKED", "UNKNOWN"))
READY, FAILED = "EXPORT_STATUS_READY", "EXPORT_STATUS_FAILED"


class Operations(TenPatients):
    def test_was_every_webhook_taken_and_where_is_it(self) -> None:
        positions = [self.position(name) for name in self.ended(*TAKEN)]
        self.assertEqual(sorted(positions), list(range(1, self.head() + 1)))
        self.assertFalse(any(self.taken[name]["duplicate"] for name in self.ended(*TAKEN)))

    def test_which_deliveries_had_come_before(self) -> None:
        first = self.taken["ada connects"] | {"duplicate": True}
        # The token of a duplicate is of a later point.
        again = {name: self.taken[name] | {"token": first["token"]} for name in self.ended("duplicate")}
        self.assertEqual(again, {"ada connects, again": first, "ada connects, once more": first})

    def test_were_bursts_taken_whole(self) -> None:
        for name, who in (
            ("goran connects at", GORAN),
            ("fatima connects at", FATIMA),
            ("goran's authorisation ends at", GORAN),
        ):
            with self.subTest(name):
                positions = [self.position(f"{name} {facility}") for facility in range(len(who.connections))]
                first = min(positions)
                self.assertEqual(sorted(positions), list(range(first, first + len(positions))))
                rows = self.connections(external_ids=[who.external_id])
                self.assertEqual(rows.keys(), set(who.connections))

    def test_what_was_received_word_for_word(self) -> None:
        for tenant in (HARBOR, SUMMIT):
            events = self.events(tenant)
            taken = [name for name in self.ended(*TAKEN) if self.tenant(name) == tenant]
            self.assertEqual(list(events), sorted(taken, key=self.position))
            for name, event in events.items():
                sent = self.deliveries[name]
                received = (event.body, event.endpoint, event.webhook_id, event.tenant)
                self.assertEqual(received, (sent.body, sent.endpoint, sent.message_id, tenant))

    def test_what_came_since_a_position(self) -> None:
        noon = self.position(story.NOON)
        since = self.events(from_position=noon + 1)
        self.assertEqual(list(since), [name for name in self.events() if self.position(name) > noon])
        self.assertEqual(next(iter(since)), "hana connects")

    def test_which_event_is_this(self) -> None:
        event = told(self.api.call(EVENTS + "GetEvent", {"tenant": HARBOR, "event_key": "id:simulated-1"}).event)
        for field in ("body", "webhook_timestamp", "webhook_signature"):
            del event[field]
        expected = {
            "position": str(self.position("a simulated export")),
            "tenant": HARBOR,
            "endpoint": TEST,
            "recorded_at": self.recorded_at("a simulated export"),
            "event_key": "id:simulated-1",
            "provenance": "PROVENANCE_WEBHOOK",
            "mode_verdict": "MODE_VERDICT_MATCHED",
            "api_mode": "API_MODE_TEST",
            "type": story.EXPORTED,
            "webhook_id": "msg_simulated-1",
            "secret_label": "trial",
            "unreadable": False,
            "conflict_of": "0",
        }
        self.assertEqual(event, expected)

    def test_which_secret_are_webhooks_signed_with(self) -> None:
        events = self.events()
        labels = {name: event.secret_label for name, event in events.items() if event.endpoint == LIVE}
        with_the_old = {name for name, label in labels.items() if label == "2026-03"}
        self.assertEqual(with_the_old, {"ada connects", "ada's export"})
        self.assertEqual(set(labels.values()), {"2026-03", "2026-09"})
        signatures = {name for name, event in events.items() if " " in event.webhook_signature}
        self.assertEqual(signatures, {"ada's export"}, "of two secrets, of which the endpoint knows one")

    def test_which_webhooks_were_refused(self) -> None:
        rows = {
            tenant: self.api.call(ADMIN + "ListRejectedDeliveries", {"tenant": tenant}).deliveries
            for tenant in (HARBOR, SUMMIT)
        }
        refused = {
            tenant: [(row.endpoint, row.reason, row.body_bytes) for row in of_tenant]
            for tenant, of_tenant in rows.items()
        }
        forged, replayed = (len(self.deliveries[name].body) for name in ("forged", "replayed"))
        lost = ("", "unknown_endpoint", 0)
        of_harbor = [lost, (LIVE, "stale_timestamp", replayed), (LIVE, "signature_mismatch", forged)]
        self.assertEqual(refused, {HARBOR: of_harbor, SUMMIT: [lost]})
        times = [row.rejected_at.ToDatetime() for row in rows[HARBOR]]
        self.assertEqual(times, sorted(times, reverse=True), "the newest first")
        noon = self.event(self.position(story.NOON), HARBOR).recorded_at.ToDatetime()
        self.assertGreater(times[-1], noon)
        answers = {name: answer.status for name, answer in self.answers.items() if name not in self.taken}
        self.assertEqual(answers, {"forged": 401, "replayed": 401, "lost": 404})

    def test_how_did_deliveries_end_at_each_endpoint(self) -> None:
        lines = self.daemon.ask_operations("/metrics")[1].splitlines()
        counted: Counter[tuple[str, str]] = Counter()
        for line in lines:
            if line.startswith("cleat_webhooks_total{"):
                labels, count = line.removeprefix("cleat_webhooks_total").split()
                _, endpoint, _, outcome, _ = labels.split('"')
                counted[endpoint, outcome] = int(count)
        # Counted since the daemon started, at noon.
        afternoon = [it for burst in story.AFTERNOON for it in burst]
        sent = Counter((it.endpoint if it.endpoint in cast.ENDPOINTS else "", it.outcome) for it in afternoon)
        self.assertEqual(+counted, sent)

    def test_when_was_each_endpoint_last_heard_of(self) -> None:
        last = {event.endpoint: name for tenant in (HARBOR, SUMMIT) for name, event in self.events(tenant).items()}
        expected = {LIVE: "a trial on the live endpoint", TEST: "an empty connection", cast.ANY: "somebody at summit"}
        self.assertEqual(last, expected)

    def test_which_events_came_to_the_wrong_endpoint_or_tell_no_mode(self) -> None:
        events = self.events() | self.events(SUMMIT)
        odd = {name: event for name, event in events.items() if event.api_mode == 0}
        verdicts = {name: (told(event)["mode_verdict"], event.event_key) for name, event in odd.items()}
        expected = {
            "a trial on the live endpoint": ("MODE_VERDICT_MISMATCHED", ""),
            "somebody at summit": ("MODE_VERDICT_UNKNOWN", ""),
        }
        self.assertEqual(verdicts, expected)
        self.assertEqual(told(events["emil connects anew"])["api_mode"], "API_MODE_LIVE", "its endpoint's")

    def test_which_signed_bodies_cannot_be_read(self) -> None:
        (event,) = self.events(unreadable=True).values()
        self.assertEqual(event.position, self.position("an unreadable body"))
        self.assertEqual((event.type, event.event_key, event.unreadable), ("", "whid:msg_unreadable", True))

    def test_what_came_of_a_type_that_nobody_knows(self) -> None:
        self.assertEqual(list(self.events(types=[story.UNKNOWN])), ["ada's connection is refreshed"])
        request = {"tenant": HARBOR, "org_connection_id": ADA.connection, "page_size": 1}
        (newest,) = self.api.call(CONNECTIONS + "ListConnectionEvents", request).events
        self.assertEqual((newest.type, newest.connection.version), (story.UNKNOWN, 4))

    def test_who_asked_for_help(self) -> None:
        events = self.events(types=[story.SUPPORT, story.WANTED])
        asked = {name: json.loads(event.body)["data"] for name, event in events.items()}
        self.assertEqual(asked, {"a wanted clinic": cast.WANTED_CLINIC, "a call for support": cast.CALL_FOR_SUPPORT})

    def test_does_anything_confidential_stand_in_logs_metrics_or_refusals(self) -> None:
        rejected = told(self.api.call(ADMIN + "ListRejectedDeliveries", {"tenant": HARBOR}))
        shown = self.daemon.log() + self.daemon.ask_operations("/metrics")[1] + json.dumps(rejected)
        people = [who.external_id for who in cast.PATIENTS if not who.external_id.isdigit()]
        asked = [*cast.CALL_FOR_SUPPORT.values(), *cast.WANTED_CLINIC.values()]
        secrets = [secret for endpoint in cast.ENDPOINTS.values() for secret in endpoint.secrets.values()]
        links = [link["url"] for row in self.exports().values() for link in row["links"]]
        self.assertGreater(len(links), 5)
        found = [text for text in (*people, *asked, *secrets, *links, *ADA.connections) if text in shown]
        self.assertEqual(found, [])

    def test_two_tenants_never_see_each_other(self) -> None:
        self.assertEqual(ADA.connection, cast.JONAS.connection)
        (of_summit,) = self.connections(SUMMIT_LIVE).values()
        self.assertEqual((of_summit["org_connection_id"], of_summit["status"]), (ADA.connection, UNKNOWN))
        self.assertEqual((of_summit["external_id"], of_summit["tenant"], of_summit["version"]), ("", SUMMIT, "1"))
        (export,) = self.exports(SUMMIT_LIVE).values()
        self.assertEqual((export["task_id"], export["org_id"]), (ADA.export, cast.uid("summit")))
        self.assertEqual({row["tenant"] for row in self.connections().values()}, {HARBOR})
        key = {"event_key": "id:" + cast.uid("ada's export")}
        for tenant, name in ((HARBOR, "ada's export"), (SUMMIT, "jonas's export")):
            event = self.api.call(EVENTS + "GetEvent", {"tenant": tenant} | key).event
            self.assertEqual(event.position, self.position(name))
        with self.assertRefused(grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND"):
            self.event(self.position("jonas's export"), HARBOR)
        with self.assertRefused(grpc.StatusCode.INVALID_ARGUMENT, "TENANT_REQUIRED"):
            self.api.call(GET, {"org_connection_id": ADA.connection})

    def test_test_mode_and_live_mode_never_mix(self) -> None:
        def status(realm: Fields) -> dict[str, str]:
            return {connection: row["status"] for connection, row in self.connections(realm).items()}

        simulated = cast.SIMULATED["org_connection_id"]
        self.assertEqual(status(HARBOR_TEST), {ADA.connection: REVOKED, simulated: UNKNOWN})
        self.assertEqual(status(SUMMIT_TEST), {ADA.connection: AUTHORIZED})
        live = self.connections(external_ids=[ADA.external_id])[ADA.connection]
        self.assertEqual((live["status"], live["order_ambiguous"]), (AUTHORIZED, False))
        exports = {task: row["status"] for task, row in self.exports(HARBOR_TEST).items()}
        self.assertEqual(exports, {ADA.export: FAILED, cast.SIMULATED["task_id"]: READY})
        self.assertEqual(self.exports()[ADA.export]["status"], READY)

    def test_what_did_the_simulator_leave(self) -> None:
        ids = cast.SIMULATED
        realm = {"api_mode": "API_MODE_TEST"}
        expected = self.connection_row(
            ids["org_connection_id"],
            first="a simulated export",
            last="a simulated connection",
            status_by="",
            export_by="a simulated export",
            status=UNKNOWN,
            org_id=ids["org_id"],
            version="2",
            **realm,
        )
        self.assertEqual(self.connections(HARBOR_TEST)[ids["org_connection_id"]], expected)
        export = told(self.ask(EXPORTS + "GetExport", task_id=ids["task_id"], **realm).export)
        link = {"url": cast.link("simulated", "file.jsonl"), "export_type": "", "content_type": ""}
        self.assertEqual((export["links"], export["org_id"], "stats" in export), ([link], ids["org_id"], False))

    def test_how_is_the_daemon(self) -> None:
        head = self.ask(GET, org_connection_id=ADA.connection).position
        status = told(self.api.call(ADMIN + "GetStatus"))
        realms = ({"tenant": HARBOR}, HARBOR_TEST, SUMMIT_LIVE, SUMMIT_TEST)
        counts = {
            "connections": sum(len(self.connections(realm)) for realm in realms),
            "exports": sum(len(self.exports(realm)) for realm in realms),
        }
        expected = {field: str(count) for field, count in counts.items()} | {
            "state": "SERVING_STATE_SERVING",
            "head_position": str(head),
            "views_position": str(head),
            "views_lag": "0s",
            "watches": len(self.watches),
        }
        self.assertEqual({field: status[field] for field in expected}, expected)
        self.assertEqual(counts, {"connections": 26, "exports": 11})
        self.assertEqual(self.daemon.ask_operations("/readyz")[0], 200)

    def test_is_the_state_the_same_when_it_is_made_anew_from_the_log(self) -> None:
        before = (self.connections(), self.exports(), self.connections(HARBOR_TEST), self.connections(SUMMIT_LIVE))
        self.api.call(ADMIN + "RebuildViews")
        until("it is made anew", lambda: not self.api.call(ADMIN + "GetStatus").HasField("rebuild_position"))
        after = (self.connections(), self.exports(), self.connections(HARBOR_TEST), self.connections(SUMMIT_LIVE))
        self.assertEqual(after, before)

"""What those who look after ten patients ask of their connections."""

from collections import Counter

import cast
import story
from case import CONNECTIONS
from cast import ADA, BEN, CHIDI, DORA, EMIL, FATIMA, GORAN, HANA, INES, Patient, when
from reflection import Fields, told
from storyteller import TenPatients

AUTHORIZED, REJECTED, REVOKED, UNRECOGNIZED = (
    f"CONNECTION_STATUS_{it}" for it in ("AUTHORIZED", "REJECTED", "REVOKED", "UNRECOGNIZED")
)
HARBORS = (ADA, BEN, CHIDI, DORA, EMIL, FATIMA, GORAN, HANA, INES)
EVERYBODY = {connection for who in HARBORS for connection in who.connections}


class Connections(TenPatients):
    def get(self, who: Patient, **request: object) -> Fields:
        answer = self.ask(CONNECTIONS + "GetConnection", org_connection_id=who.connection, **request)
        return told(answer.connection)

    def history(self, who: Patient) -> list[Fields]:
        answer = self.ask(CONNECTIONS + "ListConnectionEvents", org_connection_id=who.connection)
        return list(told(answer)["events"])

    def ada_row(self) -> Fields:
        return self.connection_row(
            ADA.connection,
            first="ada connects",
            last="ada's connection is refreshed",
            status_by="ada connects",
            export_by="ada's export, anew",
            status=AUTHORIZED,
            reported_status="authorized",
            external_id=ADA.external_id,
            platform_type="epic",
            org_id=cast.ORGANISATION,
            version="4",
            **cast.ADA_TOLD,
        )

    def test_how_is_this_connection_now(self) -> None:
        self.assertEqual(self.get(ADA), self.ada_row())

    def test_how_are_these_connections_now(self) -> None:
        asked = [who.connection for who in (CHIDI, ADA, BEN)]
        answer = self.ask(CONNECTIONS + "BatchGetConnections", org_connection_ids=asked)
        self.assertEqual([told(it) for it in answer.connections], [self.get(who) for who in (CHIDI, ADA, BEN)])
        self.assertEqual(answer.position, self.head())

    def test_which_connections_has_this_patient(self) -> None:
        self.assertEqual(list(self.connections(external_ids=[ADA.external_id]).values()), [self.ada_row()])
        rows = self.connections(external_ids=[INES.external_id, "somebody else"])
        statuses = dict(zip(INES.connections, (AUTHORIZED, REJECTED, UNRECOGNIZED), strict=True))
        self.assertEqual({connection: row["status"] for connection, row in rows.items()}, statuses)
        self.assertEqual(rows[INES.connections[2]]["reported_status"], "connected")

    def test_which_facilities_did_one_proof_of_identity_connect(self) -> None:
        rows = self.connections(external_ids=[FATIMA.external_id], platform_types=["tefca"])
        self.assertEqual(rows.keys(), set(FATIMA.connections))
        for facility, connection in enumerate(FATIMA.connections[2:], start=2):
            by = f"fatima connects at {facility}"
            expected = self.connection_row(
                connection,
                first=by,
                last=by,
                status_by=by,
                status=AUTHORIZED,
                reported_status="authorized",
                external_id=FATIMA.external_id,
                platform_type="tefca",
                version="1",
                **cast.fatima_told(facility),
            )
            self.assertEqual(rows[connection], expected)

    def test_which_connections_does_a_ticket_of_support_mean(self) -> None:
        requests: list[tuple[Fields, set[str]]] = [
            ({"request_ids": [cast.FATIMA_REQUEST]}, set(FATIMA.connections)),
            ({"request_ids": [cast.HANA_REQUEST, "none"]}, {HANA.connection}),
            # Of an attempt before the last.
            ({"request_ids": [cast.CHIDI_TOLD["request_id"]]}, set()),
            ({"external_states": [cast.ADA_TOLD["external_state"]]}, {ADA.connection}),
        ]
        for wanted, connections in requests:
            with self.subTest(wanted):
                self.assertEqual(self.connections(**wanted).keys(), connections)

    def test_whose_authorisation_has_ended_and_since_when(self) -> None:
        rows = self.connections(statuses=[REVOKED])
        since = {BEN.connection: "ben's authorisation ends"} | {
            connection: f"goran's authorisation ends at {facility}"
            for facility, connection in enumerate(GORAN.connections)
        }
        expected = {connection: self.recorded_at(by) for connection, by in since.items()}
        self.assertEqual({connection: row["status_recorded_at"] for connection, row in rows.items()}, expected)
        ends = {who.external_id for who in (BEN, GORAN)}
        self.assertEqual({row["external_id"] for row in rows.values()}, ends, "no revocation tells whose it is")

    def test_what_is_left_of_a_connection_whose_authorisation_has_ended(self) -> None:
        expected = self.connection_row(
            BEN.connection,
            first="ben connects",
            last="ben's export",
            status_by="ben's authorisation ends",
            export_by="ben's export",
            status=REVOKED,
            reported_status="revoked",
            external_id=BEN.external_id,
            platform_type="cerner",
            org_id=cast.ORGANISATION,
            version="3",
            # Both are of today, and nobody tells when each happened.
            order_ambiguous=True,
        )
        self.assertEqual(self.get(BEN), expected)

    def test_who_came_back(self) -> None:
        expected = self.connection_row(
            CHIDI.connection,
            first="chidi connects",
            last="chidi reconnects",
            status_by="chidi reconnects",
            status=AUTHORIZED,
            reported_status="authorized",
            external_id=CHIDI.external_id,
            platform_type="epic",
            version="3",
            reconnect_count=1,
            last_reconnected_at=self.recorded_at("chidi reconnects"),
            **cast.CATALOGUE,
            **cast.CHIDI_TOLD_ANEW,
        )
        came_back = {it: row for it, row in self.connections().items() if row["reconnect_count"]}
        self.assertEqual(came_back, {CHIDI.connection: expected})

    def test_which_connections_need_a_reconnect(self) -> None:
        self.assertEqual(self.connections(needs_reconnect=True).keys(), {DORA.connection})
        self.assertEqual(self.connections(needs_reconnect=False).keys(), EVERYBODY - {DORA.connection})
        self.assertEqual((self.get(DORA)["status"], self.get(EMIL)["status"]), (AUTHORIZED, AUTHORIZED))

    def test_where_may_the_order_be_another_than_it_seems(self) -> None:
        self.assertEqual(self.connections(order_ambiguous=True).keys(), {BEN.connection})
        self.assertEqual(self.connections(order_ambiguous=False).keys(), EVERYBODY - {BEN.connection})

    def test_whose_consent_ends_soon(self) -> None:
        ends = [(-1, set()), (24, {HANA}), (24 * 14, {HANA, INES}), (24 * 60, {HANA, INES, ADA})]
        for hours, who in ends:
            with self.subTest(hours=hours):
                rows = self.connections(consent_expires_before=when(hours=hours))
                self.assertEqual(rows.keys(), {it.connection for it in who})

    def test_which_were_authorised_and_have_no_export_yet(self) -> None:
        waiting = {CHIDI.connection, INES.connection, *FATIMA.connections[2:]}
        self.assertEqual(self.connections(awaiting_export_for="0s").keys(), waiting)
        tefca = self.connections(awaiting_export_for="0s", platform_types=["tefca"])
        self.assertEqual(tefca.keys(), set(FATIMA.connections[2:]))
        self.assertEqual(self.connections(awaiting_export_for="3600s"), {}, "none has waited so long")

    def test_which_connections_have_changed_since_noon(self) -> None:
        rows = self.connections(changed_after=self.recorded_at(story.NOON))
        self.assertEqual(rows.keys(), EVERYBODY - set(FATIMA.connections[2:]))

    def test_how_many_are_there_of_what(self) -> None:
        summary = told(self.ask(CONNECTIONS + "SummarizeConnections"))
        statuses = {AUTHORIZED: "11", REVOKED: "9", REJECTED: "1", UNRECOGNIZED: "1"}
        self.assertEqual({it["status"]: it["count"] for it in summary["statuses"]}, statuses)
        platforms = Counter(it for who in HARBORS for it in who.platforms)
        self.assertEqual({it["platform_type"]: int(it["count"]) for it in summary["platforms"]}, platforms)
        counts = {field: summary[field] for field in ("total", "needs_reconnect", "order_ambiguous", "position")}
        expected = {
            "total": str(len(EVERYBODY)),
            "needs_reconnect": "1",
            "order_ambiguous": "1",
            "position": str(self.head()),
        }
        self.assertEqual(counts, expected)
        revoked = self.ask(CONNECTIONS + "SummarizeConnections", filter={"statuses": [REVOKED]})
        self.assertEqual(revoked.total, 9)

    def test_what_happened_to_this_connection(self) -> None:
        past = [
            ("chidi reconnects", story.CONNECTED, AUTHORIZED, cast.CHIDI_TOLD_ANEW),
            ("chidi's consent ends", story.REVOKED, REVOKED, cast.CHIDI_TOLD),
            ("chidi connects", story.CONNECTED, AUTHORIZED, cast.CHIDI_TOLD),
        ]
        for event, (name, kind, status, attempt) in zip(self.history(CHIDI), past, strict=True):
            connection = event.pop("connection")
            expected = {
                "position": str(self.position(name)),
                "recorded_at": self.recorded_at(name),
                "event_key": "id:" + cast.uid(name),
                "type": kind,
                "exports": [],
                "late": False,
            }
            self.assertEqual(event, expected)
            self.assertEqual(connection["status"], status)
            self.assertEqual(connection["request_id"], attempt["request_id"])
            self.assertEqual(connection["consent_expires_at"], attempt["consent_expires_at"])
            self.assertEqual((connection["external_id"], connection["order_ambiguous"]), (CHIDI.external_id, False))

    def test_which_exports_did_its_events_tell_of(self) -> None:
        past = {
            event["type"]: [(export["task_id"], export["status"]) for export in event["exports"]]
            for event in self.history(DORA)
        }
        expected: dict[str, list[tuple[str, str]]] = {
            story.FAILED: [(DORA.export, "EXPORT_STATUS_FAILED")],
            story.EXPORTED: [(DORA.export, "EXPORT_STATUS_READY")],
            story.CONNECTED: [],
        }
        self.assertEqual(list(past.items()), list(expected.items()))

    def test_which_news_came_too_late_to_count(self) -> None:
        events = {event["position"]: event for event in self.history(INES)}
        late = {
            "ines connects": (False, ""),
            "ines had connected before": (True, INES.external_id),
            "ines's consent had ended": (True, INES.external_id),
        }
        told_then = {
            position: (event["late"], event["connection"]["external_id"]) for position, event in events.items()
        }
        self.assertEqual(told_then, {str(self.position(name)): expected for name, expected in late.items()})
        expected = self.connection_row(
            INES.connection,
            first="ines connects",
            last="ines's consent had ended",
            status_by="ines connects",
            status=AUTHORIZED,
            reported_status="authorized",
            external_id=INES.external_id,
            platform_type="epic",
            version="3",
            **cast.INES_TOLD,
            **cast.CATALOGUE,
        )
        self.assertEqual(self.get(INES), expected)

    def test_what_was_known_at_noon(self) -> None:
        at = [{"position": self.position(story.NOON)}, {"time": self.recorded_at(story.NOON)}]
        for moment in at:
            with self.subTest(as_of=moment):
                then = [self.get(who, as_of=moment) for who in (CHIDI, DORA, EMIL)]
                known = [(it["status"], it["needs_reconnect"]) for it in then]
                self.assertEqual(known, [(REVOKED, False), (AUTHORIZED, False), (AUTHORIZED, True)])

    def test_does_a_page_show_what_its_webhook_has_just_told(self) -> None:
        noon = self.position(story.NOON)
        self.assertEqual((self.at_once.position, self.at_once.connection.last_position), (noon, noon))
        self.assertEqual((self.at_once.connection.version, self.at_once.connection.needs_reconnect), (2, True))

    def test_what_does_a_page_see_that_watches_one_patient(self) -> None:
        seen = {
            DORA: [("connection", "UPDATED"), ("export", "UPDATED")],
            # Both exports had come before anybody knew whose they are.
            HANA: [("connection", "ENTERED"), ("export", "ENTERED"), ("connection", "UPDATED"), ("export", "ENTERED")],
        }
        for who, effects in seen.items():
            with self.subTest(who.name):
                watch = self.watches[who.external_id].reach(self.head())
                self.assertCountEqual(watch.effects, effects)
                self.assertEqual(watch.connections, self.connections(external_ids=[who.external_id]))
                self.assertEqual(watch.exports, self.exports(external_ids=[who.external_id]))

"""What those who look after ten patients ask of their exports."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

import cast
import story
from case import EXPORTS
from cast import ADA, BEN, DORA, EMIL, FATIMA, HANA
from reflection import Fields, told
from storyteller import TenPatients

READY, FAILED, REVOKED = "EXPORT_STATUS_READY", "EXPORT_STATUS_FAILED", "CONNECTION_STATUS_REVOKED"


class Exports(TenPatients):
    def get(self, task: str, **request: object) -> Fields:
        return told(self.ask(EXPORTS + "GetExport", task_id=task, **request).export)

    def a_day_after(self, name: str) -> str:
        time = Timestamp()
        time.FromJsonString(self.recorded_at(name))
        time.seconds += 24 * 60 * 60
        return str(time.ToJsonString())

    def test_what_is_there_of_an_export_that_was_asked_for_twice(self) -> None:
        expected = self.export_row(
            ADA.export,
            first="ada's export",
            last="ada's export, anew",
            org_connection_id=ADA.connection,
            external_id=ADA.external_id,
            org_id=cast.ORGANISATION,
            links=[cast.json_lines(ADA.export, "anew.jsonl")],
            stats={"total_resources": "12", "total_by_resource_type": {"Patient": "1", "Observation": "300"}},
            deadline=self.a_day_after("ada's export"),
            version="2",
        )
        self.assertEqual(self.get(ADA.export), expected)

    def test_whose_patient_is_this_export(self) -> None:
        whose = {it: HANA for it in HANA.exports} | {who.export: who for who in (ADA, BEN, DORA, EMIL, FATIMA)}
        found = {task: (row["external_id"], row["org_connection_id"]) for task, row in self.exports().items()}
        failed = {FATIMA.exports[1]: (FATIMA.external_id, FATIMA.connections[1])}
        self.assertEqual(found, failed | {task: (who.external_id, who.connection) for task, who in whose.items()})
        then = {"position": self.position("hana's second export")}
        nobodys = [self.get(task, as_of=then) for task in HANA.exports]
        known = [(it["external_id"], it["org_connection_id"]) for it in nobodys]
        self.assertEqual(known, [("", HANA.connection), ("", "")], "before she was known")

    def test_which_exports_has_this_patient_or_this_connection(self) -> None:
        for who in (FATIMA, HANA):
            with self.subTest(who.name):
                self.assertEqual(self.exports(external_ids=[who.external_id]).keys(), set(who.exports))
        of_two = self.exports(org_connection_ids=[FATIMA.connections[1], HANA.connection])
        self.assertEqual(of_two.keys(), {FATIMA.exports[1], *HANA.exports})
        ready = self.exports(org_connection_ids=FATIMA.connections, statuses=[READY])
        self.assertEqual(ready.keys(), {FATIMA.export})

    def test_what_expires_within_a_day(self) -> None:
        ready = {"ada's export": ADA, "ben's export": BEN, "fatima's export": FATIMA}
        by = {who.export: name for name, who in ready.items()}
        by |= dict(zip(HANA.exports, ("hana's first export", "hana's second export"), strict=True))
        rows = self.exports(deadline_within="86400s")
        deadlines = {task: self.a_day_after(name) for task, name in by.items()}
        self.assertEqual({task: row["deadline"] for task, row in rows.items()}, deadlines)
        self.assertEqual(self.exports(deadline_within="82800s"), {}, "each has more than 23 hours left")

    def test_where_can_it_be_downloaded_and_until_when(self) -> None:
        bare = {"export_type": "", "content_type": ""}
        links: list[tuple[str, str, list[Any]]] = [
            (FATIMA.export, "fatima's export", cast.FATIMA_LINKS),
            (HANA.exports[1], "hana's second export", [{"url": cast.link(HANA.exports[1], "file.jsonl")} | bare]),
            # It failed after it had been ready.
            (DORA.export, "dora's export", [{"url": cast.link(DORA.export, "dora.jsonl")} | bare]),
        ]
        for task, by, expected in links:
            with self.subTest(by):
                answer = told(self.ask(EXPORTS + "GetExportLinks", task_id=task))
                told_so = (answer["links"], answer["deadline"], answer["expired"], answer["position"])
                self.assertEqual(told_so, (expected, self.a_day_after(by), False, str(self.head())))
        none = told(self.ask(EXPORTS + "GetExportLinks", task_id=EMIL.export))
        self.assertEqual((none["links"], "deadline" in none), ([], False))

    def test_which_exports_failed_and_why(self) -> None:
        reasons = {
            DORA.export: "token_refresh_failure",
            EMIL.export: "token_refresh_failure",
            FATIMA.exports[1]: "tefca_no_documents_found",
        }
        rows = self.exports(statuses=[FAILED])
        self.assertEqual({task: row["failure_reason"] for task, row in rows.items()}, reasons)

    def test_which_exports_came_after_the_patients_revocation(self) -> None:
        late = {task for task, row in self.exports().items() if row["after_revocation"]}
        self.assertEqual(late, {BEN.export})
        (of_ben,) = self.connections(external_ids=[BEN.external_id]).values()
        self.assertEqual((of_ben["status"], of_ben["reconnect_count"]), (REVOKED, 0))
        self.assertEqual(of_ben["last_export_recorded_at"], self.recorded_at("ben's export"))

    def test_which_exports_have_changed_since_noon(self) -> None:
        unchanged = {EMIL.export, HANA.exports[0]}
        rows = self.exports(changed_after=self.recorded_at(story.NOON))
        self.assertEqual(rows.keys(), self.exports().keys() - unchanged)
        self.assertEqual(len(rows), 6)

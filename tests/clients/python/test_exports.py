"""Exports, as the recorded bodies leave them."""

from datetime import timedelta

from case import EXPORTS, StoryCase
from reflection import Fields, told

ALONE = "abc"
OF_2025 = "fedec7b78cf6905872032b426473"
OF_2026 = "00c9aa11bb22cc33dd44ee55ff660077"
SUPPRESSED = "11c9aa11bb22cc33dd44ee55ff660077"
TOKEN_FAILED = "22c9aa11bb22cc33dd44ee55ff660077"
CONNECTION = "a1b2c3d4-0000-4000-8000-000000000001"
ORGANISATION = "d0000000-0000-4000-8000-000000000014"
LINKS = "https://api.connect.fastenhealth.com/v1/bridge/fhir/ehi-export/"


class Exports(StoryCase):
    def get(self, task: str, mode: str = "API_MODE_LIVE") -> Fields:
        """All but the deadline, which is a day after the first receipt if there are links."""
        consistency = {"fully_consistent": True}
        request = {"task_id": task, "api_mode": mode, "consistency": consistency}
        export = self.api.call(EXPORTS + "GetExport", request).export
        if export.links:
            kept = export.deadline.ToDatetime() - export.first_recorded_at.ToDatetime()
            self.assertEqual(kept, timedelta(hours=24))
        else:
            self.assertFalse(export.HasField("deadline"))
        fields = told(export)
        fields.pop("deadline", None)
        return fields

    def test_an_export_of_today_has_its_links_its_stats_and_its_patient(self) -> None:
        expected = self.export_row(
            OF_2026,
            first="ehi_export_success.2026",
            org_connection_id=CONNECTION,
            external_id="user-1842",
            org_id=ORGANISATION,
            links=[
                {
                    "url": f"{LINKS}{OF_2026}/download/2026-05-04-x.jsonl",
                    "export_type": "jsonl",
                    "content_type": "application/fhir+ndjson",
                }
            ],
            stats={
                "total_resources": "42",
                "total_by_resource_type": {"Patient": "1", "Observation": "30", "Condition": "11"},
            },
        )
        self.assertEqual(self.get(OF_2026), expected)

    def test_a_single_link_of_2025_is_a_list_of_one(self) -> None:
        name = "fedec7b7-8cf6-4bc9-72032b426473/download/2024-06-12-6715-4ae4-bde5-ab97519bd1fa.jsonl"
        expected = self.export_row(
            OF_2025,
            first="ehi_export_success.2025",
            org_connection_id="189484f4-1234-1234-1234-78a8caa3b64a",
            org_id="592c0579-443f-a94e-4c8847c0c066",
            links=[{"url": LINKS + name, "export_type": "", "content_type": ""}],
            stats={"total_resources": "12", "total_by_resource_type": {}},
        )
        self.assertEqual(self.get(OF_2025), expected)

    def test_an_export_of_2024_in_test_mode_stands_alone_and_is_not_seen_in_live_mode(self) -> None:
        expected = self.export_row(
            ALONE,
            first="ehi_export_success.2024",
            api_mode="API_MODE_TEST",
            org_id="d0000000-0000-8000-000000000014",
            links=[{"url": f"{LINKS}abc/download/file.jsonl", "export_type": "", "content_type": ""}],
        )
        self.assertEqual(self.get(ALONE, "API_MODE_TEST"), expected)
        self.assertNotIn(ALONE, self.rows(EXPORTS + "ListExports"))

    def test_a_failed_export_tells_its_reason(self) -> None:
        failures = [
            (SUPPRESSED, "ehi_export_failed", "suppressed_please_contact"),
            (TOKEN_FAILED, "ehi_export_failed.token_refresh", "token_refresh_failure"),
        ]
        for task, by, reason in failures:
            with self.subTest(task=task):
                expected = self.export_row(
                    task,
                    by,
                    status="EXPORT_STATUS_FAILED",
                    failure_reason=reason,
                    org_connection_id=CONNECTION,
                    external_id="user-1842",
                    org_id=ORGANISATION,
                )
                self.assertEqual(self.get(task), expected)

    def test_every_filter_leaves_what_matches_all_of_it(self) -> None:
        patient, failed = {"external_ids": ["user-1842"]}, {"statuses": ["EXPORT_STATUS_FAILED"]}
        cases: list[tuple[Fields, list[str]]] = [
            ({}, [OF_2026, SUPPRESSED, TOKEN_FAILED, OF_2025]),
            (patient, [OF_2026, SUPPRESSED, TOKEN_FAILED]),
            (failed, [SUPPRESSED, TOKEN_FAILED]),
            ({"statuses": ["EXPORT_STATUS_READY"]}, [OF_2026, OF_2025]),
            ({"org_connection_ids": ["189484f4-1234-1234-1234-78a8caa3b64a"]}, [OF_2025]),
            (failed | {"org_connection_ids": ["189484f4-1234-1234-1234-78a8caa3b64a"]}, []),
        ]
        for wanted, tasks in cases:
            for size in (0, 1):
                with self.subTest(filter=wanted, page_size=size):
                    rows = self.rows(EXPORTS + "ListExports", {"filter": wanted, "page_size": size})
                    self.assertEqual(list(rows), tasks)
                    for task, row in rows.items():
                        row.pop("deadline", None)
                        self.assertEqual(row, self.get(task))

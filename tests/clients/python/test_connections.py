"""Connections, as the recorded bodies leave them."""

from case import CONNECTIONS, StoryCase
from reflection import Fields, told

ONE = "a1b2c3d4-0000-4000-8000-000000000001"
TWO = "a1b2c3d4-0000-4000-8000-000000000002"
THREE = "a1b2c3d4-0000-4000-8000-000000000003"
UNTOLD = "189484f4-1234-1234-1234-78a8caa3b64a"
CATALOGUE = {
    "endpoint_id": "e0000000-0000-4000-8000-000000000011",
    "brand_id": "b0000000-0000-4000-8000-000000000012",
    "portal_id": "c0000000-0000-4000-8000-000000000013",
}


class Connections(StoryCase):
    def get(self, connection: str) -> Fields:
        request = {"org_connection_id": connection, "consistency": {"fully_consistent": True}}
        answer = self.api.call(CONNECTIONS + "GetConnection", request)
        self.assertEqual(answer.position, self.head())
        return told(answer.connection)

    def test_a_patients_story_ends_revoked_with_all_that_was_told(self) -> None:
        expected = self.connection_row(
            ONE,
            first="connection_success.live",
            last="authorization_revoked",
            status_by="authorization_revoked",
            export_by="ehi_export_failed.token_refresh",
            status="CONNECTION_STATUS_REVOKED",
            reported_status="revoked",
            external_id="user-1842",
            external_state="attempt-77",
            request_id="7d1f5c0a-1111-4222-8333-444455556666",
            scope="openid fhirUser offline_access patient/*.read",
            consent_expires_at="2026-08-04T00:00:00Z",
            platform_type="epic",
            org_id="d0000000-0000-4000-8000-000000000014",
            version="5",
            needs_reconnect=True,
            **CATALOGUE,
        )
        self.assertEqual(self.get(ONE), expected)

    def test_a_later_attempt_replaces_the_first_ones_own_fields_and_no_others(self) -> None:
        expected = self.connection_row(
            TWO,
            first="connection_success.tefca",
            last="connection_success.reported_revoked",
            status_by="connection_success.reported_revoked",
            status="CONNECTION_STATUS_REVOKED",
            reported_status="revoked",
            external_id="user-1842",
            external_state="vpc-992",
            platform_type="tefca",
            tefca_directory_id="urn:oid:2.16.840.1.999999.1.2.3",
            version="2",
        )
        self.assertEqual(self.get(TWO), expected)

    def test_the_older_spelling_and_a_flat_body_are_read(self) -> None:
        expected = self.connection_row(
            THREE,
            first="connection_success.2025",
            last="authorization_revoked.flat",
            status_by="authorization_revoked.flat",
            status="CONNECTION_STATUS_REVOKED",
            reported_status="revoked",
            request_id="7d1f5c0a-1111-4222-8333-444455556668",
            platform_type="cerner",
            version="2",
            **CATALOGUE,
        )
        self.assertEqual(self.get(THREE), expected)

    def test_a_connection_known_from_an_export_alone_has_no_status_yet(self) -> None:
        expected = self.connection_row(
            UNTOLD,
            first="ehi_export_success.2025",
            last="ehi_export_success.2025",
            status_by="",
            export_by="ehi_export_success.2025",
            status="CONNECTION_STATUS_UNKNOWN",
            org_id="592c0579-443f-a94e-4c8847c0c066",
            version="1",
        )
        self.assertEqual(self.get(UNTOLD), expected)

    def test_a_list_is_what_gets_say_whatever_the_size_of_its_pages(self) -> None:
        gets = {connection: self.get(connection) for connection in (UNTOLD, ONE, TWO, THREE)}
        for size in (0, 1, 3):
            with self.subTest(page_size=size):
                rows = self.rows(CONNECTIONS + "ListConnections", {"page_size": size})
                self.assertEqual(list(rows.items()), list(gets.items()))
        self.assertEqual(self.rows(CONNECTIONS + "ListConnections", {"api_mode": "API_MODE_TEST"}), {})

    def test_pages_are_as_long_as_asked_and_of_one_position(self) -> None:
        request = {"page_size": 3, "consistency": {"fully_consistent": True}}
        first = self.api.call(CONNECTIONS + "ListConnections", request)
        request["page_token"] = first.next_page_token
        second = self.api.call(CONNECTIONS + "ListConnections", request)
        self.assertEqual((len(first.connections), len(second.connections)), (3, 1))
        self.assertEqual((first.position, second.next_page_token), (second.position, ""))

    def test_every_filter_leaves_what_matches_all_of_it(self) -> None:
        cases: list[tuple[Fields, list[str]]] = [
            ({"external_ids": ["user-1842"]}, [ONE, TWO]),
            ({"external_ids": ["user-1842", "nobody"], "platform_types": ["tefca"]}, [TWO]),
            ({"external_ids": ["nobody"]}, []),
            ({"statuses": ["CONNECTION_STATUS_REVOKED"]}, [ONE, TWO, THREE]),
            ({"statuses": ["CONNECTION_STATUS_UNKNOWN", "CONNECTION_STATUS_REJECTED"]}, [UNTOLD]),
            ({"statuses": ["CONNECTION_STATUS_AUTHORIZED"]}, []),
            ({"platform_types": ["epic", "cerner"]}, [ONE, THREE]),
            ({"statuses": ["CONNECTION_STATUS_UNKNOWN"], "platform_types": ["epic"]}, []),
        ]
        for wanted, connections in cases:
            with self.subTest(filter=wanted):
                rows = self.rows(CONNECTIONS + "ListConnections", {"filter": wanted, "page_size": 1})
                self.assertEqual(list(rows), connections)

"""What the API refuses: every refusal tells its reason in the way of all of Google's APIs."""

from typing import ClassVar

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from bodies import body
from case import CONNECTIONS, EVENTS, EXPORTS, DaemonCase, StoryCase
from reflection import Fields
from watch import LIVE, SNAPSHOT, Watch

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
GET, LIST, WATCH = (CONNECTIONS + name for name in ("GetConnection", "ListConnections", "WatchConnections"))
HUNDRED_AND_ONE = [f"patient-{number}" for number in range(101)]

REFUSED: list[tuple[str, Fields, grpc.StatusCode, str]] = [
    (GET, {"org_connection_id": "nobody"}, NOT_FOUND, "CONNECTION_NOT_FOUND"),
    (GET, {"org_connection_id": "nobody", "tenant": "other"}, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (GET, {"org_connection_id": "nobody", "api_mode": 9}, INVALID, "INVALID_FIELD"),
    (GET, {"consistency": {"at_least_as_fresh": "torn"}}, INVALID, "INVALID_READ_TOKEN"),
    (GET, {"consistency": {"max_wait": "61s"}}, INVALID, "INVALID_FIELD"),
    (EXPORTS + "GetExport", {"task_id": "nothing"}, NOT_FOUND, "EXPORT_NOT_FOUND"),
    (EVENTS + "GetEvent", {"position": 15}, NOT_FOUND, "EVENT_NOT_FOUND"),
    (EVENTS + "GetEvent", {"position": 0}, NOT_FOUND, "EVENT_NOT_FOUND"),
    (EVENTS + "GetEvent", {"event_key": "id:nothing"}, NOT_FOUND, "EVENT_NOT_FOUND"),
    (EVENTS + "GetEvent", {"position": 1, "tenant": "other"}, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (EVENTS + "GetEvent", {}, INVALID, "INVALID_FIELD"),
    (LIST, {"page_size": 1001}, INVALID, "INVALID_FIELD"),
    (LIST, {"page_size": -1}, INVALID, "INVALID_FIELD"),
    (LIST, {"page_token": "torn"}, INVALID, "INVALID_PAGE_TOKEN"),
    (LIST, {"filter": {"statuses": [0]}}, INVALID, "INVALID_FILTER"),
    (LIST, {"filter": {"external_ids": [""]}}, INVALID, "INVALID_FILTER"),
    (LIST, {"filter": {"external_ids": HUNDRED_AND_ONE}}, INVALID, "INVALID_FILTER"),
    (EXPORTS + "ListExports", {"filter": {"statuses": [9]}}, INVALID, "INVALID_FILTER"),
    (WATCH, {"kinds": [0]}, INVALID, "INVALID_FIELD"),
    (WATCH, {"heartbeat_interval": "0.5s"}, INVALID, "INVALID_FIELD"),
    (WATCH, {"filter": {"platform_types": [""]}}, INVALID, "INVALID_FILTER"),
    (WATCH, {"start": {"resume_token": "any"}}, INVALID, "INVALID_RESUME_TOKEN"),
    (WATCH, {"start": {"after_position": 1000}}, INVALID, "INVALID_FIELD"),
]


class Refusals(StoryCase):
    def test_every_refusal_has_its_code_and_its_reason(self) -> None:
        for rpc, request, code, reason in REFUSED:
            with self.subTest(rpc=rpc, request=request), self.assertRefused(code, reason):
                if rpc == WATCH:
                    next(self.api.stream(rpc, request))
                else:
                    self.api.call(rpc, request)

    def test_a_page_token_is_good_for_its_own_list_alone(self) -> None:
        first = {"page_size": 1, "consistency": {"fully_consistent": True}}
        token = self.api.call(LIST, first).next_page_token
        self.assertNotEqual(token, "")
        others: list[tuple[str, Fields]] = [
            (LIST, {"filter": {"platform_types": ["epic"]}}),
            (LIST, {"api_mode": "API_MODE_TEST"}),
            (EXPORTS + "ListExports", {}),
        ]
        for rpc, request in others:
            with self.subTest(rpc=rpc, request=request), self.assertRefused(INVALID, "INVALID_PAGE_TOKEN"):
                self.api.call(rpc, request | {"page_token": token})

    def test_the_details_can_be_read_with_what_reflection_tells_of_them(self) -> None:
        descriptor = self.api.pool.FindMessageTypeByName("google.rpc.ErrorInfo")
        fields = {field.name: field.number for field in descriptor.fields}
        self.assertEqual(fields, {field.name: field.number for field in ErrorInfo.DESCRIPTOR.fields})


class SeveralTenants(DaemonCase):
    endpoints: ClassVar = {"north": "north", "south": "south"}

    def test_a_request_names_the_tenant_and_gets_only_what_is_its_own(self) -> None:
        connected = {"org_connection_id": "one", "connection_status": "authorized"}
        taken = body("patient.connection_success", "shared-id", connected)
        north = self.post("from_north", taken, endpoint="north")
        south = self.post("from_south", taken, endpoint="south")
        self.assertEqual((south["position"], south["duplicate"]), (north["position"] + 1, False))

        with self.assertRefused(INVALID, "TENANT_REQUIRED"):
            self.api.call(LIST)
        for tenant, position in (("north", north["position"]), ("south", south["position"])):
            consistency = {"fully_consistent": True}
            request = {"tenant": tenant, "org_connection_id": "one", "consistency": consistency}
            connection = self.api.call(GET, request).connection
            told = (connection.tenant, connection.version, connection.first_position)
            self.assertEqual(told, (tenant, 1, position))
            event = self.api.call(EVENTS + "GetEvent", {"tenant": tenant, "event_key": "id:shared-id"}).event
            self.assertEqual((event.endpoint, event.position), (tenant, position))
        with self.assertRefused(NOT_FOUND, "EVENT_NOT_FOUND"):
            self.api.call(EVENTS + "GetEvent", {"tenant": "north", "position": south["position"]})


class FewWatches(DaemonCase):
    grpc_keys = "max_watches = 2"

    def test_one_watch_too_many_is_told_to_come_back(self) -> None:
        watches = [Watch(self.api, LIVE), Watch(self.api, SNAPSHOT)]
        for watch in watches:
            watch.until("caught_up")
        with self.assertRaises(grpc.RpcError) as raised:
            Watch(self.api, LIVE).next()
        self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.reasons(raised.exception), ["TOO_MANY_WATCHES"])
        retry = RetryInfo()
        details = rpc_status.from_call(raised.exception).details
        self.assertTrue(any(detail.Unpack(retry) for detail in details))
        self.assertGreater(retry.retry_delay.ToMilliseconds(), 0)

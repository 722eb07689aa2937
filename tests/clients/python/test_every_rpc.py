"""Whatever reflection lists is called, and answers as it should."""

from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import bodies
from case import ADMIN, CONNECTIONS, EVENTS, EXPORTS, StoryCase
from daemon import PATIENCE_SECONDS
from reflection import VERSIONS, Api

HEALTH = "grpc.health.v1.Health."
OURS = {it + "Service" for it in ("cleat.v1.Admin", "cleat.v1.Connection", "cleat.v1.Event", "cleat.v1.Export")}
REFLECTION = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
TASK = {"task_id": bodies.TASK}
CONNECTION = {"org_connection_id": bodies.CONNECTION}
BATCH = {"org_connection_ids": [bodies.CONNECTION]}


def listed(api: Api, version: str) -> set[str]:
    rpc = f"grpc.reflection.{version}.ServerReflection.ServerReflectionInfo"
    answer = next(api.stream(rpc, {"list_services": ""}))
    return {service.name for service in answer.list_services_response.service}


# What of each answer tells that it is the answer, and what that is.
EXPECTED: dict[str, tuple[Callable[[Api], object], object]] = {
    CONNECTIONS + "GetConnection": (
        lambda api: api.call(CONNECTIONS + "GetConnection", CONNECTION).connection.org_connection_id,
        bodies.CONNECTION,
    ),
    CONNECTIONS + "ListConnections": (
        lambda api: len(api.call(CONNECTIONS + "ListConnections").connections),
        4,
    ),
    CONNECTIONS + "BatchGetConnections": (
        lambda api: api.call(CONNECTIONS + "BatchGetConnections", BATCH).connections[0].org_connection_id,
        bodies.CONNECTION,
    ),
    CONNECTIONS + "SummarizeConnections": (
        lambda api: api.call(CONNECTIONS + "SummarizeConnections").total,
        4,
    ),
    CONNECTIONS + "ListConnectionEvents": (
        lambda api: api.call(CONNECTIONS + "ListConnectionEvents", CONNECTION).events[-1].connection.version,
        1,
    ),
    CONNECTIONS + "WatchConnections": (
        lambda api: next(api.stream(CONNECTIONS + "WatchConnections", {})).WhichOneof("message"),
        "started",
    ),
    EXPORTS + "GetExport": (
        lambda api: api.call(EXPORTS + "GetExport", TASK).export.task_id,
        bodies.TASK,
    ),
    EXPORTS + "GetExportLinks": (
        lambda api: len(api.call(EXPORTS + "GetExportLinks", TASK).links),
        1,
    ),
    EXPORTS + "ListExports": (lambda api: len(api.call(EXPORTS + "ListExports").exports), 4),
    EVENTS + "GetEvent": (
        lambda api: api.call(EVENTS + "GetEvent", {"position": 3}).event.position,
        3,
    ),
    EVENTS + "ReadEvents": (
        lambda api: [
            it.position for part in api.stream(EVENTS + "ReadEvents", {"to_position": 3}) for it in part.events
        ],
        [1, 2, 3],
    ),
    EVENTS + "WatchEvents": (
        lambda api: next(api.stream(EVENTS + "WatchEvents", {})).WhichOneof("message"),
        "started",
    ),
    EVENTS + "GetHead": (lambda api: api.call(EVENTS + "GetHead").position, 14),
    ADMIN + "ImportEvents": (lambda api: api.upload(ADMIN + "ImportEvents", {"payloads": ["e30="]}).refused, 1),
    ADMIN + "ReadmitEvents": (
        lambda api: api.call(ADMIN + "ReadmitEvents", {"positions": [1]}).events[0].problem != "",
        True,
    ),
    ADMIN + "ListRejectedDeliveries": (
        lambda api: len(api.call(ADMIN + "ListRejectedDeliveries").deliveries),
        0,
    ),
    ADMIN + "RebuildViews": (lambda api: api.call(ADMIN + "RebuildViews").ByteSize(), 0),
    ADMIN + "GetStatus": (lambda api: api.call(ADMIN + "GetStatus").exports, 5),
    HEALTH + "Check": (
        lambda api: api.call(HEALTH + "Check").status,
        health_pb2.HealthCheckResponse.SERVING,
    ),
    HEALTH + "Watch": (
        lambda api: next(api.stream(HEALTH + "Watch", {})).status,
        health_pb2.HealthCheckResponse.SERVING,
    ),
} | {
    f"grpc.reflection.{version}.ServerReflection.ServerReflectionInfo": (
        lambda api, version=version: listed(api, version) >= OURS,
        True,
    )
    for version in VERSIONS
}


class EveryRpc(StoryCase):
    def test_reflection_lists_every_service_in_both_versions(self) -> None:
        self.assertEqual(self.api.services, OURS | REFLECTION | {"grpc.health.v1.Health"})
        for version in VERSIONS:
            with self.subTest(version):
                self.assertLessEqual(OURS | {"grpc.health.v1.Health"}, listed(self.api, version))

    def test_every_rpc_that_is_listed_answers(self) -> None:
        # Views follow the log: let them be there.
        self.rows(CONNECTIONS + "ListConnections")
        api = Api(self.daemon.grpc)
        self.addCleanup(api.close)
        self.assertEqual(EXPECTED.keys(), api.rpcs.keys())
        for rpc, (answer, expected) in sorted(EXPECTED.items()):
            with self.subTest(rpc):
                self.assertEqual(answer(api), expected)
        self.assertEqual(api.called, set(api.rpcs))

    def test_an_rpc_that_nobody_lists_is_not_implemented(self) -> None:
        for path in ("/cleat.v1.ConnectionService/NeverHeardOf", "/cleat.v1.NeverHeardOf/GetHead"):
            with self.subTest(path):
                with self.assertRaises(grpc.RpcError) as raised:
                    self.api.channel.unary_unary(path)(b"", timeout=PATIENCE_SECONDS)
                self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_the_common_health_client_sees_the_daemon_and_each_service(self) -> None:
        stub = health_pb2_grpc.HealthStub(self.api.channel)
        for service in sorted({""} | OURS):
            request = health_pb2.HealthCheckRequest(service=service)
            with self.subTest(service):
                answers = [
                    stub.Check(request, timeout=PATIENCE_SECONDS),
                    next(stub.Watch(request, timeout=PATIENCE_SECONDS)),
                ]
                serving = health_pb2.HealthCheckResponse.SERVING
                self.assertEqual([it.status for it in answers], [serving, serving])
        with self.assertRaises(grpc.RpcError) as raised:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE_SECONDS)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

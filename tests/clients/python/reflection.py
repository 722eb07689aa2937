"""Calls the daemon's gRPC API with what its reflection tells, and with no code made from its protos.

Knows no message and no service of cleat.
"""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from daemon import PATIENCE_SECONDS

VERSIONS = ("v1alpha", "v1")
Fields = dict[str, Any]


class Api:
    """Calls by full names, as `cleat.v1.EventService.GetHead`, with requests as in JSON."""

    def __init__(self, address: str) -> None:
        # A connection of its own: channels to one address share one otherwise.
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        databases = [_database(self.channel, version) for version in VERSIONS]
        pools = [descriptor_pool.DescriptorPool(database) for database in databases]
        # Each version of reflection tells itself and nothing of the other.
        listed = [
            (service, pool)
            for database, pool in zip(databases, pools, strict=True)
            for service in database.get_services()
        ]
        self.services = {service for service, _ in listed}
        self.rpcs: dict[str, MethodDescriptor] = {
            method.full_name: method for service, pool in listed for method in pool.FindServiceByName(service).methods
        }
        self.pool = pools[0]
        self.called: set[str] = set()

    def call(self, rpc: str, request: Fields | None = None) -> Message:
        """The one answer of an RPC without streams."""
        method = self.rpcs[rpc]
        assert not method.client_streaming and not method.server_streaming, rpc
        answer, arguments = self._stub(method), _message(method.input_type, request or {})
        return answer(arguments, timeout=PATIENCE_SECONDS)

    def upload(self, rpc: str, *requests: Fields) -> Message:
        """The one answer of an RPC that takes a stream."""
        method = self.rpcs[rpc]
        assert method.client_streaming and not method.server_streaming, rpc
        messages = (_message(method.input_type, request) for request in requests)
        return self._stub(method)(messages, timeout=PATIENCE_SECONDS)

    def stream(self, rpc: str, *requests: Fields) -> grpc.Call:
        """The answers of an RPC with a stream of them. It fails if they take too long."""
        method = self.rpcs[rpc]
        assert method.server_streaming, rpc
        messages = [_message(method.input_type, request) for request in requests]
        argument: Message | Iterable[Message] = messages[0]
        if method.client_streaming:
            argument = iter(messages)
        return self._stub(method)(argument, timeout=PATIENCE_SECONDS)

    def encoded(self, rpc: str, request: Fields) -> bytes:
        """The message of a request, for who sends it otherwise."""
        return _message(self.rpcs[rpc].input_type, request).SerializeToString()

    def close(self) -> None:
        self.channel.close()

    def _stub(self, method: MethodDescriptor) -> Any:
        self.called.add(method.full_name)
        kinds = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, False): self.channel.stream_unary,
            (True, True): self.channel.stream_stream,
        }
        callable_of = kinds[method.client_streaming, method.server_streaming]
        return callable_of(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )


def told(message: Message) -> Fields:
    """A message as JSON has it: every field, but for messages that are not set."""
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _message(descriptor: Any, fields: Fields) -> Message:
    return json_format.ParseDict(fields, message_factory.GetMessageClass(descriptor)())


def _database(channel: grpc.Channel, version: str) -> ProtoReflectionDescriptorDatabase:
    if version == "v1":
        channel = grpc.intercept_channel(channel, _AsV1())
    return ProtoReflectionDescriptorDatabase(channel)


class _AsV1(grpc.StreamStreamClientInterceptor):
    """grpcio speaks v1alpha alone. The messages of v1 are the same; only the service is called otherwise."""

    def intercept_stream_stream(
        self,
        continuation: Any,
        client_call_details: grpc.ClientCallDetails,
        request_iterator: Iterable[Message],
    ) -> Any:
        client_call_details = client_call_details._replace(method=client_call_details.method.replace("v1alpha", "v1"))
        return continuation(client_call_details, request_iterator)

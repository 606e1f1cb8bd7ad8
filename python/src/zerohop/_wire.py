"""The wire contract as Python sees it: messages, method names, and how a channel is set up.

The messages are built from a table, not from generated code, and live in a descriptor pool of their own. Generated
code registers itself in protobuf's one default pool, where a second file with the same names is an error: a program
that has stubs of its own for this contract (ours, or those of the manager that Zerohop replaces) could not import
this package. Generated code also demands a protobuf as new as its generator; a table does not.
That the table says what proto/inference.proto says is a test.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "arctic_inference"
SERVICE = f"{PACKAGE}.InferenceService"
MAX_MESSAGE_BYTES = 200 << 20

# message: its fields as number, type, name; "*" is repeated. A type that is no scalar is another message.
_MESSAGES = {
    "EncodeRequest": "1 string request_id, 2 int32 n_prompts, 3 string* prompts, 4 bytes* token_id_bytes_i32,"
                     "5 string model_name, 6 int32 priority",
    "EncodeResponse": "1 string request_id, 2 int32 n_prompts, 3 int32 embedding_dim,"
                      "4 bytes* embedding_bytes_fp32, 5 string error",
    "AbortRequest": "1 string request_id",
    "AbortResponse": "1 bool success, 2 string message",
    "ReplicaInfoRequest": "",
    "SingleReplicaInfoResponse": "1 string model_name, 2 string task, 3 string dtype, 4 bool ready,"
                                 "5 string parallel_config, 6 string decoding_config, 7 string scheduler_config,"
                                 "8 string lora_config",
    "ReplicaInfoResponse": "1 SingleReplicaInfoResponse* replica_infos, 2 int32 n_replicas,"
                           "3 int32 n_healthy_replicas, 4 string message,"
                           "101 string consumers, 102 string* consumer_infos",
    "HealthCheckRequest": "",
    "HealthCheckResponse": "1 bool healthy, 2 string message",
}
METHODS = {
    "Encode": ("EncodeRequest", "EncodeResponse"),
    "Abort": ("AbortRequest", "AbortResponse"),
    "GetReplicaInfo": ("ReplicaInfoRequest", "ReplicaInfoResponse"),
    "HealthCheck": ("HealthCheckRequest", "HealthCheckResponse"),
}


def _build_messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package=PACKAGE, syntax="proto3")
    Field = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, kind, field_name in (field.split() for field in fields.split(",") if field):
            field = message.field.add(name=field_name, number=int(number))
            field.label = Field.LABEL_REPEATED if kind.endswith("*") else Field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _MESSAGES:
                field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                field.type = Field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            for name in _MESSAGES}


MESSAGES = _build_messages()

# Only Encode is retried: it has no effect but its answer. The others say what is true now, so they fail now.
# Five attempts are the most that gRPC makes; with these pauses they span about eight seconds.
_RETRY = {
    "methodConfig": [{
        "name": [{"service": SERVICE, "method": "Encode"}],
        "retryPolicy": {
            "maxAttempts": 5,
            "initialBackoff": "0.2s",
            "maxBackoff": "5s",
            "backoffMultiplier": 3,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        },
    }],
}


def channel_options(retry: bool) -> list[tuple[str, Any]]:
    """Options of every channel that a client opens."""
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A connection of its own: the options below are not shared with a caller's other channels.
        ("grpc.use_local_subchannel_pool", 1),
        # A retry must find a server that is back; by default gRPC looks again only after 1, 1.6, 2.6 ... 120 s.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5000),  # the time that one connect may take
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Finds out that the server's machine is gone. More often than every five minutes is not allowed by default.
        ("grpc.keepalive_time_ms", 360_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
    if retry:
        options += [
            ("grpc.enable_retries", 1),
            ("grpc.service_config", json.dumps(_RETRY)),
            # By default a call of more than 256 KiB is silently not retried.
            ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES + (1 << 20)),
        ]
    return options


def bind(channel: Any, method: str) -> Any:
    """The callable of one method on a grpc.Channel or a grpc.aio.Channel."""
    request, response = METHODS[method]
    return channel.unary_unary(f"/{SERVICE}/{method}",
                               request_serializer=MESSAGES[request].SerializeToString,
                               response_deserializer=MESSAGES[response].FromString)

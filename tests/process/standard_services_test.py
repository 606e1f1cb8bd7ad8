"""What gRPC's tools expect of every server: grpc.health.v1 and grpc.reflection.v1alpha.

Health is asked in bytes written by hand. Reflection is asked what its own messages are, as by a client that has
no code generated from any proto; only those first questions are written by hand.
"""

import os
import pathlib
import queue
import signal
import unittest

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory, unknown_fields
from server import PATIENCE_S, Server, echo_rows, rows_of
from truth_test import Script

CONTRACT = "arctic_inference.InferenceService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
UNKNOWN = "no.such.Service"

# HealthCheckResponse{status}
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"

# The public contracts: what clients elsewhere were built with.
NUMBERS = {
    "grpc.health.v1.HealthCheckRequest": {"service": 1},
    "grpc.health.v1.HealthCheckResponse": {"status": 1},
    "grpc.reflection.v1alpha.ServerReflectionRequest": {
        "host": 1, "file_by_filename": 3, "file_containing_symbol": 4, "file_containing_extension": 5,
        "all_extension_numbers_of_type": 6, "list_services": 7},
    "grpc.reflection.v1alpha.ExtensionRequest": {"containing_type": 1, "extension_number": 2},
    "grpc.reflection.v1alpha.ServerReflectionResponse": {
        "valid_host": 1, "original_request": 2, "file_descriptor_response": 4, "all_extension_numbers_response": 5,
        "list_services_response": 6, "error_response": 7},
    "grpc.reflection.v1alpha.FileDescriptorResponse": {"file_descriptor_proto": 1},
    "grpc.reflection.v1alpha.ExtensionNumberResponse": {"base_type_name": 1, "extension_number": 2},
    "grpc.reflection.v1alpha.ListServiceResponse": {"service": 1},
    "grpc.reflection.v1alpha.ServiceResponse": {"name": 1},
    "grpc.reflection.v1alpha.ErrorResponse": {"error_code": 1, "error_message": 2},
}


def field(number, text):
    """A message of one string; the same bytes as a message within a message."""
    return bytes([number << 3 | 2, len(text)]) + text.encode()


def inner(message, number):
    """The strings, or messages, in one field of a message of which only that is known."""
    fields = unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(message))
    return [f.data for f in fields if f.field_number == number]


def check(server, service):
    return server.channel.unary_unary(f"/{HEALTH}/Check")(field(1, service), timeout=PATIENCE_S)


def watch(server, service):
    return server.channel.unary_stream(f"/{HEALTH}/Watch")(field(1, service), timeout=PATIENCE_S)


def reflect(server, questions, **codecs):
    return server.channel.stream_stream(f"/{REFLECTION}/ServerReflectionInfo", **codecs)(questions, timeout=PATIENCE_S)


def kill_replicas(server):
    for pid in server.replica_pids():
        os.kill(pid, signal.SIGKILL)


def ends_with(call):
    """What was still to come of a call that the server ends with an error, and the status."""
    messages = []
    try:
        for message in call:
            messages.append(message)
    except grpc.RpcError as error:
        return messages, error.code()
    raise AssertionError("it ended well")


class Messages:
    """The messages of a server, learned from itself."""

    def __init__(self, server):
        self.pool = descriptor_pool.DescriptorPool()
        # ServerReflectionRequest{file_containing_symbol}, ServerReflectionResponse{file_descriptor_response{file…}}
        for answer in reflect(server, iter([field(4, name) for name in (CONTRACT, HEALTH, REFLECTION)])):
            for file in inner(inner(answer, 4)[0], 1):
                self.pool.AddSerializedFile(file)

    def __getitem__(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))


class Stream:
    """A reflection stream; the next question comes when the answer to the last is there."""

    def __init__(self, server, messages):
        self.request = messages["grpc.reflection.v1alpha.ServerReflectionRequest"]
        response = messages["grpc.reflection.v1alpha.ServerReflectionResponse"]
        self.questions = queue.SimpleQueue()
        self.call = reflect(server, iter(self.questions.get, None), response_deserializer=response.FromString,
                            request_serializer=self.request.SerializeToString)

    def ask(self, **kind):
        self.questions.put(self.request(**kind))
        return next(self.call)

    def close(self):
        self.questions.put(None)


class Health(unittest.TestCase):
    def test_check_knows_the_server_and_its_service_and_nothing_else(self):
        with Server("--echo-dim=4") as server:
            for service in ("", CONTRACT):
                self.assertEqual(check(server, service), SERVING)
            for service in (UNKNOWN, CONTRACT[:-1], CONTRACT + "2"):
                with self.assertRaises(grpc.RpcError) as caught:
                    check(server, service)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_check_and_watch_tell_of_start_death_and_return(self):
        gate = Script(self, "wait_for gate")
        with Server(gate.flag, "--echo-dim=4", ready=0) as server:
            watches = [watch(server, service) for service in ("", CONTRACT) * 20]
            stranger = watch(server, UNKNOWN)
            self.assertEqual(next(stranger), SERVICE_UNKNOWN)

            def told(status):
                self.assertEqual([next(call) for call in watches], [status] * len(watches))
                self.assertEqual([check(server, service) for service in ("", CONTRACT)], [status] * 2)

            told(NOT_SERVING)
            gate.open("gate")
            told(SERVING)
            server.wait_healthy(2)
            (gate.folder / "gate").unlink()
            kill_replicas(server)
            told(NOT_SERVING)
            gate.open("gate")
            told(SERVING)
            server.wait_healthy(2)
            # All this was no change of what is not known; and the second replica none of what serves already.
            self.assertTrue(stranger.is_active())
            self.assertEqual(server.stop(), 0)
            self.assertEqual(ends_with(stranger), ([], grpc.StatusCode.UNAVAILABLE))
            for call in watches:
                self.assertEqual(ends_with(call), ([NOT_SERVING], grpc.StatusCode.UNAVAILABLE))

    def test_a_watch_that_comes_late_is_told_the_present_status(self):
        with Server("--echo-dim=4", replicas=1) as server:
            first = watch(server, "")
            self.assertEqual(next(first), SERVING)
            kill_replicas(server)
            self.assertEqual([next(first), next(first)], [NOT_SERVING, SERVING])
            self.assertEqual(next(watch(server, "")), SERVING)

    def test_clients_that_stop_watching_leave_the_others_and_the_drain_alone(self):
        with Server("--echo-dim=4", "--drain-timeout=3600", replicas=1) as server:
            stays = watch(server, "")
            self.assertEqual(next(stays), SERVING)
            for i in range(50):
                goes = watch(server, ("", CONTRACT, UNKNOWN)[i % 3])
                if i % 2:
                    next(goes)
                goes.cancel()
            kill_replicas(server)
            self.assertEqual([next(stays), next(stays)], [NOT_SERVING, SERVING])
            self.assertEqual(server.stop(), 0)

    def test_bytes_that_are_no_request_end_their_call_alone(self):
        with Server("--echo-dim=4", replicas=1) as server:
            for garbage in (b"\x0a\x7fshort", b"\x0a\x02\xff\xfe", b"\xff" * 9):
                with self.assertRaises(grpc.RpcError) as caught:
                    server.channel.unary_unary(f"/{HEALTH}/Check")(garbage, timeout=PATIENCE_S)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.INTERNAL)
                call = server.channel.unary_stream(f"/{HEALTH}/Watch")(garbage, timeout=PATIENCE_S)
                self.assertEqual(ends_with(call), ([], grpc.StatusCode.INTERNAL))
                self.assertEqual(list(reflect(server, iter([garbage, field(7, "")]))), [])
            self.assertEqual(check(server, ""), SERVING)
            self.assertEqual(server.stop(), 0)


class Drain(unittest.TestCase):
    def test_open_streams_do_not_hold_it_up_and_watchers_are_told(self):
        # A drain that waited for them would outlast all patience.
        with Server("--echo-dim=4", "--drain-timeout=3600") as server:
            watches = [watch(server, service) for service in ("", CONTRACT)]
            stranger = watch(server, UNKNOWN)
            self.assertEqual([next(call) for call in (*watches, stranger)], [SERVING, SERVING, SERVICE_UNKNOWN])
            messages = Messages(server)
            asked, silent = Stream(server, messages), Stream(server, messages)
            asked.ask(list_services="")
            check(server, "")  # on the same connection: the stream that has asked nothing is there as well
            self.assertEqual(server.stop(), 0)
            for call in watches:
                self.assertEqual(ends_with(call), ([NOT_SERVING], grpc.StatusCode.UNAVAILABLE))
            self.assertEqual(ends_with(stranger), ([], grpc.StatusCode.UNAVAILABLE))
            for stream in (asked, silent):
                stream.close()
                self.assertEqual(ends_with(stream.call), ([], grpc.StatusCode.CANCELLED))


class Threads(unittest.TestCase):
    def test_no_thread_of_grpc_serves_calls_beside_ours(self):
        with Server("--echo-dim=4", replicas=1) as server:
            check(server, "")
            next(watch(server, ""))
            next(reflect(server, iter([field(7, "")])))
            tasks = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/comm")
            names = {task.read_text().strip() for task in tasks}
            self.assertIn("zerohop", names)
            # Of its synchronous and its callback services, cut to the 15 characters that the kernel keeps.
            self.assertEqual(names & {"grpcpp_sync_ser", "nexting_thread"}, set())


class Reflection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--echo-dim=4")
        cls.addClassCleanup(cls.server.__exit__)  # even when it cannot say what its messages are
        cls.messages = Messages(cls.server)

    def stream(self):
        stream = Stream(self.server, self.messages)
        self.addCleanup(stream.close)
        return stream

    def files(self, answer):
        self.assertEqual(answer.WhichOneof("message_response"), "file_descriptor_response")
        return [descriptor_pb2.FileDescriptorProto.FromString(file)
                for file in answer.file_descriptor_response.file_descriptor_proto]

    def names(self, answer):
        return [file.name for file in self.files(answer)]

    def test_the_messages_are_those_of_the_public_contracts(self):
        for message, numbers in NUMBERS.items():
            found = {f.name: f.number for f in self.messages.pool.FindMessageTypeByName(message).fields}
            self.assertEqual(found, numbers, message)
        status = self.messages.pool.FindEnumTypeByName("grpc.health.v1.HealthCheckResponse.ServingStatus")
        self.assertEqual({v.name: v.number for v in status.values},
                         {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3})

    def test_a_client_that_knew_nothing_can_embed(self):
        request = self.messages["arctic_inference.EncodeRequest"]
        response = self.messages["arctic_inference.EncodeResponse"]
        encode = self.server.channel.unary_unary(f"/{CONTRACT}/Encode", request_serializer=request.SerializeToString,
                                                 response_deserializer=response.FromString)
        answer = encode(request(prompts=["a"], n_prompts=1, model_name=self.server.model), timeout=PATIENCE_S)
        np.testing.assert_array_equal(rows_of(answer), echo_rows(["a"], 4))

    def test_all_services_are_listed(self):
        answer = self.stream().ask(list_services="*")
        self.assertEqual(sorted(service.name for service in answer.list_services_response.service),
                         sorted([CONTRACT, HEALTH, REFLECTION]))

    def test_a_file_is_found_by_its_name_and_by_all_that_it_declares(self):
        stream = self.stream()
        by_name = self.files(stream.ask(file_by_filename="inference.proto"))
        self.assertEqual([file.name for file in by_name], ["inference.proto"])
        self.assertEqual([service.name for service in by_name[0].service], ["InferenceService"])
        for symbol in (CONTRACT, CONTRACT + ".Encode", "arctic_inference.EncodeRequest",
                       "arctic_inference.EncodeRequest.priority"):
            self.assertEqual(self.files(stream.ask(file_containing_symbol=symbol)), by_name)
        for symbol in (HEALTH, "grpc.health.v1.HealthCheckResponse.ServingStatus",
                       "grpc.health.v1.HealthCheckResponse.SERVICE_UNKNOWN"):
            self.assertEqual(self.names(stream.ask(file_containing_symbol=symbol)), ["health.proto"])
        self.assertEqual(self.names(stream.ask(file_containing_symbol=REFLECTION)), ["reflection.proto"])

    def test_imports_come_along_once_a_stream_and_what_is_asked_for_comes_each_time(self):
        # Files of protobuf's own, known wherever it is linked: the only ones that import others.
        api, type_, any_, source = (f"google/protobuf/{name}.proto"
                                    for name in ("api", "type", "any", "source_context"))
        stream = self.stream()
        first = self.names(stream.ask(file_by_filename=type_))
        self.assertEqual((first[0], sorted(first)), (type_, sorted([type_, any_, source])))
        self.assertEqual(self.names(stream.ask(file_containing_symbol="google.protobuf.Api")), [api])
        self.assertEqual(self.names(stream.ask(file_by_filename=type_)), [type_])
        self.assertEqual(self.names(stream.ask(file_by_filename=any_)), [any_])
        other = self.names(self.stream().ask(file_by_filename=api))
        self.assertEqual((other[0], sorted(other)), (api, sorted([api, type_, any_, source])))

    def test_what_is_not_found_is_told_and_the_stream_goes_on(self):
        stream = self.stream()
        nothing = [{"file_by_filename": "no_such.proto"}, {"file_containing_symbol": "no.such.Symbol"},
                   {"file_containing_symbol": ""}, {"all_extension_numbers_of_type": "no.such.Type"},
                   {"file_containing_extension": {"containing_type": "no.such.Type", "extension_number": 1}},
                   {"file_containing_extension": {"containing_type": "arctic_inference.AbortRequest",
                                                  "extension_number": 1}}]
        for kind in nothing:
            answer = stream.ask(host="some host", **kind)
            self.assertEqual(answer.WhichOneof("message_response"), "error_response", kind)
            self.assertEqual(answer.error_response.error_code, 5)
            self.assertNotEqual(answer.error_response.error_message, "")
            self.assertEqual(answer.valid_host, "some host")
            self.assertEqual(answer.original_request, stream.request(host="some host", **kind))
        self.assertEqual(self.names(stream.ask(file_containing_symbol=HEALTH)), ["health.proto"])

    def test_a_type_without_extensions_has_none(self):
        answer = self.stream().ask(all_extension_numbers_of_type="arctic_inference.AbortRequest")
        self.assertEqual(answer.WhichOneof("message_response"), "all_extension_numbers_response")
        self.assertEqual(answer.all_extension_numbers_response.base_type_name, "arctic_inference.AbortRequest")
        self.assertEqual(list(answer.all_extension_numbers_response.extension_number), [])

    def test_a_request_of_no_kind_is_unimplemented(self):
        self.assertEqual(self.stream().ask(host="h").error_response.error_code, 12)

    def test_questions_sent_at_once_are_answered_in_order_and_the_stream_ends_with_its_client(self):
        symbols = [(CONTRACT, HEALTH, REFLECTION)[i % 3] for i in range(60)]
        answers = list(reflect(self.server, iter([field(4, symbol) for symbol in symbols])))
        response = self.messages["grpc.reflection.v1alpha.ServerReflectionResponse"]
        told = [response.FromString(answer) for answer in answers]
        self.assertEqual([answer.original_request.file_containing_symbol for answer in told], symbols)
        self.assertEqual([len(self.files(answer)) for answer in told], [1] * 60)


if __name__ == "__main__":
    unittest.main()

"""The clients of the wheel, against real servers and against servers that follow a script.

Every claim of class Claims is made of both clients: BlockingAsync drives an AsyncClient as one drives a Client.
"""

import asyncio
import concurrent.futures
import contextlib
import io
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import grpc
import inference_pb2 as pb  # a caller's own stubs, in one process with the package
import inference_pb2_grpc as pb_grpc
import numpy as np
import zerohop
from google.protobuf import descriptor_pb2
from server import MAX_MESSAGE, PATIENCE_S, Server, echo_row, echo_rows, until, stopped
from zerohop import _wire

DIM = 16
ROOT = Path(__file__).resolve().parents[2]


# One for all: with more than one loop at a time, gRPC prints errors that mean nothing (grpc/grpc#25364).
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run_in_loop(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result()


class BlockingAsync:
    """An AsyncClient with the methods of a Client."""

    def __init__(self, *args, **kwargs):
        self.client = zerohop.AsyncClient(*args, **kwargs)

    def __getattr__(self, name):
        method = getattr(self.client, name)
        return lambda *args, **kwargs: run_in_loop(method(*args, **kwargs))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Scripted(pb_grpc.InferenceServiceServicer):
    """A server that fails its first Encodes as told, then answers as the echo engine does; notes what came."""

    def __init__(self, failures=(), trailers=(), answer=None, info=None):
        self.failures = list(failures)
        self.trailers = trailers
        self.requests = []
        self.attempts = 0
        self.most_at_once = self.at_once = 0
        self.cancelled = threading.Event()
        self.lock = threading.Lock()
        if answer is not None:
            self.answer = answer
        self.info = info or pb.ReplicaInfoResponse(replica_infos=[pb.SingleReplicaInfoResponse(model_name="scripted")],
                                                   n_replicas=1, n_healthy_replicas=1)
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16),
                                  options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.so_reuseport", 0)])
        pb_grpc.add_InferenceServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()

    def GetReplicaInfo(self, request, context):
        return self.info

    def Encode(self, request, context):
        with self.lock:
            self.attempts += 1
            self.requests.append(request)
            failure = self.failures.pop(0) if self.failures else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if failure is not None:
                context.set_trailing_metadata(self.trailers)
                context.abort(failure, f"as told, attempt {self.attempts}")
            return self.answer(request, context)
        finally:
            with self.lock:
                self.at_once -= 1

    def answer(self, request, context):
        return pb.EncodeResponse(n_prompts=request.n_prompts, embedding_dim=4,
                                 embedding_bytes_fp32=[echo_row(p[:64], 4).tobytes() for p in request.prompts])

    def wait_for_cancel(self, context):
        over = threading.Event()
        context.add_callback(over.set)
        if over.wait(PATIENCE_S / 2):
            self.cancelled.set()
        return pb.EncodeResponse()


UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED


def described(message):
    """A message's fields, in protobuf's own words."""
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    for field in proto.field:
        field.ClearField("json_name")
    return sorted(str(field) for field in proto.field)


@contextlib.contextmanager
def reserved_port():
    """A port where nobody listens, but for a server that is told to; others are not given it.

    A socket that is bound keeps it, and with SO_REUSEADDR, as gRPC has it, another may listen there.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def relayed(server, request, context):
    try:
        return server.stub.Encode(request)
    except grpc.RpcError as error:
        context.set_trailing_metadata(error.trailing_metadata())
        context.abort(error.code(), error.details())


def requests_in_house(server):
    return int(re.search(r"(\d+) requests accepted", server.info().message).group(1))


class Claims:
    """Claims about either client; `make` makes one."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"--echo-dim={DIM}", "--served-model-name=some/model")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def client(self, address=None, **kwargs):
        client = self.make(address or self.server.address, **kwargs)
        self.addCleanup(client.__exit__, None, None, None)
        return client

    def scripted(self, *args, **kwargs):
        return self.enter(Scripted(*args, **kwargs))

    def enter(self, context):
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def raises(self, kind, call, sentence="", address=None):
        with self.assertRaises(kind) as caught:
            call()
        message = str(caught.exception)
        self.assertRegex(message, sentence)
        self.assertNotIn("\n", message)
        if address is not False:
            self.assertIn(address or self.server.address, message)
            self.assertEqual(caught.exception.address, address or self.server.address)
        return caught.exception

    def in_thread(self, call):
        pool = concurrent.futures.ThreadPoolExecutor(1)
        self.addCleanup(pool.shutdown)
        return pool.submit(call)

    # Values

    def test_each_row_is_the_answer_to_its_text_over_many_requests(self):
        texts = [f"text {i} é€😀" + "x" * (i % 50) for i in range(1000)]
        rows = self.client(batch_prompts=7, in_flight=5).embed(texts)
        self.assertEqual((rows.dtype, rows.shape), (np.float32, (1000, DIM)))
        np.testing.assert_array_equal(rows, echo_rows(texts, DIM))

    def test_one_text_is_a_list_of_one_and_no_text_has_the_shape_of_none(self):
        client = self.client()
        np.testing.assert_array_equal(client.embed("abc"), echo_rows(["abc"], DIM))
        np.testing.assert_array_equal(client.embed(""), echo_rows([""], DIM))
        for none in (client.embed([]), client.embed_tokens([])):
            self.assertEqual((none.dtype, none.shape), (np.float32, (0, DIM)))

    def test_texts_may_come_from_any_iterable(self):
        client = self.client()
        for texts in (iter(["a", "b"]), ("a", "b"), np.array(["a", "b"])):
            np.testing.assert_array_equal(client.embed(texts), echo_rows(["a", "b"], DIM))

    def test_token_ids_may_be_lists_or_arrays_of_any_integer_type_and_stride(self):
        ids = [[1, 2, 3], (4,), np.array([5, 6], np.int32), np.arange(9, dtype=np.int64)[::2], np.array([7], np.uint8)]
        wire = [np.asarray(i, "<i4").tobytes() for i in ids]
        np.testing.assert_array_equal(self.client(batch_prompts=2).embed_tokens(ids), echo_rows(wire, DIM))
        matrix = np.arange(12).reshape(3, 4)
        wire = [row.astype("<i4").tobytes() for row in matrix]
        np.testing.assert_array_equal(self.client().embed_tokens(matrix), echo_rows(wire, DIM))

    def test_a_hundred_thousand_texts_come_back_in_order(self):
        texts = [f"{i}" for i in range(100_000)]
        rows = self.client().embed(texts)
        for i in (0, 1, 255, 256, 50_000, 99_999):
            np.testing.assert_array_equal(rows[i], echo_row(texts[i], DIM))
        self.assertEqual(len({row.tobytes() for row in rows}), 100_000)

    def test_large_texts_and_large_answers_pass(self):
        texts = [os.urandom(500_000).hex() for _ in range(100)]  # 100 MB in one request
        rows = self.client(batch_bytes=150 << 20).embed(texts)
        for i in (0, 99):
            np.testing.assert_array_equal(rows[i], echo_row(texts[i], DIM))
        server = self.enter(Server("--echo-dim=65536"))
        rows = self.client(server.address).embed([f"{i}" for i in range(300)])  # 64 MiB, then 11 MiB
        for i in (0, 255, 299):
            np.testing.assert_array_equal(rows[i], echo_row(f"{i}", 65536))

    def test_many_callers_of_one_client_get_their_own_rows(self):
        client = self.client(batch_prompts=3)

        def call(seed):
            texts = [f"{seed} {i}" for i in range(20)]
            return np.array_equal(client.embed(texts), echo_rows(texts, DIM))

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertTrue(all(pool.map(call, range(100))))

    # What is sent

    def test_requests_are_bounded_by_count_and_by_bytes_and_by_how_many_go_at_once(self):
        server = self.scripted()
        client = self.client(server.address, batch_prompts=10, batch_bytes=1000, in_flight=2)
        texts = ["x"] * 25 + ["y" * 300] * 5 + ["z" * 5000] + ["x"] * 3
        self.assertEqual(client.embed(texts, priority=-3, request_id="mine").shape, (34, 4))
        self.assertEqual(sorted(r.n_prompts for r in server.requests), [1, 2, 3, 8, 10, 10])
        self.assertTrue(all(len("".join(r.prompts)) <= 1000 or len(r.prompts) == 1 for r in server.requests))
        self.assertLessEqual(server.most_at_once, 2)
        self.assertEqual({(r.priority, r.request_id, r.model_name) for r in server.requests},
                         {(-3, "mine", "scripted")})

    def test_a_model_that_is_given_is_not_asked_for(self):
        server = self.scripted()
        server.info = None  # asked for, it would be an error
        self.client(server.address, model="given").embed(["a"])
        self.assertEqual(server.requests[0].model_name, "given")

    # Retries

    def test_a_request_that_could_not_be_taken_is_sent_again(self):
        for codes in ([UNAVAILABLE] * 2, [EXHAUSTED] * 2):
            server = self.scripted(codes)
            np.testing.assert_array_equal(self.client(server.address).embed(["a", "b"]), echo_rows(["a", "b"], 4))
            self.assertEqual(server.attempts, 3)

    def test_a_large_request_is_sent_again_too(self):
        server = self.scripted([UNAVAILABLE] * 2)
        text = "large" * (10 << 20)  # 50 MiB; gRPC's own limit for retries is 256 KiB
        np.testing.assert_array_equal(self.client(server.address).embed(text), echo_rows([text[:64]], 4))
        self.assertEqual(server.attempts, 3)

    def test_after_five_attempts_the_last_refusal_is_raised(self):
        server = self.scripted([UNAVAILABLE] * 9)
        error = self.raises(zerohop.Unavailable, lambda: self.client(server.address).embed("a"), "as told, attempt 5",
                            server.address)
        self.assertEqual((error.code, server.attempts), (UNAVAILABLE, 5))

    def test_what_trying_again_cannot_help_is_sent_once(self):
        for code, kind in ((grpc.StatusCode.INVALID_ARGUMENT, zerohop.InvalidInput),
                           (grpc.StatusCode.CANCELLED, zerohop.Cancelled),
                           (grpc.StatusCode.INTERNAL, zerohop.ZerohopError)):
            server = self.scripted([code])
            self.raises(kind, lambda s=server: self.client(s.address).embed("a"), "as told, attempt 1", server.address)
            self.assertEqual(server.attempts, 1)

    def test_a_server_may_forbid_the_retry(self):
        server = self.scripted([UNAVAILABLE], trailers=[("grpc-retry-pushback-ms", "-1")])
        self.raises(zerohop.Unavailable, lambda: self.client(server.address).embed("a"), "attempt 1", server.address)
        self.assertEqual(server.attempts, 1)

    def test_a_caller_may_forbid_retries(self):
        server = self.scripted([UNAVAILABLE])
        client = self.client(server.address, retry=False)
        self.raises(zerohop.Unavailable, lambda: client.embed("a"), "attempt 1", server.address)

    def test_a_server_that_restarts_costs_nothing_but_time(self):
        # Retries go on for at least six seconds. A machine on which the server takes most of them says nothing.
        if not any(self.restart_costs_nothing() for _ in range(5)):
            self.fail("the server never came back while a client tries")

    def restart_costs_nothing(self):
        """False if the server came back too late for a client to see it."""
        with reserved_port() as port:
            with Server(f"--port={port}", "--echo-dim=4") as server:
                client = self.client(server.address)
                client.embed("before")
                server.stop(signal.SIGKILL)
            # Larger than what gRPC keeps for a retry by default.
            texts = [f"{i}" + "x" * 10_000 for i in range(1000)]
            begun = time.monotonic()
            call = self.in_thread(lambda: client.embed(texts))
            for _ in range(2):
                self.assertRaises(zerohop.Unavailable, client.health)  # nobody listens; the call finds the same
            with Server(f"--port={port}", "--echo-dim=4"):
                in_time = time.monotonic() - begun < 4
                try:
                    rows = call.result()
                except zerohop.Unavailable:
                    if in_time:
                        raise
                    return False
            np.testing.assert_array_equal(rows, echo_rows(texts, 4))
            return True

    def test_overload_is_waited_out_or_raised_with_the_numbers(self):
        server = self.enter(Server("--echo-dim=4", "--max-queue=2", "--health-interval=60", replicas=1))
        # Between the patient one and the server, so that its attempts are counted.
        relay = self.scripted(answer=lambda request, context: relayed(server, request, context), info=server.info())
        patient, hasty = self.client(relay.address), self.client(server.address, retry=False)
        hasty.embed("first contact")
        with stopped(server.replica_pids()):
            calls = [server.stub.Encode.future(pb.EncodeRequest(prompts=[f"{i}"], n_prompts=1, model_name="echo"))
                     for i in range(2)]
            until(lambda: requests_in_house(server) == 2, "the queue is full")
            self.raises(zerohop.Overloaded, lambda: hasty.embed("a"), "is overloaded: .* the limit is 2",
                        server.address)
            waits = self.in_thread(lambda: patient.embed("a"))
            until(lambda: relay.attempts == 2, "the first attempt is refused")
        np.testing.assert_array_equal(waits.result(), echo_rows(["a"], 4))
        for call in calls:
            call.result()

    # A server that starts

    def test_a_start_is_waited_for_if_asked(self):
        port = self.enter(reserved_port())
        client = self.client(f"127.0.0.1:{port}", wait_ready=PATIENCE_S)
        call = self.in_thread(lambda: client.embed(["a"]))
        self.assertRaises(zerohop.Unavailable, client.health)
        self.assertFalse(call.done())
        with Server(f"--port={port}", "--echo-dim=4"):
            np.testing.assert_array_equal(call.result(), echo_rows(["a"], 4))

    def test_a_server_that_is_not_ready_in_time_is_told(self):
        address = f"127.0.0.1:{self.enter(reserved_port())}"
        self.raises(zerohop.Unavailable, lambda: self.client(address, wait_ready=0.2).embed("a"),
                    r"was not ready within 0.2 s: .*refused", address)
        self.raises(zerohop.DeadlineExceeded, lambda: self.client(address, wait_ready=60).embed("a", timeout=0.2),
                    r"was not ready within 0.2 s: .*refused", address)
        server = self.scripted(info=pb.ReplicaInfoResponse(n_replicas=2, message="0 of 2 replicas serve"))
        self.raises(zerohop.Unavailable, lambda: self.client(server.address, wait_ready=0.2).embed("a"),
                    "0 of 2 replicas serve", server.address)
        self.raises(zerohop.BadAnswer, lambda: self.client(server.address).embed("a"), "model=", server.address)

    # Errors

    def test_nobody_listens(self):
        address = f"127.0.0.1:{self.enter(reserved_port())}"
        self.raises(zerohop.Unavailable, lambda: self.client(address).embed("a"), "not available: .*refused", address)

    def test_the_prompt_at_fault_is_named_by_its_place_in_the_callers_list(self):
        client = self.client(batch_prompts=10)
        for ids, reason in (([-1], "token id -1 at position 0"), ([], "token ids, got 0")):
            error = self.raises(zerohop.InvalidInput, lambda i=ids: client.embed_tokens([[1]] * 37 + [i] + [[2]] * 40),
                                f"refused prompt 37: .*{reason}")
            self.assertEqual((error.index, error.code), (37, grpc.StatusCode.INVALID_ARGUMENT))

    def test_what_is_no_prompt_is_refused_before_anything_is_sent(self):
        server = self.scripted()
        client = self.client(server.address)
        for call, index, sentence in (
                (lambda: client.embed(["a", None]), 1, "is a NoneType, not a str"),
                (lambda: client.embed(b"bytes"), 0, "is a int, not a str"),
                (lambda: client.embed(["a", "\ud800"]), 1, "UTF-8"),
                (lambda: client.embed(["a", "x" * MAX_MESSAGE]), 1, f"has {MAX_MESSAGE} bytes"),
                (lambda: client.embed_tokens([1, 2]), 0, "give a list of prompts"),
                (lambda: client.embed_tokens([[1], "abc"]), 1, "is a str"),
                (lambda: client.embed_tokens([[1], [0.5]]), 1, "float64"),
                (lambda: client.embed_tokens([[1], [[1], [2, 3]]]), 1, "not a sequence"),
                (lambda: client.embed_tokens([[1], [1, 2**31]]), 1, "2147483648 at position 1"),
                (lambda: client.embed_tokens([[1], [2**70]]), 1, "not a sequence")):
            error = self.raises(zerohop.InvalidInput, call, sentence, address=False)
            self.assertEqual(error.index, index)
            self.assertIsInstance(error, ValueError)
        self.assertEqual(server.requests, [])

    def test_another_model_is_told(self):
        self.raises(zerohop.WrongModel, lambda: self.client(model="other").embed("a"),
                    "Expected model name some/model, got other")

    def test_time_that_is_over_is_told_and_the_work_withdrawn(self):
        server = self.enter(Server("--echo-dim=4", "--echo-delay-us=300000", replicas=1))
        client = self.client(server.address, batch_prompts=1)
        client.embed("first contact")
        error = self.raises(zerohop.DeadlineExceeded, lambda: client.embed(["a"] * 50, timeout=0.4),
                            "did not answer within 0.4 s", server.address)
        self.assertIsInstance(error, TimeoutError)
        self.raises(zerohop.DeadlineExceeded, lambda: client.embed("a", timeout=0), "within 0 s", server.address)
        until(lambda: requests_in_house(server) == 0, "the work is gone")

    def test_abort_withdraws_every_request_of_the_call(self):
        server = self.enter(Server("--echo-dim=4", "--echo-delay-us=300000", replicas=1))
        client = self.client(server.address, batch_prompts=1)
        call = self.in_thread(lambda: client.embed(["a"] * 1000, request_id="long"))
        until(lambda: requests_in_house(server) == 4, "it is under way")
        other = self.client(server.address)
        self.assertTrue(other.abort("long"))
        self.raises(zerohop.Cancelled, call.result, "withdrawn", server.address)
        until(lambda: requests_in_house(server) == 0, "the work is gone")
        self.assertFalse(other.abort("long"))

    def test_the_first_failure_ends_the_other_requests(self):
        def answer(request, context):
            if request.prompts[0] != "2":
                return server.wait_for_cancel(context)
            until(lambda: server.at_once == 3, "the others are under way")
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Prompt 0: bad")

        server = self.scripted(answer=answer)
        client = self.client(server.address, batch_prompts=1, in_flight=3)
        error = self.raises(zerohop.InvalidInput, lambda: client.embed([f"{i}" for i in range(100)]),
                            "refused prompt 2: bad", server.address)
        self.assertEqual(error.index, 2)
        self.assertTrue(server.cancelled.wait(PATIENCE_S))
        self.assertEqual(len(server.requests), 3)

    def test_an_answer_against_the_contract_is_refused(self):
        def answer(dim, blobs):
            return lambda request, _: pb.EncodeResponse(embedding_dim=dim, embedding_bytes_fp32=blobs)

        for dim, blobs, sentence in ((4, [], "0 embeddings for 1 prompts"), (4, [b"x" * 16] * 2, "2 embeddings for 1"),
                                     (4, [b"x" * 12], "12 bytes for prompt [0-9], where dimension 4 needs 16"),
                                     (0, [b""], "of dimension 0")):
            server = self.scripted(answer=answer(dim, blobs))
            self.raises(zerohop.BadAnswer, lambda s=server: self.client(s.address, batch_prompts=1).embed(["a", "b"]),
                        sentence, server.address)
        server = self.scripted(answer=lambda request, _: pb.EncodeResponse(
            embedding_dim=int(request.prompts[0]), embedding_bytes_fp32=[bytes(4 * int(request.prompts[0]))]))
        self.raises(zerohop.BadAnswer, lambda: self.client(server.address, batch_prompts=1).embed(["1", "2"]),
                    "of dimension [12] after others of [12]", server.address)

    def test_another_kind_of_server_is_told(self):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        self.addCleanup(lambda: server.stop(0).wait())
        self.raises(zerohop.BadAnswer, lambda: self.client(address).embed("a"), "not an embedding server", address)

    def test_a_client_that_is_closed_ends_its_calls_and_takes_no_more(self):
        server = self.scripted(answer=lambda request, context: server.wait_for_cancel(context))
        client = self.client(server.address)
        call = self.in_thread(lambda: client.embed("a"))
        until(lambda: server.at_once == 1, "it is under way")
        client.close()
        self.raises(zerohop.Cancelled, call.result, "closed", server.address)
        for use in (lambda: client.embed("a"), client.info, client.health, lambda: client.abort("a")):
            self.raises(zerohop.ZerohopError, use, "is closed", server.address)
        client.close()

    def test_a_call_that_meets_a_close_ends_as_one_before_it_or_after_it(self):
        def use(client, method):
            with contextlib.suppress(zerohop.Cancelled):  # before
                while True:
                    method(client)

        for _ in range(10):
            client = self.client(batch_prompts=1)
            calls = [self.in_thread(lambda m=method, c=client: use(c, m)) for method in
                     (lambda c: c.embed(["a"] * 20), lambda c: c.info(), lambda c: c.health()) for _ in range(3)]
            client.embed("a")
            client.close()
            for call in calls:
                if call.exception() is not None:
                    self.raises(zerohop.ZerohopError, call.result, "is closed")

    def test_settings_that_cannot_be_are_refused(self):
        for address, settings, kind, sentence in (
                ("http://host:1", {}, ValueError, "is host:port, not 'http://host:1'"),
                ("", {}, ValueError, "is host:port, not ''"),
                ("localhost", {}, ValueError, "is host:port, not 'localhost'"),
                ("h:", {}, ValueError, "is host:port"), ("h:0", {}, ValueError, "is host:port"),
                ("h:65536", {}, ValueError, "is host:port"), ("::1", {}, ValueError, "is host:port"),
                (50050, {}, TypeError, "^addr must be a str, not a int"),
                ("h:1", {"model": 1}, TypeError, "^model must be a str, not a int"),
                ("h:1", {"wait_ready": "5"}, TypeError, "^wait_ready must be a number of seconds or None, not a str"),
                ("h:1", {"wait_ready": -1}, ValueError, "^wait_ready must be from 0 to .* not -1"),
                ("h:1", {"batch_prompts": 0}, ValueError, "^batch_prompts must be from 1 to .* not 0"),
                ("h:1", {"batch_prompts": 1.5}, TypeError, "^batch_prompts must be an int, not a float"),
                ("h:1", {"batch_bytes": MAX_MESSAGE}, ValueError, "^batch_bytes must be from 1 to "),
                ("h:1", {"in_flight": 0}, ValueError, "^in_flight must be from 1 to .* not 0")):
            with self.assertRaisesRegex(kind, sentence):
                self.kind(address, **settings)
        for address in ("localhost:1", "a-b.example:65535", "127.0.0.1:1", "[::1]:50050"):
            self.client(address)

    def test_arguments_that_cannot_be_are_refused_before_anything_is_sent(self):
        server = self.scripted()
        client = self.client(server.address)
        for arguments, kind, sentence in (
                ({"priority": 2**40}, ValueError, "^priority must be from -2147483648 to 2147483647, not 10995"),
                ({"priority": "high"}, TypeError, "^priority must be an int, not a str"),
                ({"request_id": 7}, TypeError, "^request_id must be a str, not a int"),
                ({"request_id": "\ud800"}, ValueError, "^request_id cannot be written as UTF-8: .* at character 0"),
                ({"timeout": "5"}, TypeError, "^timeout must be a number of seconds or None, not a str"),
                ({"timeout": -1}, ValueError, "^timeout must be from 0 to 1000000000 seconds or None, not -1"),
                ({"timeout": float("nan")}, ValueError, "not nan"), ({"timeout": float("inf")}, ValueError, "not inf")):
            calls = [lambda a=arguments: client.embed(["a"], **a), lambda a=arguments: client.embed_tokens([[1]], **a)]
            if "request_id" in arguments:
                calls.append(lambda a=arguments: client.abort(**a))
            if "timeout" in arguments:
                calls += [lambda a=arguments: client.info(**a), lambda a=arguments: client.health(**a),
                          lambda a=arguments: client.abort("a", **a)]
            for call in calls:
                with self.assertRaisesRegex(kind, sentence):
                    call()
        for call, name in ((lambda: client.embed(5), "texts"), (lambda: client.embed_tokens(None), "prompts")):
            with self.assertRaisesRegex(TypeError, f"^{name} must be an iterable, not a "):
                call()
        self.assertEqual(server.requests, [])
        most = {"priority": np.int32(2**31 - 1), "timeout": np.float32(10**9), "request_id": "é"}
        self.assertEqual(client.embed(["a"], **most).shape, (1, 4))

    # The rest

    def test_info_and_health_say_what_is(self):
        client = self.client()
        info = client.info()
        self.assertEqual((info.model, info.dim, info.n_replicas, info.n_healthy_replicas), ("some/model", DIM, 2, 2))
        self.assertEqual([(r.ready, r.dtype, r.details["replica"], r.details["engine"]) for r in info.replicas],
                         [(True, "float32", "0", "echo (not a model)"), (True, "float32", "1", "echo (not a model)")])
        self.assertTrue(client.health())
        self.assertEqual(client.health().message, "2 of 2 replicas serve")

    def test_a_bar_is_shown_if_asked_or_on_a_terminal_if_the_input_is_long(self):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        client = self.client(batch_prompts=10, in_flight=2)
        for stream, prompts, progress, shown in (
                (io.StringIO, 100, None, False), (Terminal, 100, None, True), (Terminal, 20, None, False),
                (Terminal, 100, False, False), (io.StringIO, 1, True, True)):
            with contextlib.redirect_stderr(stream()) as stderr:
                client.embed(["a"] * prompts, progress=progress)
            self.assertEqual(f"{prompts}/{prompts}" in stderr.getvalue(), shown, stderr.getvalue())
            self.assertEqual(bool(stderr.getvalue()), shown)


class Sync(Claims, unittest.TestCase):
    make = kind = zerohop.Client

    def test_an_interrupt_withdraws_the_requests(self):
        server = self.scripted(answer=lambda request, context: server.wait_for_cancel(context))
        client = self.client(server.address)

        def interrupt():
            until(lambda: server.at_once == 1, "it is under way")
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with self.assertRaises(KeyboardInterrupt):
            client.embed("a")
        self.assertTrue(server.cancelled.wait(PATIENCE_S))


class Async(Claims, unittest.TestCase):
    make, kind = BlockingAsync, zerohop.AsyncClient

    def test_a_task_that_is_cancelled_withdraws_its_requests(self):
        async def run(server):
            async with zerohop.AsyncClient(server.address, batch_prompts=1) as client:
                task = asyncio.ensure_future(client.embed(["a"] * 100))
                while requests_in_house(server) < 4:
                    await asyncio.sleep(0.01)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                until(lambda: requests_in_house(server) == 0, "the work is gone")

        with Server("--echo-dim=4", "--echo-delay-us=300000", replicas=1) as server:
            run_in_loop(run(server))

    def test_a_client_made_outside_of_a_loop_serves_the_first_that_uses_it(self):
        client = zerohop.AsyncClient(self.server.address)

        async def close_later():
            self.assertEqual((await client.embed(["a"])).shape, (1, DIM))
            await client.close()

        self.assertEqual(asyncio.run(close_later()), None)
        other = zerohop.AsyncClient(self.server.address)
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        first.run_until_complete(other.embed(["a"]))
        self.raises(zerohop.ZerohopError, lambda: second.run_until_complete(other.embed(["a"])), "another event loop")
        first.run_until_complete(other.close())
        first.close()
        second.close()


class Package(unittest.TestCase):
    def test_the_table_of_messages_says_what_the_proto_says(self):
        theirs = pb.DESCRIPTOR
        self.assertEqual((theirs.package, set(theirs.message_types_by_name)), (_wire.PACKAGE, set(_wire.MESSAGES)))
        for name, message in theirs.message_types_by_name.items():
            self.assertEqual(described(_wire.MESSAGES[name].DESCRIPTOR), described(message))
        methods = theirs.services_by_name["InferenceService"].methods
        self.assertEqual({m.name: (m.input_type.name, m.output_type.name) for m in methods}, _wire.METHODS)

    def test_stubs_of_another_make_may_live_in_the_same_process(self):
        # As those of the manager that Zerohop replaces: the same names, but not the same file.
        script = """
from google.protobuf import descriptor_pb2, descriptor_pool
import sys, inference_pb2
ours = descriptor_pb2.FileDescriptorProto()
inference_pb2.DESCRIPTOR.CopyToProto(ours)
sys.stdout.buffer.write(ours.SerializeToString())
"""
        described = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout
        script = """
import sys
from google.protobuf import descriptor_pb2, descriptor_pool
theirs = descriptor_pb2.FileDescriptorProto.FromString(sys.stdin.buffer.read())
theirs.message_type.add(name="MoreThanOurs")
descriptor_pool.Default().AddSerializedFile(theirs.SerializeToString())
import zerohop
print(zerohop.Client(sys.argv[1]).embed(["a"]).shape)
"""
        with Server("--echo-dim=4") as server:
            done = subprocess.run([sys.executable, "-c", script, server.address], input=described, capture_output=True)
        self.assertEqual((done.stdout.decode(), done.returncode), ("(1, 4)\n", 0), done.stderr.decode())

    def test_exceptions_survive_another_process(self):
        error = zerohop.InvalidInput("sentence", address="a:1", code=UNAVAILABLE, index=3)
        copy = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(copy), str(copy), copy.address, copy.code, copy.index),
                         (zerohop.InvalidInput, "sentence", "a:1", UNAVAILABLE, 3))

    def test_the_examples_of_the_document_run(self):
        examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/client.md").read_text(), re.DOTALL)
        self.assertGreater(len(examples), 3)
        with Server("--echo-dim=4") as server:
            for example in examples:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    exec(compile(example.replace("127.0.0.1:50050", server.address), "docs/client.md", "exec"), {})


if __name__ == "__main__":
    unittest.main()

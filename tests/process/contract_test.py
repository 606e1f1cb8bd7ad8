"""What callers of a gRPC-hop deployment rely on: docs/wire.md, row by row."""

import re
import threading
import unittest
import uuid

import grpc
import inference_pb2 as pb
import numpy as np
from lifecycle_test import run
from server import Server, connect, echo_row, echo_rows, rows_of, until

DIM = 16


class Contract(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"--echo-dim={DIM}", "--served-model-name=some/model")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_success_echoes_the_id_and_answers_each_prompt_in_order(self):
        texts = [f"text {i} " + "x" * (i % 50) for i in range(300)]
        response = self.server.encode(texts, request_id="mine")
        self.assertEqual((response.request_id, response.n_prompts, response.embedding_dim), ("mine", 300, DIM))
        np.testing.assert_array_equal(rows_of(response), echo_rows(texts, DIM))

    def test_an_empty_id_gets_a_fresh_uuid4(self):
        ids = [self.server.encode(["a"], request_id="").request_id for _ in range(2)]
        self.assertEqual([uuid.UUID(i).version for i in ids], [4, 4])
        self.assertNotEqual(*ids)

    def test_token_ids_win_over_prompts(self):
        response = self.server.encode(["ignored", "too"], ids=[[1, 2, 3]])
        np.testing.assert_array_equal(rows_of(response), [echo_row(np.array([1, 2, 3], "<i4").tobytes(), DIM)])

    def test_token_ids_are_little_endian_int32_and_any_number_of_them(self):
        ids = [[1], list(range(5000)), [0x01020304, 7]]
        np.testing.assert_array_equal(rows_of(self.server.encode(ids=ids)),
                                      echo_rows([np.array(i, "<i4").tobytes() for i in ids], DIM))

    def test_another_model_name_is_told_in_error_with_status_ok(self):
        for name in ("other", ""):
            response = self.server.encode(["a"], model=name)
            self.assertEqual(response.error, f"Expected model name some/model, got {name}")
            self.assertEqual((response.n_prompts, list(response.embedding_bytes_fp32)), (0, []))

    def test_a_wrong_count_is_told_in_error_with_status_ok(self):
        for texts, ids, n, got in ((["a", "b"], (), 3, 2), (["a"], (), 0, 1), (["a"], (), -1, 1), ([], (), 0, 0),
                                   (["a", "b"], [[1]], 2, 1)):
            response = self.server.encode(texts, ids=ids, n=n)
            self.assertEqual(response.error, f"Expected {n} prompts, got {got}")
            self.assertEqual((response.n_prompts, list(response.embedding_bytes_fp32)), (0, []))

    def test_the_model_name_is_looked_at_before_the_count(self):
        self.assertIn("model name", self.server.encode(["a"], model="other", n=7).error)

    def test_an_error_comes_with_the_id_of_its_request(self):
        self.assertEqual(self.server.encode(["a"], model="other", request_id="mine").request_id, "mine")

    def test_any_priority_is_served(self):
        for priority in (-(1 << 31), -1, 1, (1 << 31) - 1):
            np.testing.assert_array_equal(rows_of(self.server.encode(["a"], priority=priority)), echo_rows(["a"], DIM))

    def test_health_and_info_are_true(self):
        self.assertTrue(self.server.stub.HealthCheck(pb.HealthCheckRequest()).healthy)
        info = self.server.info()
        self.assertEqual((info.n_replicas, info.n_healthy_replicas, len(info.replica_infos)), (2, 2, 2))
        for i, replica in enumerate(info.replica_infos):
            self.assertTrue(replica.ready)
            self.assertEqual((replica.model_name, replica.task, replica.dtype), ("some/model", "embed", "float32"))
            self.assertIn(f"replica={i}", replica.parallel_config)

    def test_the_standard_health_service_and_reflection_answer(self):
        channel = connect(self.server.address)
        # HealthCheckRequest{service}, HealthCheckResponse{status: SERVING}, written by hand.
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        for service in (b"", b"\x0a\x21arctic_inference.InferenceService"):
            self.assertEqual(check(service), b"\x08\x01")
        # ServerReflectionRequest{list_services: ""}
        reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        self.assertIn(b"arctic_inference.InferenceService", next(reflect(iter([b"\x3a\x00"]))))
        channel.close()

    def test_unknown_fields_are_skipped(self):
        request = pb.EncodeRequest(request_id="r", prompts=["a"], n_prompts=1, model_name="some/model")
        raw = connect(self.server.address).unary_unary("/arctic_inference.InferenceService/Encode")
        unknown = b"\xa0\x06\x05" + b"\xaa\x06\x03abc" + b"\xb5\x06abcd" + b"\xb9\x06abcdefgh"
        response = pb.EncodeResponse.FromString(raw(unknown + request.SerializeToString() + unknown))
        np.testing.assert_array_equal(rows_of(response), echo_rows(["a"], DIM))

    def test_many_clients_at_once_get_their_own_answers(self):
        failures = []

        def client(seed):
            random = np.random.default_rng(seed)
            with connect(self.server.address) as channel:
                stub = type(self.server.stub)(channel)
                for _ in range(20):
                    texts = [f"{seed} {random.integers(1 << 40)}" for _ in range(random.integers(1, 40))]
                    rows = rows_of(self.server.encode(texts, stub=stub))
                    if not np.array_equal(rows, echo_rows(texts, DIM)):
                        failures.append(seed)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_every_policy_answers(self):
        for policy in ("round_robin", "least_loaded", "random", "power_of_two"):
            with Server(f"--load-balancing={policy}", "--echo-dim=4") as server:
                texts = [f"{policy} {i}" for i in range(50)]
                np.testing.assert_array_equal(rows_of(server.encode(texts)), echo_rows(texts, 4))
                self.assertIn(f"policy={policy}", server.info().replica_infos[0].scheduler_config)


class Flags(unittest.TestCase):
    FLAGS = {"--host": "127.0.0.1", "--port": "0", "--num-replicas": "3", "--load-balancing": "least_loaded",
             "--health-interval": "2", "--forward-timeout": "20", "--startup-timeout": "60", "--workers": "4",
             "--model": "some/name", "--echo-dim": "12"}  # the last is the engine's

    def test_every_flag_of_the_contract_works_in_both_forms(self):
        apart = [part for flag in self.FLAGS.items() for part in flag]
        joined = [f"{flag}={value}" for flag, value in self.FLAGS.items()]
        for flags in (apart, joined):
            with Server(*flags, replicas=3) as server:
                info = server.info()
                self.assertEqual((info.n_replicas, server.model), (3, "some/name"))
                self.assertIn("policy=least_loaded", info.replica_infos[0].scheduler_config)
                self.assertIn("dim=12", info.replica_infos[0].decoding_config)
                np.testing.assert_array_equal(rows_of(server.encode(["a"])), echo_rows(["a"], 12))

    def test_defaults_are_those_of_the_contract_but_for_the_policy_and_the_workers(self):
        text = run("serve", "--help").stdout
        for flag, default in (("host", "0.0.0.0"), ("port", "50050"), ("num-replicas", "4"), ("health-interval", "1"),
                              ("forward-timeout", "120"), ("startup-timeout", "120"), ("workers", "1"),
                              ("load-balancing", "shared_queue")):
            self.assertRegex(text, rf"--{flag} [^\n]*={re.escape(default)}\s")

    def test_a_flag_that_nobody_takes_is_named_in_every_form(self):
        for flags in (["--no-such=1"], ["--no-such", "1"], ["--no-such"], ["--echo-dim=4", "--no-such", "--workers=4"]):
            result = run("serve", "--engine=echo", "--host=127.0.0.1", "--port=0", *flags)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("--no-such", result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)


class Waiting(unittest.TestCase):
    """One replica, one slow pass at a time: what waits, waits for as long as the test needs."""

    def setUp(self):
        self.server = Server("--echo-dim=4", "--echo-delay-us=300000", "--max-queue=3", replicas=1)
        self.addCleanup(self.server.__exit__)

    def start(self, text, **kwargs):
        request = pb.EncodeRequest(request_id=kwargs.pop("request_id", text), prompts=[text], n_prompts=1,
                                   model_name="echo", **kwargs)
        return self.server.stub.Encode.future(request)

    def requests_in_house(self):
        return int(re.search(r"(\d+) requests accepted", self.server.info().message).group(1))

    def test_abort_ends_the_request_with_cancelled_and_says_what_it_did(self):
        call = self.start("slow")
        until(lambda: self.requests_in_house() == 1, "the request is in")
        self.assertTrue(self.server.stub.Abort(pb.AbortRequest(request_id="slow")).success)
        with self.assertRaises(grpc.RpcError) as caught:
            call.result()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.CANCELLED)
        again = self.server.stub.Abort(pb.AbortRequest(request_id="slow"))
        self.assertFalse(again.success)
        self.assertIn("slow", again.message)

    def test_a_cancelled_or_late_request_leaves_the_queue(self):
        calls = [self.start("running"), self.start("cancelled")]
        until(lambda: self.requests_in_house() == 2, "both requests are in")
        calls[1].cancel()
        until(lambda: self.requests_in_house() == 1, "the cancelled request is gone")
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.encode(["late"], timeout=0.05)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        np.testing.assert_array_equal(rows_of(calls[0].result()), echo_rows(["running"], 4))

    def test_overload_is_refused_with_queue_length_and_limit(self):
        calls = [self.start(f"{i}") for i in range(3)]
        until(lambda: self.requests_in_house() == 3, "the queue is full")
        with self.assertRaises(grpc.RpcError) as caught:
            self.server.encode(["one too many"])
        self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertRegex(caught.exception.details(), r"3 requests .* the limit is 3")
        for i, call in enumerate(calls):
            np.testing.assert_array_equal(rows_of(call.result()), echo_rows([f"{i}"], 4))
        self.assertTrue(self.server.stub.HealthCheck(pb.HealthCheckRequest()).healthy)


if __name__ == "__main__":
    unittest.main()

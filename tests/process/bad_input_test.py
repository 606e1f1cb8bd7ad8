"""Bad input gets one clear answer and never costs a replica."""

import os
import unittest

import grpc
import inference_pb2 as pb
import numpy as np
from server import Server, connect, echo_row, echo_rows, rows_of

DIM = 8


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"--echo-dim={DIM}")
        cls.pids = cls.server.replica_pids()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def tearDown(self):
        self.assertEqual(self.server.replica_pids(), self.pids, "a replica was lost")
        np.testing.assert_array_equal(rows_of(self.server.encode(["still here"])), echo_rows(["still here"], DIM))

    def refused(self, code, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception.details()

    def raw(self, message):
        with connect(self.server.address) as channel:
            return channel.unary_unary("/arctic_inference.InferenceService/Encode")(message, timeout=30)

    def test_empty_text_is_a_valid_input(self):
        np.testing.assert_array_equal(rows_of(self.server.encode(["", "a", ""])), echo_rows(["", "a", ""], DIM))

    def test_a_text_beyond_the_arena_is_cut_between_characters(self):
        # 8 MiB of request arena: a quarter of it is looked at. Three-byte characters do not divide it.
        limit = 2 << 20
        text = "€" * (limit // 3 + 100)
        kept = text.encode()[: limit - limit % 3]
        np.testing.assert_array_equal(rows_of(self.server.encode([text])), [echo_row(kept, DIM)])

    def test_a_hundred_thousand_prompts_come_back_in_order(self):
        texts = [f"{i}" for i in range(100_000)]
        rows = rows_of(self.server.encode(texts))
        for i in (0, 1, 4095, 4096, 50_000, 99_999):
            np.testing.assert_array_equal(rows[i], echo_row(texts[i], DIM))
        self.assertEqual(len({row.tobytes() for row in rows}), 100_000)

    def test_an_answer_larger_than_the_arenas_is_complete(self):
        with Server("--echo-dim=8192", "--response-arena-mib=4") as server:
            texts = [f"wide {i}" for i in range(1500)]  # 48 MiB of rows through 2 x 4 MiB
            rows = rows_of(server.encode(texts))
            for i in (0, 700, 1499):
                np.testing.assert_array_equal(rows[i], echo_row(texts[i], 8192))
            self.assertEqual(len({row.tobytes() for row in rows}), 1500)

    def test_token_blobs_are_checked_and_the_prompt_is_named(self):
        cases = {b"abc": r"Prompt 1: .*multiple of 4.*3 bytes", b"": r"Prompt 1: expected 1 to \d+ token ids, got 0",
                 np.array([5, -1], "<i4").tobytes(): r"Prompt 1: token id -1 at position 1 is outside",
                 np.array([2**31 - 1], "<i4").tobytes(): r"Prompt 1: token id 2147483647 at position 0 is outside"}
        good = np.array([1, 2], "<i4").tobytes()
        for blob, sentence in cases.items():
            request = pb.EncodeRequest(n_prompts=2, token_id_bytes_i32=[good, blob], model_name="echo")
            details = self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.stub.Encode(request))
            self.assertRegex(details, sentence)

    def test_broken_wire_bytes_are_invalid_arguments(self):
        whole = pb.EncodeRequest(request_id="r", n_prompts=1, prompts=["abc"], model_name="echo").SerializeToString()
        for broken in (b"\x0a\xff\xff\xff\xff\x0f", b"\x80" * 11, b"\x0b\x0c", b"\x07", whole[:-1], b"\x00\x00"):
            self.assertTrue(self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda b=broken: self.raw(b)))

    def test_random_bytes_never_end_the_server(self):
        random = np.random.default_rng(7)
        whole = pb.EncodeRequest(request_id="r", n_prompts=2, prompts=["abc", "d" * 200], model_name="echo").SerializeToString()
        for _ in range(300):
            message = bytearray(whole)
            for at in random.integers(0, len(whole), random.integers(1, 6)):
                message[at] = random.integers(256)
            try:
                pb.EncodeResponse.FromString(self.raw(bytes(message)))
            except grpc.RpcError as error:
                self.assertIn(error.code(), (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED))

    def test_text_that_is_not_utf8_names_the_prompt(self):
        message = b"\x10\x02" + b"\x1a\x01a" + b"\x1a\x02\xc3\x28" + b"\x2a\x04echo"
        self.assertRegex(self.refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.raw(message)), "Prompt 1: .*UTF-8")

    def test_too_many_prompts_are_refused_without_being_read(self):
        message = b"\x10\x01\x2a\x04echo" + b"\x1a\x00" * ((1 << 20) + 1)
        self.assertIn(str(1 << 20), self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: self.raw(message)))

    def test_large_messages_pass_both_ways(self):
        texts = [os.urandom(500_000).hex() for _ in range(100)]  # 100 MB in
        np.testing.assert_array_equal(rows_of(self.server.encode(texts[:3])), echo_rows(texts[:3], DIM))
        self.assertEqual(len(rows_of(self.server.encode(texts))), 100)


if __name__ == "__main__":
    unittest.main()

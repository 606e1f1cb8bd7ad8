"""The real library behind a lane, with the default model: its vectors are the reference vectors."""

import os
import unittest

import grpc
import numpy as np
from real_model_test import IDS, TEXTS, VECTORS, cosines
from server import Server, field_of, rows_of

PYTHON = f"--python={os.environ['ZEROHOP_ENGINES_PYTHON']}"


def serve(*flags, replicas=1):
    return Server(PYTHON, "--startup-timeout=600", *flags, engine="sentence-transformers", replicas=replicas, patience=600)


class Float32(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serve("--dtype=float32")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_texts_and_token_ids_give_the_reference_vectors(self):
        for response in (self.server.encode(TEXTS), self.server.encode(ids=IDS)):
            self.assertLessEqual(np.abs(rows_of(response) - VECTORS).max(), 2e-6)

    def test_ids_and_lengths_beyond_the_model_are_refused(self):
        for ids in ([101, 40_000], [101] * 300):
            with self.assertRaises(grpc.RpcError) as caught:
                self.server.encode(ids=[ids])
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertRegex(caught.exception.details(), "^Prompt 0: ")

    def test_it_says_what_it_is(self):
        [replica] = self.server.info().replica_infos
        self.assertEqual(replica.dtype, "float32")
        self.assertRegex(field_of(replica, "engine"), r"^sentence-transformers \d")
        self.assertEqual(field_of(replica, "dim"), "384")


class Bfloat16(unittest.TestCase):
    def test_half_precision_is_close_to_the_reference(self):
        with serve("--dtype=bfloat16") as server:
            self.assertGreater(cosines(rows_of(server.encode(TEXTS)), VECTORS).min(), 0.999)
            self.assertEqual(server.info().replica_infos[0].dtype, "bfloat16")


if __name__ == "__main__":
    unittest.main()

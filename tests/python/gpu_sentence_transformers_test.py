"""The real library on a real GPU, with the default model: the reference vectors by both return paths, and for a consumer
that torch reads in place. Needs a GPU (scripts/test --gpu --engines)."""

import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import numpy as np
from real_model_test import IDS, TEXTS, VECTORS, cosines
from server import Server, field_of, rows_of, until

ENGINES_PYTHON = os.environ["ZEROHOP_ENGINES_PYTHON"]
SCRIPT = pathlib.Path(__file__).with_name("gpu_torch_script.py")
PATHS = ("host", "cuda_ipc")


def serve(*flags, replicas=1):
    return Server(f"--python={ENGINES_PYTHON}", "--startup-timeout=600", "--device=0", *flags, engine="sentence-transformers",
                  replicas=replicas, patience=600)


class OnTheGpu(unittest.TestCase):
    def check_reference(self, rows, least=0.99999):
        self.assertGreater(cosines(rows, VECTORS).min(), least)

    def test_texts_and_token_ids_give_the_reference_vectors_by_both_paths(self):
        by_path = {}
        for path in PATHS:
            with serve("--dtype=float32", f"--return={path}") as server:
                [replica] = server.info().replica_infos
                self.assertEqual(field_of(replica, "return"), path)
                self.assertTrue(field_of(replica, "device").startswith("GPU-"))
                by_path[path] = rows_of(server.encode(TEXTS))
                self.check_reference(by_path[path])
                self.check_reference(rows_of(server.encode(ids=IDS)))
        np.testing.assert_allclose(by_path["host"], by_path["cuda_ipc"], atol=1e-5)

    def test_half_precision_is_close_to_the_reference(self):
        for dtype in ("bfloat16", "float16"):
            with self.subTest(dtype=dtype), serve(f"--dtype={dtype}") as server:
                self.check_reference(rows_of(server.encode(TEXTS)), least=0.999)

    def test_a_replica_that_is_killed_is_replaced_and_answers_are_right(self):
        for path in PATHS:
            with self.subTest(path=path), serve(f"--return={path}", replicas=2) as server:
                victim = server.replica_pids()[0]
                os.kill(victim, signal.SIGKILL)
                self.check_reference(rows_of(server.encode(TEXTS)))
                until(lambda server=server, victim=victim: victim not in server.replica_pids(), "its death is seen")
                server.wait_healthy(2, patience=600)
                self.check_reference(rows_of(server.encode(TEXTS)))

    def test_torch_reads_a_consumers_rows_in_place(self):
        with tempfile.TemporaryDirectory() as folder:
            path, expected = f"{folder}/consumers", f"{folder}/expected.npz"
            np.savez(expected, texts=np.array(TEXTS, dtype=object), rows=VECTORS)
            with serve(f"--consumer-socket={path}", replicas=2):
                ended = subprocess.run([ENGINES_PYTHON, SCRIPT, path, expected], capture_output=True, text=True, timeout=300)
            self.assertEqual(ended.returncode, 0, ended.stderr)


if __name__ == "__main__":
    unittest.main()

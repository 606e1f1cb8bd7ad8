"""Real text in, real vectors out: the default model through the whole server."""

import base64
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import tempfile
import threading
import unittest

import numpy as np
from lifecycle_test import run
from server import Server, connect, rows_of, until

GOLDEN = json.loads(pathlib.Path(__file__).parent.parent.joinpath("golden/minilm.json").read_text())
TEXTS = [row["text"] for row in GOLDEN["rows"]]
IDS = [row["token_ids"] for row in GOLDEN["rows"]]
VECTORS = np.stack([np.frombuffer(base64.b64decode(row["embedding_fp32_le_base64"]), "<f4") for row in GOLDEN["rows"]])
CACHE = pathlib.Path(os.environ.get("ZEROHOP_CACHE") or
                     pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "zerohop")


def cosines(a, b):
    return np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


class Cpus(unittest.TestCase):
    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two CPUs")
    def test_only_a_replica_of_one_thread_is_pinned(self):
        for threads, cpus in ((1, 1), (2, len(os.sched_getaffinity(0)))):
            with self.subTest(threads=threads), Server(f"--threads={threads}", engine="openvino", replicas=1) as server:
                server.encode(TEXTS)
                self.assertEqual(len(os.sched_getaffinity(server.replica_pids()[0])), cpus)


class Float32(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--dtype=float32", engine="openvino")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_vectors_are_the_reference_vectors_for_texts_and_for_token_ids(self):
        self.assertEqual(self.server.model, GOLDEN["model"])
        for response in (self.server.encode(TEXTS), self.server.encode(ids=IDS)):
            self.assertLessEqual(np.abs(rows_of(response) - VECTORS).max(), 2e-6)
        for text, vector in zip(TEXTS, VECTORS):
            self.assertLessEqual(np.abs(rows_of(self.server.encode([text]))[0] - vector).max(), 2e-6)

    def test_any_mixture_at_any_concurrency_comes_back_in_order(self):
        worst = []

        def client(seed):
            rng = random.Random(seed)
            with connect(self.server.address) as channel:
                stub = type(self.server.stub)(channel)
                for count in (1, 30, 100):
                    picks = [rng.randrange(len(TEXTS)) for _ in range(count)]
                    rows = rows_of(self.server.encode([TEXTS[i] for i in picks], stub=stub))
                    worst.append(np.abs(rows - VECTORS[picks]).max())

        threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(worst), 24)
        self.assertLessEqual(max(worst), 2e-6)

    def test_a_five_megabyte_text_is_truncated_to_the_models_limit(self):
        words = "the quick brown fox jumps over the lazy dog " * 120_000
        rows = rows_of(self.server.encode([words[:5_000_000], words[:4000]]))
        self.assertLessEqual(np.abs(rows[0] - rows[1]).max(), 2e-6)

    def test_a_killed_replica_costs_no_answer(self):
        victim = self.server.replica_pids()[0]
        calls = []
        threads = [threading.Thread(target=lambda: calls.append(rows_of(self.server.encode(TEXTS)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: "0 requests accepted" not in self.server.info().message, "the requests are in")
        os.kill(victim, signal.SIGKILL)
        for thread in threads:
            thread.join()
        self.assertEqual(len(calls), 4)
        for rows in calls:
            self.assertLessEqual(np.abs(rows - VECTORS).max(), 2e-6)
        self.server.wait_healthy(2)


class Models(unittest.TestCase):
    def test_auto_dtype_agrees_with_the_reference(self):
        with Server(engine="openvino", replicas=1) as server:
            self.assertIn(server.info().replica_infos[0].dtype, ("float32", "bfloat16"))
            self.assertGreaterEqual(cosines(rows_of(server.encode(TEXTS)), VECTORS).min(), 0.999)

    def copied_model(self, folder):
        copy = pathlib.Path(folder, "model")
        shutil.copytree(CACHE / "models" / GOLDEN["model"], copy)
        return copy

    def test_a_corrupt_safetensors_header_is_one_sentence_at_start(self):
        with tempfile.TemporaryDirectory() as folder:
            model = self.copied_model(folder)
            with open(model / "model.safetensors", "r+b") as file:
                file.write(struct.pack("<Q", 1 << 60))
            result = run("serve", "--host=127.0.0.1", "--port=0", "--num-replicas=1", f"--model={model}")
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
            self.assertIn("model.safetensors", result.stderr)

    def test_a_folder_is_served_under_its_path_or_the_name_that_is_given(self):
        with tempfile.TemporaryDirectory() as folder:
            model = self.copied_model(folder)
            with Server(f"--model={model}", "--served-model-name=mine", engine="openvino", replicas=1) as server:
                self.assertEqual(server.model, "mine")
                self.assertEqual(rows_of(server.encode(["x"])).shape, (1, 384))


if __name__ == "__main__":
    unittest.main()

"""Engines in Python whose rows are born on a GPU: both ways to the client, and what is refused in one sentence.

The emulated driver's work begins late, its fresh memory reads as NaN, and it faults when the host touches it: there a row
that is looked at before the device has finished is a wrong row.
"""

import os
import subprocess
import tempfile
import threading
import unittest

import grpc
import numpy as np
from device import NEEDS_EMULATOR, a_gpu
from engine_test import PYTHON, Refused, printed
from known_engines import DIM, known_rows
from server import BIN, PATIENCE_S, Server, field_of, rows_of, until

PATHS = ("host", "cuda_ipc")
BESIDE = ["beside"] * 7  # a sentence has as much room as the rows of its request
PROOF_BYTES = 8  # that an importer reads of an arena, once


class Served:
    """A server of engines that share one GPU."""

    def __init__(self, engine, path, *flags, replicas=1, env=None):
        self.gpu = a_gpu()
        try:
            self.server = Server(PYTHON, f"--return={path}", *flags, engine=f"device_engines:{engine}", replicas=replicas,
                                 env=self.gpu.env(env))
        except BaseException:
            self.gpu.remove()
            raise

    def __enter__(self):
        return self.server, self.gpu

    def __exit__(self, *_):
        self.server.__exit__()
        self.gpu.remove()


def refusal(engine, *flags, env=None):
    """What a server that cannot start says: one line."""
    gpu = a_gpu()
    try:
        command = [f"{BIN}/zerohop", "serve", "--host=127.0.0.1", "--port=0", "--num-replicas=1", "--response-arena-mib=16", PYTHON,
                   f"--engine=device_engines:{engine}", *flags]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S,
                               env={**os.environ, **gpu.env(env)})
        assert ended.returncode == 1, (ended.returncode, ended.stderr)
        assert ended.stderr.count("\n") == 1, ended.stderr
        return ended.stderr
    finally:
        gpu.remove()


class OnDevice(unittest.TestCase, Refused):
    def check_rows(self, server, texts):
        np.testing.assert_array_equal(rows_of(server.encode(texts)), known_rows(texts))

    def test_rows_are_right_and_info_names_device_and_path(self):
        for path in PATHS:
            with self.subTest(path=path), Served("OnDevice", path) as (server, gpu):
                [replica] = server.info().replica_infos
                self.assertEqual(field_of(replica, "return"), path)
                self.assertTrue(field_of(replica, "device").startswith("GPU-"), field_of(replica, "device"))
                texts = [f"{i} " + "x" * (i * 7 % 90) for i in range(1000)]
                self.check_rows(server, texts)
                ids = [[1, 2, 3], [999], list(range(100))]
                np.testing.assert_array_equal(rows_of(server.encode(ids=ids)), known_rows(ids))
                crossed = (len(texts) + len(ids)) * DIM * 4 + (PROOF_BYTES if path == "cuda_ipc" else 0)
                self.assertEqual(gpu.count("bytes_dtoh"), crossed)
                self.assertEqual(gpu.count("pageable_copies"), 0)
                server.channel.close()
                self.assertEqual(server.stop(), 0)
                self.assertTrue(printed(server, "closed"))
                self.assertEqual(gpu.count("undefined"), 0)

    def test_submissions_that_run_together_are_blocks_of_one_batch(self):
        for path in PATHS:
            with self.subTest(path=path), Served("OnDevice", path, "--delay=0.005") as (server, _):
                stop, wrong = threading.Event(), []

                def client(seed, server=server, stop=stop, wrong=wrong):
                    i = 0
                    while not stop.is_set():
                        i += 1
                        texts = [f"{seed} {i} {k}" for k in range(3)]
                        if not np.array_equal(rows_of(server.encode(texts)), known_rows(texts)):
                            wrong.append(texts)

                threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
                for thread in threads:
                    thread.start()
                try:
                    until(lambda: any(printed(server, f"most blocks of a batch: {n}, of {3 * n} rows") for n in range(4, 9)),
                          "four submissions are in one batch, a block each")
                finally:
                    stop.set()
                    for thread in threads:
                        thread.join()
                self.assertEqual(wrong, [])

    def test_a_block_that_a_thread_still_writes_to_is_not_anybody_elses(self):
        for path in PATHS:
            with self.subTest(path=path), Served("OnDevice", path) as (server, _):
                self.check_refused(server, grpc.StatusCode.UNAVAILABLE, "TimeoutError: gave up", ["leave-it-to-a-thread"])
                self.assertTrue(printed(server, "views of its batch are still held"))
                self.check_rows(server, [f"after the thread {i}" for i in range(200)])

    def test_what_an_engine_does_wrong_fails_its_request_alone_and_says_why(self):
        with Served("OnDevice", "host") as (server, _):
            pids = server.replica_pids()
            for text, sentence in (("ask for rows", "the rows are on a GPU, as info.. says: batch.fill a"),
                                   ("fill an array", "expected a tensor of torch's"),
                                   ("forget", "embed did not fill its row"),
                                   ("raise it", "ArithmeticError: raise it")):
                self.check_refused(server, grpc.StatusCode.UNAVAILABLE, f"prompt 7: .*{sentence}", [*BESIDE, text])
            self.check_rows(server, ["still", "here"])
            self.assertEqual(server.replica_pids(), pids)

    @NEEDS_EMULATOR
    def test_a_device_that_fails_ends_the_replica_and_says_why(self):
        with Served("OnDevice", "host") as (server, gpu):
            gpu.break_("async:err=700", server.replica_pids()[0])
            self.check_rows(server, ["on the next one"])
            self.assertIn("CUDA_ERROR_ILLEGAL_ADDRESS", field_of(server.info().replica_infos[0], "last_death"))

    def test_an_engine_may_leave_the_thread_on_another_device(self):
        for path in PATHS:
            with self.subTest(path=path), Served("OnDevice", path, "--leave-on-the-other-device",
                                                 env={"FAKECU_DEVICES": "2"}) as (server, _):
                pids = server.replica_pids()
                for i in range(3):
                    self.check_rows(server, [f"again {i}"])
                self.assertEqual(server.replica_pids(), pids)

    def test_the_second_device_is_the_second(self):
        devices = []
        for flags in ([], ["--device=1"]):
            with Served("OnDevice", "cuda_ipc", *flags, env={"FAKECU_DEVICES": "2"}) as (server, _):
                self.check_rows(server, ["there"])
                devices.append(field_of(server.info().replica_infos[0], "device"))
        self.assertNotEqual(*devices)


class WithTorch(unittest.TestCase, Refused):
    """torch itself needs a real GPU for this; a stand-in shows what it is asked for."""

    def test_a_tensor_is_copied_block_by_block_on_the_stream_that_info_names(self):
        for path in PATHS:
            with self.subTest(path=path), Served("WithTorch", path) as (server, _):
                for texts in (["a", "b", "c"], ["answer"], ["d"]):
                    np.testing.assert_array_equal(rows_of(server.encode(texts)), known_rows(texts))
                until(lambda server=server: printed(server, "copied by torch: 5 rows"), "they were copied by torch")

    def test_another_stream_or_shape_is_an_error_and_no_answer(self):
        with Served("WithTorch", "host") as (server, _):
            self.check_refused(server, grpc.StatusCode.UNAVAILABLE, r"filled on the stream 0x0, and info\(\)\.st", ["another stream", *BESIDE])
            self.check_refused(server, grpc.StatusCode.UNAVAILABLE, r"the rows take \(1, 16\) floats, got \(0, 16\)", ["too few"])


class Refusals(unittest.TestCase, Refused):
    def test_without_a_driver(self):
        with tempfile.TemporaryDirectory() as empty:
            self.assertIn("info().device: no CUDA driver: libcuda.so.1",
                          refusal("Claiming", "--claim-device=0", "--claim-stream=0", env={"LD_LIBRARY_PATH": empty}))

    def test_what_info_says_of_a_device_is_checked(self):
        for flags, sentence in (
                (["--claim-device=7", "--claim-stream=0"], "info().device: no device 7; expected 0 (GPU-"),
                (["--claim-device=cpu", "--claim-stream=0"], "info().device: no device cpu; expected 0 (GPU-"),
                (["--claim-device="], "info().device is '', expected an ordinal, a UUID or None"),
                (["--claim-device=0"], "info().stream is None, expected the CUstream of embed's work as an integer"),
                (["--claim-device=0", "--claim-stream=-1"], "info().stream is -1, expected the CUstream"),
                (["--claim-stream=0"], "info() says stream and no device")):
            with self.subTest(flags=flags):
                self.assertIn(sentence, refusal("Claiming", *flags))

    @NEEDS_EMULATOR  # a real driver may take it for an address
    def test_a_stream_that_there_is_not(self):
        self.assertIn("info().stream: cannot use it: CUDA_ERROR_INVALID_HANDLE",
                      refusal("Claiming", "--claim-device=0", "--claim-stream=12345"))

    def test_an_async_engine_with_a_device(self):
        self.assertIn("rows on a GPU are for a plain embed", refusal("AsyncOnDevice"))

    def test_rows_on_the_host_where_they_must_come_by_cuda_ipc(self):
        self.assertIn("born on the host", refusal("OnHost", "--return=cuda_ipc"))

    def test_an_engine_on_the_host_that_asks_for_blocks(self):
        with Server(PYTHON, engine="device_engines:OnHost", replicas=1) as server:
            self.check_refused(server, grpc.StatusCode.UNAVAILABLE, "info.. names no device: the rows are on the host, in",
                               ["ask for blocks", *BESIDE])
            np.testing.assert_array_equal(rows_of(server.encode(["an array"])), known_rows(["an array"]))
            self.assertFalse(field_of(server.info().replica_infos[0], "device"))


if __name__ == "__main__":
    unittest.main()

"""Rows that are born on a GPU: both ways to the client, what they cost, and what happens when the device fails.

The emulated driver's work begins late, and its fresh memory reads as NaN: there a row that is looked at
before the device has finished is a wrong row.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import inference_pb2 as pb
import numpy as np
from device import NEEDS_EMULATOR, PROGRAM, a_gpu
from load import DIM, Load
from server import BIN, PATIENCE_S, Server, echo_rows, field_of, rows_of, until

# Of a device that is lost nothing is given back; a build with sanitizers would call that leaks.
NOTHING_GIVEN_BACK = {"ASAN_OPTIONS": "detect_leaks=0"}
PROOF_BYTES = 8  # that an importer reads of an arena, once
TEXTS = [f"text {i}" for i in range(100)]
# A build without kernels copies rows to where they go instead of launching.
KERNEL = pathlib.Path(BIN).parent / "replica_shim" / "cuda" / "pool_kernel.fatbin"
HAS_KERNELS = unittest.skipUnless(KERNEL.exists(), "a build without kernels")


def serve(return_path, *flags, **options):
    return Server(f"--echo-dim={DIM}", *flags, return_path=return_path, **options)


def refusal(*flags, env=None):
    """What a server that cannot start says."""
    gpu = a_gpu()
    try:
        command = [f"{BIN}/zerohop", "serve", "--host=127.0.0.1", "--port=0", "--engine=echo", "--num-replicas=2",
                   "--response-arena-mib=16", *flags]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, **gpu.env(env)})
        assert ended.returncode == 1, (ended.returncode, ended.stderr)
        return ended.stderr.splitlines()[-1]
    finally:
        gpu.remove()


def paths(server):
    return [field_of(r, "return") for r in server.info().replica_infos]


class Paths(unittest.TestCase):
    def check_rows(self, server):
        np.testing.assert_array_equal(rows_of(server.encode(TEXTS)), echo_rows(TEXTS, DIM))

    def check_nothing_is_left(self, server, processes):
        pid = server.process.pid
        server.channel.close()
        self.assertEqual(server.stop(), 0)
        reports = server.gpu.reports()
        self.assertEqual(len(reports), processes)
        for report in reports.values():
            self.assertEqual(set(report["leaks"].values()), {0}, report)
            self.assertEqual(report["counters"]["undefined"], 0)
            self.assertEqual(report["counters"]["pageable_copies"], 0)
        return reports, pid

    def test_by_cuda_ipc_the_broker_alone_copies_to_the_host_and_each_byte_once(self):
        with serve("cuda_ipc") as server:
            self.assertEqual(paths(server), ["cuda_ipc"] * 2)
            self.check_rows(server)
            reports, broker = self.check_nothing_is_left(server, processes=3)
            counters = reports.pop(broker)["counters"]
            self.assertEqual(counters["bytes_dtoh"], len(TEXTS) * DIM * 4)
            self.assertEqual(counters["bytes_htod"], 2 * PROOF_BYTES, "each arena's proof")
            for replica in reports.values():
                self.assertEqual(replica["counters"]["bytes_dtoh"], PROOF_BYTES)
                self.assertEqual((replica["counters"]["opens"], replica["counters"]["closes"]), (1, 1))

    def test_by_the_host_the_replicas_copy_and_the_broker_has_no_context(self):
        for path in ("host", "auto"):
            with serve(path) as server:
                self.assertEqual(paths(server), ["host"] * 2)
                self.check_rows(server)
                reports, broker = self.check_nothing_is_left(server, processes=2)
                self.assertNotIn(broker, reports)
                self.assertEqual(sum(r["counters"]["bytes_dtoh"] for r in reports.values()), len(TEXTS) * DIM * 4)

    def test_a_device_is_chosen_by_its_uuid(self):
        with serve("cuda_ipc", env={"FAKECU_DEVICES": "2"}) as server:
            first = field_of(server.info().replica_infos[0], "device")
        with serve("cuda_ipc", "--device=1", env={"FAKECU_DEVICES": "2"}) as server:
            second = field_of(server.info().replica_infos[0], "device")
            self.check_rows(server)
        self.assertTrue(first.startswith("GPU-") and second.startswith("GPU-"))
        self.assertNotEqual(first, second)
        with serve("cuda_ipc", f"--device={second}", env={"FAKECU_DEVICES": "2"}) as server:
            self.assertEqual(field_of(server.info().replica_infos[0], "device"), second)


class Refusals(unittest.TestCase):
    def test_without_a_driver(self):
        with tempfile.TemporaryDirectory() as empty:
            self.assertIn("no CUDA driver", refusal("--return=cuda_ipc", env={"LD_LIBRARY_PATH": empty}))

    def test_an_engine_on_the_host(self):
        self.assertIn("born on the host", refusal("--return=cuda_ipc"))

    def test_a_device_that_there_is_not(self):
        sentence = refusal("--return=cuda_ipc", "--device=7", f"--replica-program={PROGRAM}")
        self.assertIn("no device 7", sentence)
        self.assertIn("0 (GPU-", sentence)

    def test_a_device_for_an_engine_on_the_cpu(self):
        self.assertIn("runs on the CPU", refusal("--device=0"))

    def test_no_room_on_the_device(self):
        self.assertIn("allocate", refusal("--return=cuda_ipc", f"--replica-program={PROGRAM}", env={"FAKECU_TOTAL_MB": "20"}))

    def test_a_device_that_cannot_share_its_memory(self):
        integrated = {"FAKECU_ATTRIBUTES": "18=1"}
        self.assertIn("Jetson", refusal("--return=cuda_ipc", f"--replica-program={PROGRAM}", env=integrated))

    def test_equal_pids_in_two_namespaces(self):
        sentence = refusal("--return=cuda_ipc", f"--replica-program={PROGRAM}", env={"FAKECU_PID": "1"})
        self.assertIn("--pid=host", sentence)

    def test_attached_replicas(self):
        ended = subprocess.run([f"{BIN}/zerohop", "serve", "--engine=echo", "--replica-mode=attach", "--control-socket=/tmp/x",
                                "--return=cuda_ipc"], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(ended.returncode, 2)
        self.assertIn("spawned", ended.stderr)


@NEEDS_EMULATOR
class Failures(unittest.TestCase):
    """Under load: no request is lost, none is answered wrong."""

    def check_under_load(self, server, break_, healed, what):
        load = Load(server, clients=8)
        load.wait_answers(50)
        break_()
        until(healed, what)
        load.wait_answers(50)
        load.check(self)

    def restarts(self, server):
        return [int(field_of(r, "restarts")) for r in server.info().replica_infos]

    def check_fallback(self, faults, reason, *flags):
        with serve("cuda_ipc", *flags, env=NOTHING_GIVEN_BACK) as server:
            self.check_under_load(server, lambda: server.gpu.break_(faults, server.process.pid),
                                  lambda: paths(server) == ["host"] * 2, "rows return by the host")
            self.assertIn(reason, field_of(server.info().replica_infos[0], "return_reason"))
            self.assertIn("by the host", server.stub.HealthCheck(pb.HealthCheckRequest()).message)
            server.channel.close()
            self.assertEqual(server.stop(), 0)

    def test_a_broker_that_loses_its_device_goes_on_by_the_host(self):
        self.check_fallback("async:err=700", "CUDA_ERROR_ILLEGAL_ADDRESS")

    def test_copies_that_never_end_are_given_up(self):
        self.check_fallback("async:hang", "do not end", "--step-timeout=1")

    def test_a_copy_that_the_driver_refuses(self):
        self.check_fallback("cuMemcpyDtoHAsync:err=2", "CUDA_ERROR_OUT_OF_MEMORY")

    def check_replaced(self, faults, last_death):
        """By both return paths: a replica that `faults` strike under load is replaced, by one that returns as it did."""
        for path in ("cuda_ipc", "host"):
            with self.subTest(path=path), serve(path) as server:
                victim = server.replica_pids()[0]
                self.check_under_load(server, lambda: server.gpu.break_(faults, victim),
                                      lambda: self.restarts(server)[0] > 0, "it is replaced")
                server.wait_healthy(2)
                self.assertEqual(paths(server), [path] * 2)
                self.assertIn(last_death, field_of(server.info().replica_infos[0], "last_death"))

    def test_a_replica_that_loses_its_device_is_replaced(self):
        self.check_replaced("async:err=700", "CUDA_ERROR_ILLEGAL_ADDRESS")

    @HAS_KERNELS
    def test_a_launch_that_fails_for_good_ends_its_replica(self):
        # What is asked afterwards fails, too.
        self.check_replaced("cuLaunchKernel:err=719; cuStreamQuery:err=719", "CUDA_ERROR_LAUNCH_FAILED")

    @HAS_KERNELS
    def test_a_launch_that_fails_once_loses_no_request_and_no_replica(self):
        for path in ("cuda_ipc", "host"):
            with self.subTest(path=path), serve(path) as server:
                victim = server.replica_pids()[0]
                self.check_under_load(server, lambda: server.gpu.break_("cuLaunchKernel:nth=1:err=701", victim),
                                      lambda: server.gpu.count("faults", victim) == 1, "it failed")
                self.assertEqual(self.restarts(server), [0, 0])

    @HAS_KERNELS
    def test_a_replica_whose_launches_all_fail_leaves_its_work_to_others_and_is_replaced(self):
        self.check_replaced("cuLaunchKernel:err=701", "others")

    def test_a_replica_whose_device_hangs_is_replaced(self):
        with serve("cuda_ipc", "--step-timeout=1") as server:
            victim = server.replica_pids()[0]
            self.check_under_load(server, lambda: server.gpu.break_("async:hang", victim),
                                  lambda: victim not in server.replica_pids() and self.restarts(server)[0] > 0, "it is replaced")
            server.wait_healthy(2)
            self.assertEqual(paths(server), ["cuda_ipc"] * 2)

    def test_a_replica_that_cannot_open_the_arena_returns_by_the_host(self):
        for code, name in ((1, "INVALID_VALUE"), (205, "MAP_FAILED"), (208, "ALREADY_MAPPED"), (400, "INVALID_HANDLE")):
            with self.subTest(code=code), serve("cuda_ipc") as server:
                server.gpu.break_(f"cuIpcOpenMemHandle:err={code}")
                victim = server.replica_pids()[0]
                self.check_under_load(server, lambda: os.kill(victim, signal.SIGKILL),
                                      lambda: paths(server) == ["host", "cuda_ipc"], "it is back by another path")
                self.assertIn(f"CUDA_ERROR_{name}", field_of(server.info().replica_infos[0], "return_reason"))

    def test_replicas_die_while_the_brokers_device_hangs_and_no_request_is_lost(self):
        with serve("cuda_ipc", "--step-timeout=1", env=NOTHING_GIVEN_BACK) as server:
            load = Load(server, clients=8)
            load.wait_answers(50)
            server.gpu.break_("cuMemFree:hang", server.process.pid)
            for _ in range(2):  # to give back the first one's memory takes for ever, and the third finds no room
                victim = server.replica_pids()[0]
                os.kill(victim, signal.SIGKILL)
                until(lambda victim=victim: victim not in server.replica_pids(), "its death is seen")
                server.wait_healthy(2)
            until(lambda: paths(server) == ["host"] * 2, "rows return by the host")
            load.wait_answers(50)
            load.check(self)
            self.assertIn("in time", field_of(server.info().replica_infos[0], "return_reason"))
            server.channel.close()
            self.assertEqual(server.stop(), 0)

    def test_each_generation_opens_its_arena_once_and_nothing_is_pageable(self):
        with serve("cuda_ipc") as server:
            load = Load(server, clients=8)
            for victim in server.replica_pids():
                load.wait_answers(50)
                os.kill(victim, signal.SIGKILL)
                until(lambda victim=victim: victim not in server.replica_pids(), "its death is seen")
                server.wait_healthy(2)
            load.wait_answers(50)
            load.check(self)
            self.assertEqual(server.gpu.count("opens"), 4)
            self.assertEqual(server.gpu.count("mappings"), 4)
            self.assertEqual(server.gpu.count("pageable_copies"), 0)
            self.assertEqual(server.gpu.count("bytes_dtoh", server.process.pid) % (4 * DIM), 0)

    def test_an_arena_that_finds_no_room_later_is_done_without(self):
        with serve("cuda_ipc") as server:
            server.gpu.break_("cuMemAlloc:err=2", server.process.pid)
            for _ in range(2):  # the lane of the next generation is there before
                victim = server.replica_pids()[0]
                os.kill(victim, signal.SIGKILL)
                until(lambda: victim not in server.replica_pids(), "its death is seen")
                server.wait_healthy(2)
            self.assertEqual(paths(server), ["host", "cuda_ipc"])
            self.assertIn("CUDA_ERROR_OUT_OF_MEMORY", field_of(server.info().replica_infos[0], "return_reason"))
            np.testing.assert_array_equal(rows_of(server.encode(TEXTS)), echo_rows(TEXTS, DIM))


if __name__ == "__main__":
    unittest.main()

"""A replica dies at each named step of the shim, under load: nothing is lost, and capacity comes back.

The names are read from the sources: a step that gets one is tested from then on.
"""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

from device import PROGRAM as DEVICE_PROGRAM
from load import EchoTexts, KnownTexts, Load
from server import BIN, PATIENCE_S, RETURN, Server, field_of, rows_of, until

SHIM = pathlib.Path(__file__).resolve().parents[2] / "replica_shim"
POINTS = sorted({name for file in SHIM.glob("*.cc") for name in re.findall(r'CrashPoint\("(\w+)"\)', file.read_text())})
# Reached only when the broker leaves, or is gone.
LEAVING = {"heard_drain"}
ATTACHED = {"lost_broker", "fenced"}
# Passed once in a replica's life: the next generation dies there.
STARTING = {"opened_arena", "started", "said_hello", "got_offer", "attached", "beats", "loaded", "marked_ready", "said_ready"}
# Not passed on the path that is asked for.
ELSEWHERE = {None: {"opened_arena", "landing"}, "host": {"opened_arena"}, "cuda_ipc": set()}[RETURN]
PROGRAM = DEVICE_PROGRAM if RETURN else f"{BIN}/zerohop-replica-crashing"
OPENVINO = os.environ.get("ZEROHOP_WITH_OPENVINO") == "ON"


class CrashPoints(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.once = self.folder / "once"

    def env(self, point):
        return {"ZEROHOP_CRASH_AT": point, "ZEROHOP_CRASH_ONCE": str(self.once)}

    def crash(self, server, point):
        """Lets a replica die at the point, once; returns when its death was seen and all are back."""
        restarts = lambda: sum(int(field_of(r, "restarts")) for r in server.info().replica_infos)
        before = restarts()
        self.once.touch()
        if point in STARTING:
            os.kill(server.replica_pids()[0], signal.SIGKILL)
            before += 1
        until(lambda: not self.once.exists(), f"a replica reaches {point}")
        until(lambda: restarts() > before, f"the death at {point} is seen")
        server.wait_healthy(2)

    def check_every_step(self, texts_for, clients, *flags, **options):
        points = [p for p in POINTS if p not in LEAVING | ATTACHED | ELSEWHERE]
        self.assertGreater(len(points), 10)
        for point in points:
            with self.subTest(point=point), Server(*flags, f"--replica-program={PROGRAM}", env=self.env(point),
                                                   **options) as server:
                load = Load(server, clients, texts_for(server))
                load.wait_answers(20)
                self.crash(server, point)
                load.wait_answers(20)
                load.check(self)

    def test_every_step_of_an_echo_replica(self):
        self.check_every_step(lambda server: EchoTexts(), 16, "--echo-dim=8", "--echo-delay-us=1000")

    @unittest.skipUnless(OPENVINO and not RETURN, "this build has no openvino engine, or it is not what is asked")
    def test_every_step_of_an_openvino_replica(self):
        self.check_every_step(KnownTexts, 4, "--dtype=float32", engine="openvino")

    def test_a_replica_that_dies_while_it_drains_does_not_hold_up_the_broker(self):
        for point in POINTS:
            if point not in LEAVING:
                continue
            with Server("--echo-dim=8", f"--replica-program={PROGRAM}", env=self.env(point)) as server:
                self.once.touch()
                self.assertEqual(server.stop(signal.SIGTERM), 0)
                self.assertFalse(self.once.exists(), point)

    @unittest.skipIf(RETURN, "attached replicas here have no GPU")
    def test_an_attached_replica_that_dies_as_its_broker_does_is_missed_by_nobody(self):
        path = self.folder / "control"
        flags = ("--replica-mode=attach", f"--control-socket={path}")
        for point in ATTACHED & set(POINTS):
            replicas = [subprocess.Popen([PROGRAM, f"--connect={path}", "--engine=echo", "--echo-dim=8"],
                                         env={**os.environ, **self.env(point)}, stderr=subprocess.DEVNULL) for _ in range(2)]
            try:
                with Server(*flags) as server:
                    self.once.touch()
                    server.stop(signal.SIGKILL)
                until(lambda: not self.once.exists(), point)
                until(lambda: sum(r.poll() is not None for r in replicas) == 1, "one of them is dead")
                with Server(*flags, ready=1) as server:
                    texts = ["the other", "serves on"]
                    self.assertTrue(EchoTexts().are_right(texts, rows_of(server.encode(texts))))
            finally:
                for replica in replicas:
                    replica.kill()
                    replica.wait(PATIENCE_S)


if __name__ == "__main__":
    unittest.main()

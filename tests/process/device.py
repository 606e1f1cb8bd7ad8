"""A GPU for a server under test: one of the emulated driver, in a namespace of its own; or this machine's, where
ZEROHOP_TEST_GPU says `real` (scripts/test --gpu). Then what only the emulator can do or tell is skipped."""

import itertools
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BIN = os.environ["ZEROHOP_BIN"]
LIBRARY = pathlib.Path(BIN).parent / "tests" / "fake_cuda"
PROGRAM = f"{BIN}/zerohop-device-replica"
IS_REAL = os.environ.get("ZEROHOP_TEST_GPU") == "real"
NEEDS_EMULATOR = unittest.skipIf(IS_REAL, "a GPU as only the emulator has it")
_numbers = itertools.count()


def a_gpu():
    return RealGpu() if IS_REAL else EmulatedGpu()


def flags_of_replicas(return_path):
    return (f"--replica-program={PROGRAM}", f"--return={return_path}")


class EmulatedGpu:
    """What a server and its replicas need to see it, and what it counted of them."""

    def __init__(self):
        self.namespace = f"process-{os.getpid()}-{next(_numbers)}"
        self.folder = tempfile.TemporaryDirectory()
        self.report_file = pathlib.Path(self.folder.name, "report")

    def env(self, changes=None):
        # Work that begins late shows who looks too early: fresh memory reads as NaN.
        return {"LD_LIBRARY_PATH": str(LIBRARY), "FAKECU_NS": self.namespace, "FAKECU_REPORT": str(self.report_file),
                "FAKECU_DELAY_US": os.environ.get("FAKECU_DELAY_US", "200"),
                "FAKECU_UB": os.environ.get("FAKECU_UB", "abort"), **(changes or {})}

    def env_of_python(self):
        """The same for a Python that loads the driver itself."""
        preload = os.environ.get("ZEROHOP_TEST_PRELOAD")
        return {**self.env(), **({"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"} if preload else {})}

    def _hook(self, *arguments):
        command = [str(LIBRARY / "fakecu"), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **self.env()}).stdout

    def count(self, name, pid=0):
        """A counter of tests/fake_cuda/counters.h; of all processes there have been, or of a living one."""
        return int(self._hook("counter", pid, name))

    def break_(self, faults, pid=0):
        """Faults (tests/fake_cuda/faults.h) of a living process, or of all, and those to come; "" ends them."""
        self._hook("faults", pid, faults)

    def reports(self):
        """Of the processes that have ended by themselves: pid -> {"leaks": …, "counters": …}."""
        lines = self.report_file.read_text().splitlines() if self.report_file.exists() else []
        return {report["pid"]: report for report in map(json.loads, lines)}

    def remove(self):
        for file in pathlib.Path("/dev/shm").glob(f"fakecu-{self.namespace}*"):
            file.unlink(missing_ok=True)
        self.folder.cleanup()


class RealGpu:
    """This machine's, shared with every other test."""

    def env(self, changes=None):
        if any(name.startswith(("FAKECU_", "LD_LIBRARY_PATH")) for name in changes or {}):
            raise unittest.SkipTest("a GPU as only the emulator has it")
        return dict(changes or {})

    def env_of_python(self):
        return {}

    def count(self, *_):
        raise unittest.SkipTest("right so far; only the emulator counts")

    def reports(self):
        raise unittest.SkipTest("right so far; only the emulator reports")

    def remove(self):
        pass

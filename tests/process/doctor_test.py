"""`zerohop doctor` on machines that the emulated driver plays, and on one without a driver."""

import ctypes
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

from device import LIBRARY
from server import BIN, PATIENCE_S

UUIDS = ["GPU-66616b65-2d63-7564-612d-6770752d3000", "GPU-66616b65-2d63-7564-612d-6770752d3100"]


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class Machine(unittest.TestCase):
    """A folder and a namespace of its own for each test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="zerohop-doctor-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.namespace = f"doctor-{os.getpid()}-{self.id().rpartition('.')[2]}"
        self.addCleanup(self.leave_no_device_memory)

    def leave_no_device_memory(self):
        left = list(pathlib.Path("/dev/shm").glob(f"fakecu-{self.namespace}*"))
        for path in left:
            path.unlink()
        # Without a process that could use a device, the emulator leaves its list of devices.
        self.assertLessEqual({path.name for path in left}, {f"fakecu-{self.namespace}"})

    def run_doctor(self, *flags, preexec_fn=None, **environment):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("FAKECU_", "CUDA_"))}
        env.update({"LD_LIBRARY_PATH": str(LIBRARY), "FAKECU_NS": self.namespace,
                    "FAKECU_REPORT": str(self.folder / "report"),
                    "CUDA_MPS_PIPE_DIRECTORY": str(self.folder / "no-mps"), **environment})
        return subprocess.run([f"{BIN}/zerohop", "doctor", *flags], capture_output=True, text=True, env=env,
                              timeout=PATIENCE_S, preexec_fn=preexec_fn)

    def text(self, *flags, **environment):
        result = self.run_doctor(*flags, **environment)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def json(self, *flags, **environment):
        return json.loads(self.text("--json", *flags, **environment))

    def device(self, **environment):
        """The finding of the only device."""
        found = self.json(**environment)
        self.assertEqual(len(found["devices"]), 1)
        return found["devices"][0]

    def reports(self):
        """What each process of the emulator said at its exit, those that were not killed."""
        return [json.loads(line) for line in (self.folder / "report").read_text().splitlines()]

    def check_nothing_leaked(self, processes):
        reports = self.reports()
        self.assertEqual(len(reports), processes)
        for report in reports:
            self.assertEqual(set(report["leaks"].values()), {0}, report)


class WithDevices(Machine):
    def test_each_device_is_described_tried_and_judged(self):
        text = self.text(FAKECU_DEVICES="2")
        for fact in (r"CUDA +13\.0", rf"UUID +{UUIDS[0]}", rf"UUID +{UUIDS[1]}", r"name +Emulated CUDA device",
                     r"bus id +0000:02:00\.0", r"memory +1024 MiB", r"compute mode +default", r"MIG instance +no",
                     r"integrated +no", r"IPC events +yes", r"unified addressing +yes", r"MPS +no", r"WSL +"):
            self.assertRegex(text, rf"(?m)^  {fact}")
        self.assertEqual(len(re.findall(r"(?m)^  probe +passed$", text)), 2)
        self.assertEqual(len(re.findall(r"(?m)^  return path: cuda_ipc\n    \S", text)), 2)
        self.check_nothing_leaked(processes=3)  # doctor, and one a device that opened its memory
        self.assertEqual(sum(report["counters"]["opens"] for report in self.reports()), 2)

    def test_facts_stand_in_columns(self):
        lines = [line for line in self.text().splitlines() if re.match(r"  \S", line) and "return path" not in line]
        self.assertGreater(len(lines), 10)
        for line in lines:
            self.assertRegex(line, r"^  .{20}(?<= )\S")

    def test_json_says_the_same(self):
        found = self.json(FAKECU_DEVICES="2", FAKECU_TOTAL_MB="64")
        self.assertEqual(found["driver"], {"found": True, "version": "13.0", "usable": True, "reason": ""})
        self.assertEqual([device["uuid"] for device in found["devices"]], UUIDS)
        first = found["devices"][0]
        self.assertEqual((first["ordinal"], first["name"], first["bus_id"], first["memory_bytes"]),
                         (0, "Emulated CUDA device", "0000:01:00.0", 64 << 20))
        self.assertEqual((first["compute_mode"], first["mig_instance"], first["integrated"], first["ipc_events"],
                          first["unified_addressing"]), ("default", False, False, True, True))
        self.assertEqual(first["probe"], {"opened": True, "reason": ""})
        self.assertEqual(first["return_path"], "cuda_ipc")
        self.assertEqual(found["surroundings"]["pid_namespace"]["inode"], os.stat("/proc/self/ns/pid").st_ino)
        self.assertFalse(found["surroundings"]["mps"])

    def test_device_restricts_to_one_by_uuid_or_ordinal(self):
        for choice in (UUIDS[1], UUIDS[1].upper(), "1"):
            found = self.json("--device", choice, FAKECU_DEVICES="2")
            self.assertEqual([device["uuid"] for device in found["devices"]], [UUIDS[1]])
        self.assertNotIn(UUIDS[0], self.text("--device=1", FAKECU_DEVICES="2"))

    def test_a_device_that_does_not_exist_is_refused_with_those_that_do(self):
        for choice in ("2", "GPU-00000000-0000-0000-0000-000000000000", "-1"):
            result = self.run_doctor(f"--device={choice}", FAKECU_DEVICES="2")
            self.assertEqual(result.returncode, 1)
            for known in (choice, *UUIDS):
                self.assertIn(known, result.stderr)

    def test_an_instance_of_a_device_is_known_by_its_name_and_has_a_uuid_of_its_own_kind(self):
        instance = {"FAKECU_NAME": "Emulated CUDA device MIG 1g.5gb"}
        uuid = UUIDS[0].replace("GPU-", "MIG-")
        found = self.device(**instance)
        self.assertEqual((found["uuid"], found["mig_instance"], found["return_path"]), (uuid, True, "cuda_ipc"))
        for choice in (uuid, "0"):
            self.assertEqual(self.json("--device", choice, **instance)["devices"][0]["uuid"], uuid)

    def test_a_parent_that_ignores_the_end_of_children_changes_nothing(self):
        result = self.run_doctor("--json", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual(json.loads(result.stdout)["devices"][0]["return_path"], "cuda_ipc")

    def test_mps_is_seen_by_its_control_pipe(self):
        (self.folder / "mps").mkdir()
        (self.folder / "mps" / "control").touch()
        found = self.json(CUDA_MPS_PIPE_DIRECTORY=str(self.folder / "mps"))
        self.assertTrue(found["surroundings"]["mps"])
        self.assertRegex(self.text(CUDA_MPS_PIPE_DIRECTORY=str(self.folder / "mps")), r"(?m)^  MPS +yes")


class ByHost(Machine):
    """Devices from which rows return by the host, and the reason."""

    def check_host(self, device, reason):
        self.assertEqual(device["return_path"], "host")
        self.assertIn(reason, device["reason"])

    def test_memory_that_another_process_cannot_open(self):
        device = self.device(FAKECU_FAULT="cuIpcOpenMemHandle:err=1")
        self.assertFalse(device["probe"]["opened"])
        self.check_host(device, "cannot open the device arena: CUDA_ERROR_INVALID_VALUE (1)")
        self.check_nothing_leaked(processes=2)

    def test_text_of_a_probe_that_failed(self):
        text = self.text(FAKECU_FAULT="cuIpcOpenMemHandle:err=400")
        self.assertRegex(text, r"(?m)^  probe +failed: cannot open the device arena: CUDA_ERROR_INVALID_HANDLE")
        self.assertRegex(text, r"(?m)^  return path: host\n    cannot open the device arena")

    def test_memory_that_cannot_be_exported(self):
        self.check_host(self.device(FAKECU_FAULT="cuIpcGetMemHandle:err=801"), "cannot export")
        self.check_nothing_leaked(processes=1)

    def test_memory_that_cannot_be_allocated(self):
        self.check_host(self.device(FAKECU_FAULT="cuMemAlloc:err=2"), "cannot allocate")
        self.check_nothing_leaked(processes=1)

    def test_a_device_that_cannot_be_entered(self):
        self.check_host(self.device(FAKECU_FAULT="cuDevicePrimaryCtxRetain:err=46"), "cannot use device")

    def test_equal_pids(self):
        self.check_host(self.device(FAKECU_PID="1"), "pid")
        self.check_nothing_leaked(processes=2)

    def test_another_process_that_crashes(self):
        self.check_host(self.device(FAKECU_FAULT="cuIpcOpenMemHandle:sigkill=before"), "ended with signal 9")

    def test_another_process_that_crashes_with_the_memory_open(self):
        self.check_host(self.device(FAKECU_FAULT="cuIpcOpenMemHandle:sigkill=after"), "ended with signal 9")

    def test_another_process_that_hangs_is_killed(self):
        found = self.json("--probe-timeout=0.5", FAKECU_FAULT="cuIpcOpenMemHandle:hang")
        self.check_host(found["devices"][0], "hangs: no answer within 500 ms")
        self.assertFalse(found["devices"][0]["probe"]["opened"])
        self.check_nothing_leaked(processes=1)

    def test_rules_come_before_the_probe(self):
        device = self.device(FAKECU_ATTRIBUTES="18=1")
        self.assertTrue(device["integrated"])
        self.assertTrue(device["probe"]["opened"])
        self.check_host(device, "integrated")

    def test_compute_modes(self):
        for mode, name in ((3, "exclusive"), (2, "prohibited")):
            device = self.device(FAKECU_ATTRIBUTES=f"20={mode}")
            self.assertEqual(device["compute_mode"], name)
            self.check_host(device, name)

    def test_one_device_that_fails_does_not_hide_the_other(self):
        devices = self.json(FAKECU_DEVICES="2", FAKECU_FAULT="cuIpcGetMemHandle:nth=1:err=801")["devices"]
        self.assertEqual([device["return_path"] for device in devices], ["host", "cuda_ipc"])


class WithoutDevices(Machine):
    """That there is no GPU is a finding, and no failure."""

    def check_none(self, reason, found, **environment):
        text = self.text(**environment)
        self.assertRegex(text, r"(?m)^  return path: none: no CUDA\n    \S")
        self.assertIn(reason, text)
        self.assertRegex(text, r"(?m)^  pid namespace +\d")
        report = self.json(**environment)
        self.assertEqual((report["devices"], report["return_path"], report["driver"]["found"]), ([], "none", found))
        self.assertIn(reason, report["reason"])
        return report

    @unittest.skipIf(has_driver(), "a driver is installed here")
    def test_no_driver(self):
        report = self.check_none("no CUDA driver: libcuda.so.1", False, LD_LIBRARY_PATH=str(self.folder))
        self.assertEqual(report["driver"]["version"], "")

    def test_what_is_no_driver(self):
        (self.folder / "libcuda.so.1").write_text("not a library\n" * 100)
        self.check_none("no CUDA driver", False, LD_LIBRARY_PATH=str(self.folder))

    def test_a_driver_that_lacks_functions(self):
        self.check_none("lacks cuIpcGetMemHandle", False, FAKECU_HIDE="cuIpcGetMemHandle")

    def test_a_toolkits_stub(self):
        self.check_none("stub of a toolkit", True, FAKECU_FAULT="cuGetProcAddress:err=34; cuInit:err=34")

    def test_a_driver_without_a_device(self):
        report = self.check_none("CUDA_ERROR_NO_DEVICE", True, FAKECU_VISIBLE="")
        self.assertEqual(report["driver"]["version"], "13.0")
        self.assertFalse(report["driver"]["usable"])

    def test_a_device_that_was_asked_for_is_missed(self):
        result = self.run_doctor("--device=0", FAKECU_VISIBLE="")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no device 0; expected none", result.stderr)


class Flags(Machine):
    def test_wrong_ones_are_named(self):
        for flags, named in ((["--no-such-flag"], "--no-such-flag"), (["stray"], "stray"), (["--device"], "--device"),
                             (["--probe-timeout=0"], "--probe-timeout")):
            result = self.run_doctor(*flags)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertIn(named, result.stderr)

    def test_help_explains_them(self):
        text = self.text("--help")
        for word in ("Usage", "--device", "--json", "--probe-timeout"):
            self.assertIn(word, text)
        self.assertNotIn("--open-export", text)

    def test_the_part_of_the_other_process_is_refused_to_people(self):
        self.assertEqual(self.run_doctor("--open-export").returncode, 2)


if __name__ == "__main__":
    unittest.main()

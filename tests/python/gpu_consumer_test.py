"""GpuConsumer of the Python package, against a real server with rows on a GPU. What a consumer cannot break: consumer_test.py."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from device import IS_REAL
from device_engine_test import Served
from server import PATIENCE_S

SCRIPT = pathlib.Path(__file__).with_name("gpu_consumer_script.py")


class Consumers(unittest.TestCase):
    def check(self, name, env=None):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/consumers"
            with Served("OnDevice", "cuda_ipc", f"--consumer-socket={path}", "--lease-arena-mib=1", env=env) as (server, gpu):
                ended = subprocess.run([sys.executable, SCRIPT, name, path], capture_output=True, text=True, timeout=PATIENCE_S,
                                       env={**os.environ, **gpu.env(env)})
                self.assertEqual(ended.returncode, 0, ended.stderr)
                server.channel.close()
                self.assertEqual(server.stop(), 0)
                if not IS_REAL:
                    self.assertEqual(gpu.count("undefined"), 0)

    def test_rows_are_right_and_shown_alike(self):
        self.check("rows_are_right_and_shown_alike")

    def test_threads_share_a_consumer(self):
        self.check("threads_share_a_consumer")

    def test_a_lease_lives_as_long_as_its_rows_and_what_was_made_of_them(self):
        self.check("a_lease_lives_as_long_as_its_rows_and_what_was_made_of_them")

    def test_rows_outlive_a_closed_consumer(self):
        self.check("rows_outlive_a_closed_consumer")

    def test_errors_are_those_of_the_client(self):
        self.check("errors_are_those_of_the_client")

    def test_dlpack_wishes_that_cannot_be_met_are_refused(self):
        self.check("dlpack_wishes_that_cannot_be_met_are_refused")

    def test_a_server_that_does_not_read_holds_up_only_who_speaks_to_it(self):
        self.check("a_server_that_does_not_read_holds_up_only_who_speaks_to_it")

    def test_a_server_that_stands_still_is_not_waited_for_beyond_the_timeout(self):
        self.check("a_server_that_stands_still_is_not_waited_for_beyond_the_timeout")

    def test_another_device_is_refused(self):
        self.check("another_device_is_refused", env={"FAKECU_DEVICES": "2"})


if __name__ == "__main__":
    unittest.main()

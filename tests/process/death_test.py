"""Replicas die under load: nothing is lost, nothing is doubled, capacity comes back."""

import os
import pathlib
import re
import signal
import tempfile
import unittest

import grpc
import inference_pb2 as pb
import numpy as np
from load import DIM, Load
from server import Server, echo_rows, rows_of, until


class Death(unittest.TestCase):
    def test_kill_9_under_load_loses_nothing_and_the_replica_comes_back(self):
        with Server(f"--echo-dim={DIM}", "--echo-delay-us=2000") as server:
            load = Load(server)
            for round_ in range(6):
                server.wait_healthy(2)
                load.wait_answers(100)
                victim = server.replica_pids()[round_ % 2]
                os.kill(victim, signal.SIGKILL)
                until(lambda: victim not in server.replica_pids(), "the death is seen")
            server.wait_healthy(2)
            load.wait_answers(100)
            load.check(self)
            restarts = [int(re.search(r"restarts=(\d+)", r.scheduler_config).group(1)) for r in server.info().replica_infos]
            self.assertEqual(restarts, [3, 3])
            self.assertIn("signal 9", server.info().replica_infos[0].scheduler_config)

    def test_all_replicas_killed_at_once_lose_nothing(self):
        with Server(f"--echo-dim={DIM}", "--echo-delay-us=1000") as server:
            load = Load(server)
            for _ in range(3):
                load.wait_answers(100)
                for victim in server.replica_pids():
                    os.kill(victim, signal.SIGKILL)
                load.wait_answers(100)
            load.check(self)

    def test_a_stopped_replica_is_killed_and_its_work_done_by_another(self):
        with Server(f"--echo-dim={DIM}", "--echo-delay-us=1000", "--health-interval=0.1") as server:
            load = Load(server, clients=4)
            load.wait_answers(50)
            victim = server.replica_pids()[0]
            os.kill(victim, signal.SIGSTOP)
            until(lambda: victim not in server.replica_pids(), "the stopped replica is replaced")
            load.wait_answers(50)
            load.check(self)
            self.assertIn("hang: ", server.info().replica_infos[0].scheduler_config)

    def test_the_work_of_the_only_replica_waits_for_its_successor(self):
        with Server(f"--echo-dim={DIM}", "--health-interval=60", replicas=1) as server:
            # Stopped first, so that the request is surely on its lane when it dies.
            victim = server.replica_pids()[0]
            os.kill(victim, signal.SIGSTOP)
            call = server.stub.Encode.future(
                pb.EncodeRequest(request_id="waits", prompts=["x"], n_prompts=1, model_name="echo"))
            os.kill(victim, signal.SIGKILL)
            np.testing.assert_array_equal(rows_of(call.result()), echo_rows(["x"], DIM))

    def test_start_up_is_unavailable_until_a_replica_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, "never_ready")
            program.write_text("#!/bin/sh\nexec sleep 600\n")
            program.chmod(0o700)
            self.check_start_up(Server(f"--replica-program={program}", replicas=1, ready=0))

    def check_start_up(self, starting):
        with starting as server:
            with self.assertRaises(grpc.RpcError) as caught:
                server.encode(["x"], model="echo")
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertTrue(caught.exception.details().startswith("No healthy replicas"))
            self.assertFalse(server.stub.HealthCheck(pb.HealthCheckRequest()).healthy)


if __name__ == "__main__":
    unittest.main()

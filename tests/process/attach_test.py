"""Replicas of another's supervision: they attach, outlive their broker, and serve the next one warm."""

import os
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import unittest

import inference_pb2 as pb
import numpy as np
from server import BIN, PATIENCE_S, Server, echo_rows, field_of, rows_of, until

DIM = 8


class AttachedReplica:
    """`zerohop-replica --connect`, started by the test as a service manager would."""

    def __init__(self, path, *flags):
        command = [f"{BIN}/zerohop-replica", f"--connect={path}", "--engine=echo", f"--echo-dim={DIM}", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.log = []
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stdout), daemon=True)
        self._reader.start()
        self.pid = self.process.pid

    def end(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()


class Attach(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "control")

    def replica(self, *flags):
        replica = AttachedReplica(self.path, *flags)
        self.addCleanup(replica.end)
        return replica

    def broker(self, *flags, ready=2, replicas=2):
        server = Server("--replica-mode=attach", f"--control-socket={self.path}", *flags, ready=ready, replicas=replicas)
        self.addCleanup(server.__exit__)
        return server

    def check_serves(self, server, name):
        texts = [f"{name} {i}" for i in range(40)]
        np.testing.assert_array_equal(rows_of(server.encode(texts)), echo_rows(texts, DIM))

    def test_replicas_attach_before_or_after_the_broker_and_serve(self):
        first = self.replica()
        until(lambda: any("waiting for a broker" in line for line in first.log), "the replica waits")
        server = self.broker(ready=1)
        second = self.replica()
        server.wait_healthy(2)
        self.assertEqual(sorted(server.replica_pids()), sorted([first.pid, second.pid]))
        self.check_serves(server, "attached")

    def test_a_killed_broker_finds_its_replicas_warm(self):
        replicas = [self.replica(), self.replica()]
        server = self.broker()
        self.check_serves(server, "first")
        server.stop(signal.SIGKILL)
        self.assertTrue(os.path.exists(self.path), "a killed broker leaves its socket; the next one replaces it")
        server = self.broker()
        self.assertEqual(sorted(server.replica_pids()), sorted(r.pid for r in replicas))
        self.check_serves(server, "second")
        self.assertEqual(field_of(server.info().replica_infos[0], "restarts"), "0")

    def test_a_broker_killed_under_load_costs_no_replica(self):
        replicas = [self.replica("--echo-delay-us=20000"), self.replica("--echo-delay-us=20000")]
        for round_ in range(3):
            server = self.broker()
            calls = [threading.Thread(target=lambda i=i: self.ignore(server, f"{round_} {i}")) for i in range(8)]
            for call in calls:
                call.start()
            until(lambda: any(field_of(r, "shards") != "0" for r in server.info().replica_infos), "work is on the lanes")
            server.stop(signal.SIGKILL)
            for call in calls:
                call.join()
        server = self.broker()
        self.check_serves(server, "after three broker deaths")
        self.assertEqual([r.process.poll() for r in replicas], [None, None])

    def test_a_broker_killed_amid_a_pass_costs_no_replica_however_much_it_has_done(self):
        replica = self.replica("--echo-delay-us=150000")
        server = self.broker(ready=1, replicas=1)
        request = lambda i: pb.EncodeRequest(request_id=f"{i}", prompts=[f"{i}"], n_prompts=1, model_name=server.model)
        for call in [server.stub.Encode.future(request(i)) for i in range(2500)]:  # more than twice round the rings
            call.result()
        under_way = []  # another with each look, so that a pass runs when it is seen to run

        def a_pass_runs():
            under_way.append(server.stub.Encode.future(request(f"late {len(under_way)}")))
            return field_of(server.info().replica_infos[0], "shards") != "0"

        until(a_pass_runs, "a pass runs")
        server.stop(signal.SIGKILL)
        self.check_serves(self.broker(ready=1, replicas=1), "the next broker")
        self.assertIsNone(replica.process.poll(), replica.log)

    def ignore(self, server, text):
        try:
            server.encode([text])
        except Exception:  # the broker is killed under it
            pass

    def test_sigterm_drains_the_broker_and_keeps_the_replicas(self):
        replicas = [self.replica("--echo-delay-us=100000"), self.replica("--echo-delay-us=100000")]
        server = self.broker()
        answers = []
        calls = [threading.Thread(target=lambda i=i: answers.append(rows_of(server.encode([f"{i}"])))) for i in range(6)]
        for call in calls:
            call.start()
        until(lambda: "6 requests accepted" in server.info().message, "all requests are in")
        self.assertEqual(server.stop(signal.SIGTERM), 0)
        for call in calls:
            call.join()
        self.assertEqual(len(answers), 6)
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual([r.process.poll() for r in replicas], [None, None])
        self.check_serves(self.broker(), "the next broker")

    def test_a_spare_takes_the_place_of_one_that_dies(self):
        replicas = [self.replica() for _ in range(3)]
        server = self.broker()
        serving = server.replica_pids()
        spare = ({r.pid for r in replicas} - set(serving)).pop()
        os.kill(serving[0], signal.SIGKILL)
        until(lambda: spare in server.replica_pids(), "the spare is let in")
        server.wait_healthy(2)
        self.check_serves(server, "with the spare")

    def test_a_stopped_replica_is_killed_and_its_work_done_by_another(self):
        stopped, other = self.replica(), self.replica()
        server = self.broker("--health-interval=0.1")
        os.kill(stopped.pid, signal.SIGSTOP)
        self.assertEqual(stopped.process.wait(PATIENCE_S), -signal.SIGKILL)
        self.check_serves(server, "without it")
        self.assertIsNone(other.process.poll())

    def test_who_hangs_up_without_a_word_is_no_replica(self):
        server = self.broker(ready=0)
        for _ in range(5):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
                caller.connect(self.path)
        replicas = [self.replica(), self.replica()]
        server.wait_healthy(2)
        self.assertEqual([field_of(r, "restarts") for r in server.info().replica_infos], ["0", "0"])
        self.assertEqual(sorted(server.replica_pids()), sorted(r.pid for r in replicas))

    def test_a_replica_with_another_model_is_refused(self):
        self.replica()
        server = self.broker(ready=1)
        self.check_serves(server, "the first says what is served")
        other = self.replica(f"--echo-dim={DIM * 2}")
        self.assertEqual(other.process.wait(PATIENCE_S), -signal.SIGKILL)
        until(lambda: any("loaded another model" in line for line in server.log), "the log says why")
        self.check_serves(server, "and the first serves on")

    def test_the_socket_is_for_its_owner_alone(self):
        self.broker(ready=0)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def refused(self, *flags):
        result = subprocess.run([f"{BIN}/zerohop", "serve", "--host=127.0.0.1", "--port=0", "--engine=echo", *flags],
                                capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
        return result.stderr

    def test_starts_that_cannot_succeed_say_why(self):
        self.assertIn("--control-socket", self.refused("--replica-mode=attach"))
        self.assertIn("--replica-mode attach", self.refused("--control-socket=/tmp/unused"))
        self.assertIn("1 to 107 bytes", self.refused("--replica-mode=attach", f"--control-socket=/{'x' * 120}"))
        self.assertIn("--batch-tokens", self.refused("--replica-mode=attach", f"--control-socket={self.path}", "--batch-tokens=8"))
        self.assertIn("--echo-dim", self.refused("--replica-mode=attach", f"--control-socket={self.path}", "--echo-dim=8"))
        with open(self.path, "w") as file:
            file.write("precious")
        self.assertIn("something else has that name", self.refused("--replica-mode=attach", f"--control-socket={self.path}"))
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious")

    def test_a_second_broker_on_one_socket_is_refused(self):
        server = self.broker(ready=0)
        self.assertIn("another broker", self.refused("--replica-mode=attach", f"--control-socket={self.path}"))
        replicas = [self.replica(), self.replica()]
        server.wait_healthy(2)
        self.assertEqual([r.process.poll() for r in replicas], [None, None])


if __name__ == "__main__":
    unittest.main()

"""What a server says of itself, and to callers, while its replicas start, fail to start, stand still and die."""

import os
import pathlib
import signal
import tempfile
import unittest

import grpc
import inference_pb2 as pb
import numpy as np
from device import PROGRAM
from server import BIN, RETURN, Server, echo_rows, field_of, rows_of, until

DIM = 8
REPLICA = PROGRAM if RETURN else f"{BIN}/zerohop-replica"


def refusal(call):
    """Status and details of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it was answered")


def healthy(server):
    return server.stub.HealthCheck(pb.HealthCheckRequest())


def states(server):
    return [field_of(replica, "state") for replica in server.info().replica_infos]


class Script:
    """A replica program that first does as its lines say, then becomes the real one; its files are this folder's."""

    def __init__(self, test, *lines):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.program = self.folder / "replica"
        self.program.write_text("\n".join(
            ["#!/bin/sh", f"cd {self.folder}", "wait_for() { while [ ! -e $1 ]; do sleep 0.02; done; }", *lines,
             f'exec {REPLICA} "$@"', ""]))
        self.program.chmod(0o700)
        self.flag = f"--replica-program={self.program}"

    def open(self, name):
        (self.folder / name).touch()


class StartUp(unittest.TestCase):
    def test_all_of_start_up_is_unavailable_and_health_and_info_answer(self):
        script = Script(self, "wait_for gate")
        with Server(script.flag, f"--echo-dim={DIM}", ready=0) as server:
            for request in ({}, {"model": "other"}, {"n": 7}):
                code, details = refusal(lambda r=request: server.encode(["x"], **r))
                self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
                self.assertRegex(details, "^No healthy replicas")
            self.assertEqual((healthy(server).healthy, healthy(server).message), (False, "No healthy replicas"))
            info = server.info()
            self.assertEqual((info.n_replicas, info.n_healthy_replicas), (2, 0))
            self.assertEqual([field_of(r, "replica") for r in info.replica_infos], ["0", "1"])
            self.assertEqual([r.ready for r in info.replica_infos], [False, False])
            until(lambda: states(server) == ["loading", "loading"], "both load")
            script.open("gate")
            self.check_that_nothing_but_unavailable_comes_before_the_first_answer(server)

    def check_that_nothing_but_unavailable_comes_before_the_first_answer(self, server):
        def answered():
            try:
                np.testing.assert_array_equal(rows_of(server.encode(["x"])), echo_rows(["x"], DIM))
                return True
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
                self.assertRegex(error.details(), "^No healthy replicas")
                return False

        until(answered, "the first answer")
        self.assertTrue(healthy(server).healthy)

    def test_serving_starts_with_the_first_ready_replica(self):
        script = Script(self, "mkdir first 2>/dev/null || wait_for gate")
        with Server(script.flag, f"--echo-dim={DIM}", replicas=3, ready=1) as server:
            np.testing.assert_array_equal(rows_of(server.encode(["x"])), echo_rows(["x"], DIM))
            self.assertTrue(healthy(server).healthy)
            info = server.info()
            self.assertEqual((info.n_replicas, info.n_healthy_replicas, len(info.replica_infos)), (3, 1, 3))
            until(lambda: sorted(states(server)) == ["loading", "loading", "serving"], "the others load")
            script.open("gate")
            server.wait_healthy(3)

    def test_a_replica_that_fails_to_start_stays_in_the_list_and_comes_back(self):
        script = Script(self, "mkdir first 2>/dev/null || [ -e mended ] || { wait_for gate; exit 3; }")
        with Server(script.flag, f"--echo-dim={DIM}", ready=1) as server:
            script.open("gate")

            def failed():
                return [r for r in server.info().replica_infos if "3" in (field_of(r, "last_death") or "")]

            until(failed, "the failed start is told")
            info = server.info()
            self.assertEqual((info.n_replicas, len(info.replica_infos)), (2, 2))
            np.testing.assert_array_equal(rows_of(server.encode(["x"])), echo_rows(["x"], DIM))
            script.open("mended")
            server.wait_healthy(2)


class Death(unittest.TestCase):
    def test_with_every_replica_dead_health_is_false_and_requests_are_unavailable(self):
        script = Script(self, "[ ! -e dead ] || exec sleep 600")
        with Server(script.flag, f"--echo-dim={DIM}") as server:
            script.open("dead")
            for pid in server.replica_pids():
                os.kill(pid, signal.SIGKILL)
            until(lambda: not healthy(server).healthy, "ill health is told")
            self.assertEqual(healthy(server).message, "No healthy replicas")
            until(lambda: server.info().n_healthy_replicas == 0, "no replica is healthy")
            info = server.info()
            self.assertEqual((info.n_replicas, len(info.replica_infos)), (2, 2))
            self.assertEqual([r.ready for r in info.replica_infos], [False, False])
            # For a moment requests wait: replicas are back soon, as a rule.
            refusals = []

            def refused():
                refusals.append(refusal(lambda: server.encode(["x"], timeout=0.5)))
                return refusals[-1][0] == grpc.StatusCode.UNAVAILABLE

            until(refused, "requests are refused")
            self.assertRegex(refusals[-1][1], "^No healthy replicas")
            self.assertEqual({code for code, _ in refusals[:-1]} - {grpc.StatusCode.DEADLINE_EXCEEDED}, set())

    def test_work_that_three_replicas_die_of_is_a_replica_failure(self):
        with Server(f"--echo-dim={DIM}", "--echo-delay-us=60000000", "--health-interval=60", replicas=1) as server:
            call = server.stub.Encode.future(pb.EncodeRequest(prompts=["x"], n_prompts=1, model_name="echo"))
            killed = set()

            def victims():
                [replica] = server.info().replica_infos
                pid = int(field_of(replica, "pid"))
                return {pid} - killed if replica.ready and field_of(replica, "shards") == "1" else set()

            # A replica that dies before it has begun with the work counts for nothing, so there may be more than three.
            while not call.done():
                until(lambda: victims() or call.done(), "a replica has the work")
                for pid in victims():
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            code, details = refusal(call.result)
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
            self.assertRegex(details, "^Replica failure: 3 attempts failed")
            self.assertGreaterEqual(len(killed), 3)

    def test_no_answer_within_the_forward_timeout_is_a_replica_failure(self):
        with Server(f"--echo-dim={DIM}", "--forward-timeout=0.3", "--health-interval=60", replicas=1) as server:
            [pid] = server.replica_pids()
            os.kill(pid, signal.SIGSTOP)
            code, details = refusal(lambda: server.encode(["x"]))
            self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
            self.assertRegex(details, "^Replica failure: no answer within 0.3 s")


class Info(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"--echo-dim={DIM}", "--served-model-name=some/model", "--load-balancing=random",
                            "--health-interval=60", replicas=3)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_every_field_is_true(self):
        info = self.server.info()
        self.assertEqual((info.n_replicas, info.n_healthy_replicas, len(info.replica_infos)), (3, 3, 3))
        self.assertEqual(info.message, "3 of 3 replicas serve; 0 requests accepted, 0 shards waiting")
        self.assertEqual((info.consumers, [*info.consumer_infos]), ("", []))  # nobody could come
        for i, replica in enumerate(info.replica_infos):
            self.assertEqual((replica.model_name, replica.task, replica.dtype, replica.ready, replica.lora_config),
                             ("some/model", "embed", "float32", True, ""))
            fields = {name: field_of(replica, name) for name in ("replica", "engine", "dim", "policy", "state",
                                                                 "generation", "restarts", "shards", "tokens", "return",
                                                                 "return_reason", "last_death")}
            self.assertEqual(fields, {"replica": f"{i}", "engine": "device echo (not a model)" if RETURN else "echo (not a model)",
                                      "dim": f"{DIM}", "policy": "random", "state": "serving", "generation": "1",
                                      "restarts": "0", "shards": "0", "tokens": "0", "return": RETURN,
                                      "return_reason": None, "last_death": None})
            self.assertEqual((field_of(replica, "device") or "").startswith("GPU-"), bool(RETURN))
            children = pathlib.Path(f"/proc/{field_of(replica, 'pid')}/stat").read_text().rsplit(")", 1)[1].split()
            self.assertEqual(int(children[1]), self.server.process.pid)  # the parent

    def test_it_is_answered_while_no_replica_could_be_asked(self):
        pids = self.server.replica_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.assertEqual(self.server.replica_pids(), pids)
            self.assertTrue(healthy(self.server).healthy)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def test_replicas_listen_nowhere(self):
        listening = set()
        for table in ("tcp", "tcp6"):
            path = pathlib.Path("/proc/net", table)
            lines = path.read_text().splitlines()[1:] if path.exists() else []
            listening |= {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "0A"}

        def ports(pid):
            return listening & {os.readlink(f) for f in pathlib.Path(f"/proc/{pid}/fd").iterdir()}

        self.assertEqual(len(ports(self.server.process.pid)), 1)  # the server's one port is seen, so theirs would be
        self.assertEqual([ports(pid) for pid in self.server.replica_pids()], [set()] * 3)


if __name__ == "__main__":
    unittest.main()

"""Starting, refusing to start, draining, and leaving nothing behind."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import numpy as np
from server import BIN, PATIENCE_S, Server, echo_row, echo_rows, rows_of, until


def run(*arguments, **kwargs):
    return subprocess.run([f"{BIN}/zerohop", *arguments], capture_output=True, text=True, timeout=PATIENCE_S, **kwargs)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Draining(unittest.TestCase):
    def test_sigterm_and_sigint_finish_what_was_accepted_and_leave_nothing(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            with Server("--echo-dim=4", "--echo-delay-us=200000") as server:
                pids = server.replica_pids()
                answers = []
                threads = [threading.Thread(target=lambda i=i: answers.append(rows_of(server.encode([f"{i}"]))))
                           for i in range(8)]
                for thread in threads:
                    thread.start()
                until(lambda: "8 requests accepted" in server.info().message, "all requests are in")
                self.assertEqual(server.stop(sig), 0)
                for thread in threads:
                    thread.join()
                self.assertEqual(len(answers), 8)
                self.assertEqual([alive(pid) for pid in pids], [False, False])
                with socket.socket() as probe:
                    self.assertNotEqual(probe.connect_ex(("127.0.0.1", server.port)), 0)

    def test_replicas_do_not_outlive_a_killed_broker(self):
        with Server("--echo-dim=4") as server:
            pids = server.replica_pids()
            server.stop(signal.SIGKILL)
            until(lambda: not any(alive(pid) for pid in pids), "the replicas are gone")

    def test_a_signal_to_a_replica_is_not_an_order_to_leave(self):
        with Server("--echo-dim=4") as server:
            pids = server.replica_pids()
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
            np.testing.assert_array_equal(rows_of(server.encode(["a"])), echo_rows(["a"], 4))
            self.assertEqual(server.replica_pids(), pids)


class Refusing(unittest.TestCase):
    """A start that cannot succeed: one sentence, and a non-zero exit."""

    def refused(self, *flags, **kwargs):
        result = run("serve", "--host=127.0.0.1", "--port=0", *flags, **kwargs)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)
        return result.stderr

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertIn(f"127.0.0.1:{port}", self.refused("--engine=echo", f"--port={port}"))

    def test_two_servers_on_one_port(self):
        with Server("--echo-dim=4") as server:
            self.assertIn("in use", self.refused("--engine=echo", f"--port={server.port}"))

    def test_a_missing_model_folder(self):
        self.assertIn("/no/such/model", self.refused("--model=/no/such/model"))

    def test_a_folder_without_a_model(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("config.json", self.refused(f"--model={folder}"))

    def test_too_little_memory_for_the_arenas(self):
        sentence = self.refused("--engine=echo", "--num-replicas=256", "--response-arena-mib=4096")
        self.assertIn("not enough memory", sentence)
        self.assertIn("--response-arena-mib", sentence)

    def test_an_arena_of_a_size_that_cannot_be(self):
        self.assertIn("power of two", self.refused("--engine=echo", "--response-arena-mib=3"))

    def test_values_and_flags_that_nobody_takes_are_named(self):
        self.assertIn("--port", self.refused("--engine=echo", "--port=70000"))
        self.assertIn("--load-balancing", self.refused("--engine=echo", "--load-balancing=best"))
        self.assertIn("--no-such-flag", self.refused("--engine=echo", "--no-such-flag=1"))
        self.assertIn("stray", self.refused("--engine=echo", "stray"))

    def test_a_replica_program_that_dies_at_once(self):
        self.assertIn("replica", self.refused("--engine=echo", "--replica-program=/bin/false"))


class Commands(unittest.TestCase):
    def test_help_explains_every_command(self):
        for arguments in (["--help"], ["serve", "--help"], ["embed", "--help"], ["info", "--help"]):
            result = run(*arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn("Usage", result.stdout)
        self.assertNotEqual(run("nonsense").returncode, 0)

    def test_embed_prints_one_array_a_text_in_order(self):
        with Server("--echo-dim=4") as server:
            texts = ["first", "", "third with \"quotes\" and ünïcode"]
            for result in (run("embed", "--addr", server.address, "--", *texts),
                           run("embed", "--addr", server.address, input="\n".join(texts) + "\n")):
                self.assertEqual(result.returncode, 0, result.stderr)
                rows = [np.float32(json.loads(line)) for line in result.stdout.splitlines()]
                np.testing.assert_array_equal(rows, [echo_row(t, 4) for t in texts])

    def test_embed_and_info_fail_with_a_sentence_when_nobody_listens(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
            for command in ("embed", "info"):
                result = run(command, "--addr", address, *(["text"] if command == "embed" else []))
                self.assertEqual(result.returncode, 1)
                self.assertIn(address, result.stderr)

    def test_info_shows_each_replica(self):
        with Server("--echo-dim=4") as server:
            result = run("info", "--addr", server.address)
            self.assertEqual(result.returncode, 0)
            self.assertIn("2 of 2 replicas serve", result.stdout)
            for pid in server.replica_pids():
                self.assertIn(f"pid={pid}", result.stdout)

    def test_a_config_file_gives_the_same_flags(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
            config.write("load-balancing = random\nserved-model-name = from/file\n")
            config.flush()
            with Server("--echo-dim=4", f"--config={config.name}") as server:
                self.assertEqual(server.model, "from/file")
                self.assertIn("policy=random", server.info().replica_infos[0].scheduler_config)


if __name__ == "__main__":
    unittest.main()

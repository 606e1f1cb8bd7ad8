"""Engines in Python behind a lane: what they get, what they may do, and what becomes of those who misbehave."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import grpc
import inference_pb2 as pb
import numpy as np
import zerohop
from known_engines import DIM, known_row, known_rows
from server import BIN, PATIENCE_S, Server, field_of, rows_of, until

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "python" / "examples" / "my_engine.py"
PYTHON = f"--python={sys.executable}"


def serve(name, *flags, **options):
    return Server(PYTHON, "--health-interval=0.05", *flags, engine=f"known_engines:{name}", **options)


def runs(pid):
    """A process that nobody has waited for yet does not run."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def printed(server, words):
    return any(words in line for line in list(server.log))


class Refused:
    def check_refused(self, server, code, pattern, texts, **kwargs):
        with self.assertRaises(grpc.RpcError) as caught:
            server.encode(texts, **kwargs)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertRegex(caught.exception.details(), pattern)


class Plain(unittest.TestCase, Refused):
    @classmethod
    def setUpClass(cls):
        cls.server = serve("Plain")
        cls.pids = cls.server.replica_pids()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def tearDown(self):
        self.assertEqual(self.server.replica_pids(), self.pids, "a replica was lost")
        np.testing.assert_array_equal(rows_of(self.server.encode(["still here"])), known_rows(["still here"]))

    def test_texts_are_answered_in_order_whatever_ran_together(self):
        texts = [f"{i} " + "x" * (i * 7 % 90) for i in range(3000)]
        np.testing.assert_array_equal(rows_of(self.server.encode(texts)), known_rows(texts))

    def test_token_ids_arrive_as_they_are_and_are_checked_against_the_vocabulary(self):
        ids = [[1, 2, 3], [999], list(range(500))]
        np.testing.assert_array_equal(rows_of(self.server.encode(ids=ids)), known_rows(ids))
        self.check_refused(self.server, grpc.StatusCode.INVALID_ARGUMENT, "Prompt 1: token id 1000", (), ids=[[1], [1000]])

    def test_texts_and_token_ids_of_many_clients_get_their_own_rows(self):
        failures = []

        def client(seed):
            prompts = [[seed, i] for i in range(20)] if seed % 2 else [f"{seed} {i}" for i in range(20)]
            for prompt in prompts:
                answer = self.server.encode(ids=[prompt]) if seed % 2 else self.server.encode([prompt])
                if not np.array_equal(rows_of(answer)[0], known_row(prompt)):
                    failures.append(prompt)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_text_beyond_ascii_and_empty_text_arrive(self):
        texts = ["", "héllo", "漢字 🙂", "a\x00b"]
        np.testing.assert_array_equal(rows_of(self.server.encode(texts)), known_rows(texts))

    def test_an_exception_is_the_error_of_its_request_with_type_and_message(self):
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE,
                           "Replica failure: 3 attempts failed, the last: prompt 2: ArithmeticError: so it is",
                           ["a", "b", "raise so it is", "c"])
        until(lambda: printed(self.server, "in obey"), "the traceback is in the log")

    def test_what_can_hardly_be_said_is_said_all_the_same(self):
        for text, said in (("raise-what-cannot-be-shown", r"Unshowable: \(an exception that cannot be shown\)"),
                           ("raise-half-a-character", r"OSError: no file \?")):
            self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, said, [text])
        self.check_refused(self.server, grpc.StatusCode.INVALID_ARGUMENT, "^Prompt 1: 42$", ["a", "number-as-a-reason"])

    def test_rows_that_a_thread_still_writes_to_are_not_anybody_elses(self):
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, "TimeoutError: gave up", ["leave-it-to-a-thread"])
        texts = [f"after the thread {i}" for i in range(200)]
        np.testing.assert_array_equal(rows_of(self.server.encode(texts)), known_rows(texts))

    def test_processes_of_an_engine_hear_signals(self):
        for text in ("end-a-child", "end-a-fork"):
            np.testing.assert_array_equal(rows_of(self.server.encode([text])), known_rows([text]))

    def test_exit_is_an_exception_like_any_other(self):
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, "prompt 0: SystemExit: 3", ["exit now"])

    def test_a_rejected_prompt_is_named_and_tried_once(self):
        self.check_refused(self.server, grpc.StatusCode.INVALID_ARGUMENT, "^Prompt 5: no such thing$",
                           ["a", "b", "c", "d", "e", "reject me", "f"])

    def test_the_client_names_the_prompt_by_its_place_in_the_callers_list(self):
        with zerohop.Client(self.server.address, batch_prompts=4, in_flight=1) as client:
            with self.assertRaisesRegex(zerohop.Unavailable, "could not embed prompt 9: .*ArithmeticError: it") as caught:
                client.embed(["a"] * 9 + ["raise it"])
            self.assertEqual(caught.exception.index, 9)

    def test_a_bad_prompt_costs_its_own_request_alone(self):
        calls = [self.server.stub.Encode.future(pb.EncodeRequest(prompts=[text], n_prompts=1, model_name=self.server.model))
                 for i in range(40) for text in (f"good {i}", "raise it" if i % 10 == 0 else f"fine {i}")]
        for i, call in enumerate(calls):
            if i % 20 == 1:
                self.assertEqual(call.exception().code(), grpc.StatusCode.UNAVAILABLE)
            else:
                text = f"fine {i // 2}" if i % 2 else f"good {i // 2}"
                np.testing.assert_array_equal(rows_of(call.result()), known_rows([text]))

    def test_a_row_that_was_not_filled_is_an_error_and_no_answer(self):
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, "embed did not fill its row", ["forget it"])
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, r"ValueError: the rows take \(1, 16\) floats, got \(2, 16\)",
                           ["another shape"])

    def test_rows_may_be_filled_in_any_way(self):
        texts = [f"backwards {i}" for i in range(7)]
        np.testing.assert_array_equal(rows_of(self.server.encode(texts)), known_rows(texts))

    def test_the_interpreters_lock_may_be_held_for_longer_than_a_beat(self):
        np.testing.assert_array_equal(rows_of(self.server.encode(["hold-the-gil-for 2.5"])),  # beats are due within 2 s
                                      known_rows(["hold-the-gil-for 2.5"]))

    def test_what_it_prints_is_in_the_log(self):
        self.server.encode(["print a line of mine"])
        until(lambda: printed(self.server, ".1: a line of mine"), "the line is logged")


class Crashing(unittest.TestCase, Refused):
    def test_a_segfault_is_retried_on_another_replica(self):
        with tempfile.NamedTemporaryFile(delete=False) as trigger, serve("Plain") as server:
            text = f"segfault-while-there-is {trigger.name}"
            np.testing.assert_array_equal(rows_of(server.encode([text, "beside it"])), known_rows([text, "beside it"]))
            until(lambda: sum(int(field_of(r, "restarts")) for r in server.info().replica_infos) == 1, "it is replaced")
            self.assertIn("Segmentation fault", " ".join(server.log))
            self.assertTrue(printed(server, "in embed"), "faulthandler shows where")

    def test_a_text_that_kills_every_replica_fails_alone(self):
        with serve("Plain") as server:
            self.check_refused(server, grpc.StatusCode.UNAVAILABLE, "Replica failure: 3 attempts failed", ["segfault"])
            server.wait_healthy(2)
            np.testing.assert_array_equal(rows_of(server.encode(["next"])), known_rows(["next"]))

    def test_what_the_server_has_given_up_is_not_sent_again_by_the_client(self):
        with serve("Plain") as server, zerohop.Client(server.address) as client:
            with self.assertRaisesRegex(zerohop.Unavailable, "Replica failure: 3 attempts failed"):
                client.embed(["segfault"])
            server.wait_healthy(2)
            self.assertEqual(sum(int(field_of(r, "restarts")) for r in server.info().replica_infos), 3)

    def test_a_pass_that_never_ends_is_ended_though_it_holds_the_interpreters_lock(self):
        with serve("Plain", "--step-timeout=0.5") as server:
            self.check_refused(server, grpc.StatusCode.UNAVAILABLE, "Replica failure: 3 attempts failed.*hang",
                               ["hold-the-gil-for 600"])
            server.wait_healthy(2)

    def test_what_a_replica_has_started_ends_with_it(self):
        with serve("Plain", replicas=1) as server:
            server.encode(["have-a-child"])
            until(lambda: printed(server, ": child "), "the child is known")
            child = int(next(line for line in server.log if ": child " in line).rsplit(" ", 1)[1])
            os.kill(server.replica_pids()[0], signal.SIGKILL)
            until(lambda: not runs(child), "the child is gone")

    def test_what_a_replica_has_started_ends_with_a_broker_that_is_killed(self):
        with serve("Tasks", replicas=1) as server:
            server.encode(["have-a-child"])
            until(lambda: printed(server, ": child "), "the child is known")
            child = int(next(line for line in server.log if ": child " in line).rsplit(" ", 1)[1])
            os.kill(server.process.pid, signal.SIGKILL)
            until(lambda: not runs(child), "the child is gone")

    def test_killed_under_load_nothing_is_lost(self):
        with serve("Plain", "--delay=0.002") as server:
            stop, wrong, answered = threading.Event(), [], []

            def client(seed):
                i = 0
                while not stop.is_set():
                    texts = [f"{seed} {i} {k}" for k in range(5)]
                    i += 1
                    try:
                        right = np.array_equal(rows_of(server.encode(texts)), known_rows(texts))
                    except grpc.RpcError as error:
                        right = wrong.append(str(error))
                    (answered if right else wrong).append(texts)

            threads = [threading.Thread(target=client, args=(i,)) for i in range(6)]
            for thread in threads:
                thread.start()
            for generation in range(1, 4):
                before = len(answered)
                until(lambda: len(answered) > before + 50 or wrong, "it answers")
                os.kill(server.replica_pids()[generation % 2], signal.SIGKILL)
                server.wait_healthy(1)
            stop.set()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])


class Tasks(unittest.TestCase, Refused):
    @classmethod
    def setUpClass(cls):
        cls.server = serve("Tasks", replicas=1)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def start(self, text, **kwargs):
        timeout = kwargs.pop("timeout", PATIENCE_S)
        request = pb.EncodeRequest(request_id=text, prompts=[text], n_prompts=1, model_name=self.server.model, **kwargs)
        return self.server.stub.Encode.future(request, timeout=timeout)

    def count(self, words):
        return sum(words in line for line in list(self.server.log))

    def test_several_submissions_are_in_the_engine_at_once(self):
        calls = [self.start("meet 12") for _ in range(12)]
        for call in calls:
            np.testing.assert_array_equal(rows_of(call.result()), known_rows(["meet 12"]))
        self.assertEqual(field_of(self.server.info().replica_infos[0], "engine"), "tasks")

    def test_an_index_beyond_the_batch_is_the_engines_mistake(self):
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, "prompt 1: InvalidPrompt: prompt 99 of the batch: too far",
                           ["a", "reject-beyond"])

    def test_many_prompts_come_back_in_order(self):
        texts = [f"text {i}" for i in range(10_000)]
        np.testing.assert_array_equal(rows_of(self.server.encode(texts)), known_rows(texts))

    def test_an_aborted_request_is_cancelled_in_the_engine_and_knows_its_priority(self):
        ended = self.count("no longer waits")
        call = self.start("wait for it", priority=7)
        until(lambda: self.count("waits: priority 7"), "the engine has it")
        self.assertTrue(self.server.stub.Abort(pb.AbortRequest(request_id="wait for it")).success)
        self.assertEqual(call.exception().code(), grpc.StatusCode.CANCELLED)
        until(lambda: self.count("no longer waits") > ended, "the engine lets go")

    def test_a_passed_deadline_cancels_in_the_engine(self):
        ended = self.count("no longer waits")
        call = self.start("wait long", timeout=0.3)
        self.assertEqual(call.exception().code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        until(lambda: self.count("no longer waits") > ended, "the engine lets go")
        self.assertTrue(printed(self.server, "has a deadline: True"))

    def test_rows_that_a_cancelled_task_has_left_to_a_thread_are_not_anybody_elses(self):
        late = [self.start(f"leave-it-to-a-thread {i}", timeout=0.1) for i in range(4)]
        for call in late:
            self.assertEqual(call.exception().code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        for k in range(10):
            texts = [f"{k} after the thread {i}" for i in range(100)]
            np.testing.assert_array_equal(rows_of(self.server.encode(texts)), known_rows(texts))

    def test_rows_of_an_attempt_that_failed_are_no_answer(self):
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, "RuntimeError: embed did not fill its row",
                           ["fill-then-raise", "b"])

    def test_an_engine_that_finishes_nothing_is_replaced_though_callers_give_up_sooner(self):
        with serve("Tasks", "--step-timeout=0.5", replicas=1) as server:
            def restarts():
                with self.assertRaises(grpc.RpcError):
                    server.encode(["wait"], timeout=0.1)
                return int(field_of(server.info().replica_infos[0], "restarts"))

            until(lambda: restarts() > 0, "the replica is replaced")
            until(lambda: printed(server, "hang: the engine has had work for"), "it says why")

    def test_health_is_asked_for_only_when_it_has_loaded(self):
        with serve("Tasks", "--load-for=1.5", replicas=1) as server:
            self.assertEqual(field_of(server.info().replica_infos[0], "restarts"), "0")

    def test_what_is_cancelled_before_it_could_begin_is_let_go_of(self):
        said = self.count("a hog")
        blocker = self.start("print a hog")
        until(lambda: self.count("a hog") > said, "the loop is at work")
        blocker = self.start("hold-the-gil-for 0.5")
        calls = [self.start(f"wait in line {i}", timeout=0.2) for i in range(20)]
        for call in calls:
            self.assertEqual(call.exception().code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        np.testing.assert_array_equal(rows_of(blocker.result()), known_rows(["hold-the-gil-for 0.5"]))
        replica = lambda: self.server.info().replica_infos[0]
        until(lambda: field_of(replica(), "shards") == "0", "the engine holds nothing")
        self.assertEqual(field_of(replica(), "restarts"), "0")

    def test_errors_name_the_prompt(self):
        self.check_refused(self.server, grpc.StatusCode.INVALID_ARGUMENT, "^Prompt 1: no such thing$", ["a", "reject", "b"])
        self.check_refused(self.server, grpc.StatusCode.UNAVAILABLE, "prompt 2: ArithmeticError: it",
                           ["a", "b", "raise it", "c"])
        self.check_refused(self.server, grpc.StatusCode.INVALID_ARGUMENT,
                           "^Prompt 0: this engine takes texts, got token ids$", (), ids=[[1]])

    def test_an_engine_that_is_not_well_is_replaced(self):
        with serve("Tasks", replicas=1) as server:
            server.encode(["fall-ill"])
            until(lambda: field_of(server.info().replica_infos[0], "restarts") == "1", "it is replaced")
            self.assertIn("the engine is not healthy: ConnectionError: the core is dead",
                          field_of(server.info().replica_infos[0], "last_death"))
            server.wait_healthy(1)
            np.testing.assert_array_equal(rows_of(server.encode(["well"])), known_rows(["well"]))


class Starting(unittest.TestCase):
    def test_the_example_runs(self):
        with Server(PYTHON, engine=str(EXAMPLE), replicas=1) as server:
            self.assertEqual(server.model, "my_engine")
            row = rows_of(server.encode(["abba"]))[0]
            np.testing.assert_allclose(row, np.array([1, 1] + [0] * 24) / np.sqrt(2), rtol=1e-6)

    def test_an_array_may_be_returned(self):
        with serve("Returning", replicas=1) as server:
            texts = [f"{i}" for i in range(100)]
            np.testing.assert_array_equal(rows_of(server.encode(texts)), known_rows(texts))

    def test_a_start_that_cannot_succeed_is_one_sentence(self):
        for engine, flags, sentence in (
                ("known_engines:Plain", ["--fail-to-load"], "RuntimeError: the weights are not there"),
                ("known_engines:Plain", ["--delay=soon"], "--delay: expected float, got 'soon'"),
                ("known_engines:Plain", ["--bogus", "3"], "nobody takes --bogus"),
                ("known_engines:NoEmbed", [], "NoEmbed has no method embed"),
                ("known_engines:WrongInfo", [], "info().dim is 0, expected an integer of at least 1"),
                ("known_engines:Misspelt", [], "info() has an unknown key 'max_token'"),
                ("known_engines:Wide", [], "info().dim is 1000000, expected at most 524287"),
                ("known_engines:Dimless", [], "info() does not say dim"),
                ("known_engines:HalfAsync", [], "HalfAsync.load is `async def` and embed is not"),
                (str(EXAMPLE.parents[2] / "tests" / "process" / "load.py"), [], "has ended without a call of zerohop.replica.serve"),
                ("known_engines:Nobody", [], "the module known_engines has no Nobody"),
                ("no_such_module:Engine", [], "ModuleNotFoundError: No module named 'no_such_module'"),
                ("oracle", [], "expected openvino, echo, vllm, sentence-transformers, module:Class"),
                ("known_engines:Plain", ["--batch-tokens=512"], "--batch-tokens is for the engine openvino, not for known_engines:Plain"),
                ("no_such_file.py", [], "no such file")):
            with self.subTest(engine=engine, flags=flags):
                done = subprocess.run([f"{BIN}/zerohop", "serve", "--host=127.0.0.1", "--port=0", "--num-replicas=1", PYTHON,
                                       f"--engine={engine}", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                      text=True, timeout=PATIENCE_S)
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(sentence, done.stderr)

    def test_a_drained_server_leaves_with_its_replicas(self):
        for engine in ("Plain", "Tasks"):
            with serve(engine) as server:
                pids = server.replica_pids()
                server.encode(["a"])
                server.channel.close()
                self.assertEqual(server.stop(signal.SIGTERM), 0)
                self.assertEqual(sum(line.endswith(": closed") for line in server.log), 2, server.log)
                self.assertEqual([pid for pid in pids if runs(pid)], [])
                self.assertFalse(printed(server, "died"), server.log)


    def test_a_coroutine_in_disguise_is_told_to_show_itself(self):
        with serve("Disguised", replicas=1) as server:
            with self.assertRaises(grpc.RpcError) as caught:
                server.encode(["a"])
            self.assertIn("embed returned something to be awaited", caught.exception.details())

    def test_an_engine_that_is_started_by_hand_says_who_starts_engines(self):
        for engine in ("Plain", "Tasks"):
            command = [sys.executable, "-m", "zerohop.replica", f"--engine=known_engines:{engine}"]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, "^a replica is started by `zerohop serve`.*--connect SOCKET\n$")


class Attached(unittest.TestCase):
    def test_a_warm_engine_goes_from_one_broker_to_the_next(self):
        for engine in ("Plain", "Tasks"):
            with self.subTest(engine=engine), tempfile.TemporaryDirectory() as folder:
                self.check_warm(engine, f"{folder}/control")

    def check_warm(self, engine, socket):
        command = [sys.executable, "-m", "zerohop.replica", f"--engine=known_engines:{engine}", f"--connect={socket}"]
        with subprocess.Popen(command) as replica:
            try:
                for _ in range(3):
                    with Server("--replica-mode=attach", f"--control-socket={socket}", replicas=1) as server:
                        self.assertEqual(server.replica_pids(), [replica.pid])
                        np.testing.assert_array_equal(rows_of(server.encode(["warm"])), known_rows(["warm"]))
            finally:
                replica.kill()


if __name__ == "__main__":
    unittest.main()

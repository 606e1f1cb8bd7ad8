"""Local consumers, whose rows stay on the GPU: what they get, what it costs, and what they cannot break.

The consumer here knows the protocol alone (consumer_process.py). On the emulated driver undefined
behaviour aborts, fresh memory reads as NaN, and work begins late.
"""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import grpc
import numpy as np
from device import IS_REAL, NEEDS_EMULATOR, PROGRAM, a_gpu
from device_test import NOTHING_GIVEN_BACK, PROOF_BYTES, refusal, serve
from load import DIM, Load
from server import BIN, PATIENCE_S, RETURN, echo_rows, field_of, is_running, rows_of, stopped, until

assert RETURN is None, "these tests choose the return path"
TEXTS = [f"text {i}" for i in range(100)]
ROW = DIM * 4
ARENA = 1 << 20  # the least


class Consumer:
    """A process at the other end of the consumers' socket. Use as a context manager."""

    def __init__(self, server, path):
        script = pathlib.Path(__file__).with_name("consumer_process.py")
        self.process = subprocess.Popen([sys.executable, script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **server.gpu.env_of_python()})
        self.ids = itertools.count(1)
        self.answers = {}

    def do(self, what, **arguments):
        self.process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the consumer died of {what}"
        return json.loads(answer)

    def say(self, message):
        self.do("say", message=message)

    def hear(self):
        return self.do("hear")

    def hello(self, server):
        self.say({"type": "hello", "protocol": 1, "device": uuid_of(server)})
        offer = self.hear()
        assert offer["type"] == "offer", offer
        self.do("open")
        return offer["arena"]

    def begin(self, texts, timeout_s=0):
        number = next(self.ids)
        self.say({"type": "embed", "id": number, "texts": texts, "timeout_ns": int(timeout_s * 1e9)})
        return number

    def answer(self, number):
        while number not in self.answers:
            message = self.hear()
            assert message is not None, "the server hung up"
            self.answers[message["id"]] = message
        return self.answers.pop(number)

    def embed(self, texts, **options):
        return self.answer(self.begin(texts, **options))

    def rows(self, leased):
        floats = self.do("read", offset=leased["offset"], floats=leased["rows"] * leased["dim"])
        return np.asarray(floats, np.float32).reshape(leased["rows"], leased["dim"])

    def rows_of_the_first(self, leased):
        """In the arena that was remembered."""
        floats = self.do("read", offset=leased["offset"], floats=leased["rows"] * leased["dim"], remembered=True)
        return np.asarray(floats, np.float32).reshape(leased["rows"], leased["dim"])

    def give_back(self, leased):
        self.say({"type": "return", "lease": leased["lease"]})

    def leave(self):
        """As it should: the arena is closed, and it says so."""
        self.do("close")
        self.say({"type": "closed"})
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def allocations_of(server):
    """On the device, so far; always 0 on a real one, which does not count."""
    return 0 if IS_REAL else server.gpu.count("allocations", server.process.pid)


def uuid_of(server):
    return field_of(server.info().replica_infos[0], "device")


class WithConsumers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = f"{folder.name}/consumers"

    def serve(self, *flags, **options):
        return serve("cuda_ipc", f"--consumer-socket={self.path}", "--lease-arena-mib=1", *flags, **options)

    @contextlib.contextmanager
    def served(self, *flags, **options):
        with self.serve(*flags, **options) as server, Consumer(server, self.path) as consumer:
            consumer.hello(server)
            yield server, consumer

    def check_works(self, consumer):
        leased = consumer.embed(TEXTS)
        np.testing.assert_array_equal(consumer.rows(leased), echo_rows(TEXTS, DIM))
        consumer.give_back(leased)

    def check_others_are_served(self, server):
        with Consumer(server, self.path) as other:
            other.hello(server)
            self.check_works(other)
        np.testing.assert_array_equal(rows_of(server.encode(TEXTS)), echo_rows(TEXTS, DIM))


class Rows(WithConsumers):
    def test_rows_are_right_and_no_byte_of_them_comes_to_the_host(self):
        with self.serve() as server:
            with Consumer(server, self.path) as consumer:
                consumer.hello(server)
                for leased in [consumer.embed(TEXTS) for _ in range(20)]:
                    self.assertEqual((leased["rows"], leased["dim"]), (len(TEXTS), DIM))
                    np.testing.assert_array_equal(consumer.rows(leased), echo_rows(TEXTS, DIM))
                for pid in (server.process.pid, *server.replica_pids()):
                    self.assertIn(server.gpu.count("bytes_dtoh", pid), (0, PROOF_BYTES))
                self.assertEqual(server.gpu.count("opens", consumer.process.pid), 1)
                consumer.leave()
            pid = server.process.pid
            server.channel.close()
            self.assertEqual(server.stop(), 0)
            broker = server.gpu.reports()[pid]
            self.assertEqual(set(broker["leaks"].values()), {0}, broker)
            self.assertEqual((broker["counters"]["pageable_copies"], broker["counters"]["undefined"]), (0, 0))
            self.assertEqual(broker["counters"]["bytes_htod"], 3 * PROOF_BYTES, "of two lanes' arenas and the consumer's")

    def test_one_request_that_many_replicas_share_is_one_piece(self):
        texts = [f"{i} of them" for i in range(5000)]
        with self.served() as (_, consumer):
            leased = consumer.embed(texts)
            np.testing.assert_array_equal(consumer.rows(leased), echo_rows(texts, DIM))

    def test_many_requests_at_once_each_get_their_own(self):
        with self.served() as (_, consumer):
            sent = {consumer.begin([f"{i} a", f"{i} b"]): [f"{i} a", f"{i} b"] for i in range(200)}
            places = set()
            for number, texts in sent.items():
                leased = consumer.answer(number)
                places.add(leased["offset"])
                np.testing.assert_array_equal(consumer.rows(leased), echo_rows(texts, DIM))
            self.assertEqual(len(places), len(sent), "no two leases are the same memory")

    def test_two_consumers_have_an_arena_each(self):
        with self.served() as (server, one), Consumer(server, self.path) as two:
            self.assertNotEqual(two.hello(server)["ipc"], "")
            first, second = one.embed(["of one"]), two.embed(["of two"])
            np.testing.assert_array_equal(one.rows(first), echo_rows(["of one"], DIM))
            np.testing.assert_array_equal(two.rows(second), echo_rows(["of two"], DIM))

    @NEEDS_EMULATOR
    def test_rows_of_a_replica_that_fell_back_to_the_host_reach_the_consumer_too(self):
        with self.served() as (server, consumer):
            server.gpu.break_("cuIpcOpenMemHandle:err=400")
            for victim in server.replica_pids():
                os.kill(victim, signal.SIGKILL)
                until(lambda victim=victim: victim not in server.replica_pids(), "its death is seen")
                server.wait_healthy(2)
            self.check_works(consumer)

    def test_replicas_that_die_lose_no_request(self):
        with self.served("--echo-delay-us=2000") as (server, consumer):
            for victim in server.replica_pids():
                sent = {consumer.begin([f"{victim} {i}"]): f"{victim} {i}" for i in range(50)}
                os.kill(victim, signal.SIGKILL)
                for number, text in sent.items():
                    leased = consumer.answer(number)
                    np.testing.assert_array_equal(consumer.rows(leased), echo_rows([text], DIM))
                    consumer.give_back(leased)
                server.wait_healthy(2)


class Refusals(WithConsumers):
    def test_what_cannot_be_embedded(self):
        with self.served() as (_, consumer):
            nothing = consumer.embed([])
            self.assertEqual((nothing["type"], nothing["code"]), ("not_embedded", "INVALID_ARGUMENT"))
            large = consumer.embed(["x"] * (ARENA // ROW))
            self.assertEqual(large["code"], "RESOURCE_EXHAUSTED")
            self.check_works(consumer)

    def test_a_request_whose_time_is_over(self):
        with self.served("--echo-delay-us=200000") as (_, consumer):
            late = consumer.embed(["x"], timeout_s=0.001)
            self.assertEqual(late["code"], "DEADLINE_EXCEEDED")
            self.check_works(consumer)

    def test_flags_that_do_not_go_together(self):
        ended = self.run_serve("--consumer-socket=/tmp/x", "--return=host")
        self.assertEqual(ended.returncode, 2)
        self.assertIn("--consumer-socket is not for --return host", ended.stderr)
        ended = self.run_serve("--return=cuda_ipc", "--lease-arena-mib=3")
        self.assertIn("power of two", ended.stderr)

    def test_consumers_need_no_other_flag(self):
        flags = (f"--consumer-socket={self.path}", "--lease-arena-mib=1")
        with serve("auto", *flags) as server, Consumer(server, self.path) as consumer:
            consumer.hello(server)
            self.check_works(consumer)

    def test_a_socket_that_another_server_has(self):
        with self.serve() as server:
            sentence = refusal("--return=cuda_ipc", f"--replica-program={PROGRAM}", f"--consumer-socket={self.path}",
                               env=server.gpu.env())
        self.assertIn("another broker listens there", sentence)

    def run_serve(self, *flags):
        gpu = a_gpu()
        self.addCleanup(gpu.remove)
        return subprocess.run([f"{BIN}/zerohop", "serve", "--engine=echo", "--port=0", *flags], capture_output=True, text=True,
                              env={**os.environ, **gpu.env()})


class Leases(WithConsumers):
    def test_room_comes_back_with_the_leases(self):
        with self.served() as (_, consumer):
            for _ in range(3 * ARENA // (128 << 10)):
                leased = consumer.embed(["x"] * ((128 << 10) // ROW))
                self.assertEqual(leased["type"], "leased", leased)
                consumer.give_back(leased)

    def test_leases_that_are_kept_fill_the_consumers_own_arena_and_nothing_else(self):
        with self.served() as (server, consumer):
            kept = []
            while (leased := consumer.embed(["x"] * ((64 << 10) // ROW)))["type"] == "leased":
                kept.append(leased)
            self.assertEqual(leased["code"], "RESOURCE_EXHAUSTED")
            self.assertIn(f"{len(kept)} leases", leased["reason"])
            self.check_others_are_served(server)
            for lease in kept:
                consumer.give_back(lease)
            self.check_works(consumer)

    def test_a_lease_that_is_given_back_twice_or_was_never_given(self):
        with self.served() as (server, consumer):
            first = consumer.embed(["first"])
            consumer.give_back(first)
            consumer.give_back(first)
            second = consumer.embed(["second"])
            for lease in (first["lease"], 0, 2**64 - 1, second["lease"] + 1):
                consumer.say({"type": "return", "lease": lease})
            third = consumer.embed(["third"])
            self.assertNotEqual(third["offset"], second["offset"])
            np.testing.assert_array_equal(consumer.rows(second), echo_rows(["second"], DIM))
            np.testing.assert_array_equal(consumer.rows(third), echo_rows(["third"], DIM))
            self.check_others_are_served(server)


class Shown(WithConsumers):
    """What the server says of its consumers: as of the desk's last turn, so what was just done shows soon."""

    TAKEN = 4096  # by the rows of TEXTS: whole blocks

    def check_is_shown(self, server, consumers, **all_):
        """These by pid, no others, and all together; a figure that is not named is zero."""
        figures = dict.fromkeys(("leases", "requests", "bytes_taken", "arena_bytes", "accepted", "refused"), "0")
        wanted = ({"connected": "0", **figures, "let_go": "0", **texts_of(all_)},
                  {str(pid): {"state": "served", **figures, "arena_bytes": str(ARENA), **texts_of(said)}
                   for pid, said in consumers.items()})
        shown = []

        def is_shown():
            info = server.info()
            each = {one.pop("pid"): one for one in map(fields_of, info.consumer_infos)}
            for one in each.values():
                self.assertGreater(int(one.pop("consumer")), 0)
            shown[:] = [fields_of(info.consumers), each]
            return (*shown,) == wanted and len(each) == len(info.consumer_infos)

        with contextlib.suppress(AssertionError):
            until(is_shown, "it is shown")
        self.assertEqual((*shown,), wanted)

    def test_each_with_what_it_holds_and_all_of_them_together(self):
        with self.serve() as server, Consumer(server, self.path) as one, Consumer(server, self.path) as two:
            one.hello(server)
            two.hello(server)
            first, second = one.process.pid, two.process.pid
            kept = [one.embed(TEXTS) for _ in range(3)]
            two.embed([])
            holds = {"leases": 3, "bytes_taken": 3 * self.TAKEN, "accepted": 3}
            self.check_is_shown(server, {first: holds, second: {"refused": 1}},
                                connected=2, **holds, refused=1, arena_bytes=2 * ARENA)
            self.check_the_command_prints(server)
            one.give_back(kept[0])
            one.give_back(kept[0])
            holds = {"leases": 2, "bytes_taken": 2 * self.TAKEN, "accepted": 3}
            self.check_is_shown(server, {first: holds, second: {"refused": 1}},
                                connected=2, **holds, refused=1, arena_bytes=2 * ARENA)
            one.kill()  # what was counted of it stays
            self.check_is_shown(server, {second: {"refused": 1}}, connected=1, accepted=3, refused=1, arena_bytes=ARENA)
            two.leave()
            self.check_is_shown(server, {}, accepted=3, refused=1)

    def check_the_command_prints(self, server):
        info = server.info()
        printed = subprocess.run([f"{BIN}/zerohop", "info", f"--addr={server.address}"], check=True, capture_output=True, text=True).stdout
        self.assertEqual(printed.splitlines()[-4:], ["consumers", *(f"    {text}" for text in (info.consumers, *info.consumer_infos))])

    def test_requests_that_are_under_way_and_the_room_that_is_taken_for_them(self):
        with self.served("--health-interval=60") as (server, consumer):
            with stopped(server.replica_pids()):
                number = consumer.begin(TEXTS)
                holds = {"requests": 1, "bytes_taken": self.TAKEN, "accepted": 1}
                self.check_is_shown(server, {consumer.process.pid: holds}, connected=1, arena_bytes=ARENA, **holds)
            self.assertEqual(consumer.answer(number)["type"], "leased")

    def test_who_was_let_go_and_may_have_its_arena_open(self):
        with self.serve() as server:
            with Consumer(server, self.path) as liar:
                liar.hello(server)
                liar.embed(TEXTS)
                liar.say("no json")
                self.assertIsNone(liar.hear())
                left = {liar.process.pid: {"state": "left", "accepted": 1}}
                self.check_is_shown(server, left, arena_bytes=ARENA, accepted=1, let_go=1)
            self.check_is_shown(server, {}, accepted=1, let_go=1)

    def test_one_who_has_let_go_of_its_arena_is_shown_no_more(self):
        with self.served() as (server, consumer):
            self.check_is_shown(server, {consumer.process.pid: {}}, connected=1, arena_bytes=ARENA)
            consumer.do("close")
            consumer.say({"type": "closed"})
            consumer.do("connect", path=self.path)
            self.check_is_shown(server, {consumer.process.pid: {"state": "greeting", "arena_bytes": 0}}, connected=1)

    def test_one_who_has_not_said_hello(self):
        with self.serve() as server, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
            silent.connect(self.path)
            self.check_is_shown(server, {os.getpid(): {"state": "greeting", "arena_bytes": 0}}, connected=1)


def fields_of(text):
    return dict(pair.split("=") for pair in text.split())


def texts_of(figures):
    return {name: str(value) for name, value in figures.items()}


class Deaths(WithConsumers):
    def test_consumers_that_are_killed_harm_nobody(self):
        with self.serve("--echo-delay-us=300") as server:
            load = Load(server, clients=4)
            for _ in range(5):
                with Consumer(server, self.path) as victim:
                    victim.hello(server)
                    victim.embed(["held"])
                    for i in range(100):
                        victim.begin([f"under way {i}"])
                    victim.kill()
            load.wait_answers(50)
            load.check(self)
            self.check_others_are_served(server)
            until(lambda: sum("is gone" in line for line in server.log) == 6, "each death is seen")
            pid = server.process.pid
            server.channel.close()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(set(server.gpu.reports()[pid]["leaks"].values()), {0})

    @NEEDS_EMULATOR
    def test_consumers_that_die_in_any_call_of_the_driver_harm_nobody(self):
        calls = ("cuIpcOpenMemHandle", "cuMemcpyDtoHAsync", "cuStreamSynchronize", "cuIpcCloseMemHandle")
        with self.serve() as server:
            for call, moment in itertools.product(calls, ("before", "after")):
                with self.subTest(call=call, moment=moment), Consumer(server, self.path) as victim:
                    victim.do("remember")  # it has an answer once the driver is open in it
                    server.gpu.break_(f"{call}:sigkill={moment}", victim.process.pid)
                    with self.assertRaisesRegex(AssertionError, "the consumer died of"):
                        victim.hello(server)
                        victim.rows(victim.embed(TEXTS))
                        victim.do("close")
                    self.assertEqual(victim.process.wait(PATIENCE_S), -signal.SIGKILL)
                    self.check_others_are_served(server)
            pid = server.process.pid
            server.channel.close()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(set(server.gpu.reports()[pid]["leaks"].values()), {0})
            self.assertEqual(server.gpu.reports()[pid]["counters"]["undefined"], 0)

    def test_a_process_that_comes_again_finds_its_arena_and_takes_no_more_memory(self):
        with self.served() as (server, consumer):
            kept = consumer.embed(["kept"])
            allocations = allocations_of(server)
            consumer.do("close")
            consumer.say({"type": "closed"})
            consumer.do("connect", path=self.path)
            consumer.hello(server)
            self.assertEqual(allocations_of(server), allocations)
            consumer.give_back(kept)  # of the connection before: nobody's
            self.check_works(consumer)

    def test_one_who_let_go_and_hung_up_before_it_could_be_answered_finds_its_arena_too(self):
        with self.served() as (server, consumer):
            allocations = allocations_of(server)
            consumer.do("close")
            with stopped([server.process.pid]):
                consumer.begin([])  # is refused at once, to nobody
                consumer.say({"type": "closed"})
                consumer.do("connect", path=self.path)
            consumer.hello(server)
            self.assertEqual(allocations_of(server), allocations)
            self.check_works(consumer)

    def test_a_process_that_may_still_read_its_arena_gets_another(self):
        with self.served() as (server, consumer):
            kept = consumer.embed(["kept"])
            consumer.say({"type": "nonsense"})
            self.assertIsNone(consumer.hear())
            first = consumer.do("remember")
            consumer.do("connect", path=self.path)
            self.assertNotEqual(consumer.hello(server)["ipc"], first["ipc"])
            self.check_works(consumer)
            np.testing.assert_array_equal(consumer.rows_of_the_first(kept), echo_rows(["kept"], DIM))

    def test_places_of_those_who_have_left_are_free_again(self):
        with self.served() as (server, consumer):
            for _ in range(70):  # more than there are
                consumer.do("close")
                consumer.say({"type": "closed"})
                consumer.do("connect", path=self.path)
                consumer.hello(server)
            self.check_works(consumer)

    @NEEDS_EMULATOR
    def test_when_the_device_is_lost_every_consumer_hears_why(self):
        with self.served("--step-timeout=1", env=NOTHING_GIVEN_BACK) as (server, consumer):
            server.gpu.break_("async:err=700", server.process.pid)
            answer = consumer.embed(["x"])
            self.assertEqual(answer["code"], "UNAVAILABLE")
            self.assertIn("CUDA_ERROR_ILLEGAL_ADDRESS", answer["reason"])
            self.assertEqual(consumer.embed(["y"])["code"], "UNAVAILABLE")
            np.testing.assert_array_equal(rows_of(server.encode(TEXTS)), echo_rows(TEXTS, DIM))


class Undefined(WithConsumers):
    """Memory whose owner goes while others have it open: whatever a driver makes of it (tests/fake_cuda/undefined.h)."""

    # Where it is the server's doing, "abort" would end it. A real driver has a way of its own.
    WHATEVER = ("its own",) if IS_REAL else ("poison", "pin")
    KILLED = WHATEVER if IS_REAL else ("abort", *WHATEVER)
    ROOM_FOR_ONE = {} if IS_REAL else {"FAKECU_TOTAL_MB": "64"}  # server, and not for two

    @contextlib.contextmanager
    def under(self, policy):
        with self.subTest(policy=policy), mock.patch.dict(os.environ, {} if IS_REAL else {"FAKECU_UB": policy}):
            yield

    def check_still_works(self, consumer, leased):
        """As a process; what it reads, nobody knows."""
        self.assertEqual(consumer.rows(leased).shape, (leased["rows"], leased["dim"]))
        consumer.do("close")

    def check_the_gpu_is_left_to_the_next(self, server, replicas, consumer, held):
        """After the server's death, with a consumer of it that holds a lease."""
        until(lambda: not any(map(is_running, replicas)), "its replicas are gone")
        while consumer.hear() is not None:
            pass
        self.check_still_works(consumer, held)
        with self.serve(env={**server.gpu.env(), **self.ROOM_FOR_ONE}) as following:
            consumer.do("connect", path=self.path)
            consumer.hello(following)
            self.check_works(consumer)
            np.testing.assert_array_equal(rows_of(following.encode(TEXTS)), echo_rows(TEXTS, DIM))
            consumer.leave()

    def test_a_server_that_ends_tells_its_consumers_and_does_not_wait_long_for_them(self):
        for policy in self.WHATEVER:
            with self.under(policy), self.served() as (server, consumer):
                held = consumer.embed(["held"])
                server.channel.close()
                self.assertEqual(server.stop(), 0)
                self.assertIsNone(consumer.hear())
                self.check_still_works(consumer, held)

    def test_a_server_that_is_killed_leaves_the_gpu_to_the_next(self):
        for policy in self.KILLED:
            with self.under(policy), self.served("--echo-delay-us=1000", env=self.ROOM_FOR_ONE) as (server, consumer):
                held = consumer.embed(["held"])
                for i in range(100):
                    consumer.begin([f"under way {i}"])
                replicas = server.replica_pids()
                server.stop(signal.SIGKILL)
                self.check_the_gpu_is_left_to_the_next(server, replicas, consumer, held)

    @NEEDS_EMULATOR
    def test_a_server_that_dies_in_any_call_of_the_driver_leaves_the_gpu_to_the_next(self):
        of_arenas, of_rows = ("cuMemAlloc", "cuIpcGetMemHandle", "cuMemcpyHtoDAsync"), ("cuMemcpyDtoHAsync", "cuMemcpyDtoDAsync", "cuStreamQuery")
        for call, moment in itertools.product((*of_arenas, *of_rows), ("before", "after")):
            with self.subTest(call=call, moment=moment), self.served(env=self.ROOM_FOR_ONE) as (server, consumer):
                held = consumer.embed(["held"])
                replicas = server.replica_pids()
                server.gpu.break_(f"{call}:sigkill={moment}", server.process.pid)
                if call in of_arenas:
                    os.kill(replicas[0], signal.SIGKILL)  # its successor gets a new one
                else:
                    consumer.begin(["under way"])
                    with contextlib.suppress(grpc.RpcError):
                        server.encode(TEXTS)
                self.assertEqual(server.process.wait(PATIENCE_S), -signal.SIGKILL)
                self.check_the_gpu_is_left_to_the_next(server, replicas, consumer, held)

    def test_an_arena_that_its_process_has_passed_on_harms_the_other_alone(self):
        for policy in self.WHATEVER:
            with self.under(policy), self.serve() as server, Consumer(server, self.path) as other:
                with Consumer(server, self.path) as consumer:
                    other.do("take", arena=consumer.hello(server))
                    held = consumer.embed(["held"])
                    other.do("open")
                    np.testing.assert_array_equal(other.rows(held), echo_rows(["held"], DIM))
                if not IS_REAL:
                    until(lambda s=server: s.gpu.count("undefined", s.process.pid) == 1, "it is freed under the other")
                self.check_others_are_served(server)
                self.check_still_works(other, held)


class Lies(WithConsumers):
    def check_is_let_go(self, server, *messages, reason):
        with Consumer(server, self.path) as liar:
            for message in messages:
                liar.do("say", message=message, may_fail=True)  # it may be let go before the last
            heard = []
            while (message := liar.hear()) is not None:
                heard.append(message)
        until(lambda: any(reason in line for line in server.log), reason)
        return heard

    def test_whoever_breaks_the_rules_is_let_go_and_harms_nobody(self):
        with self.serve() as server:
            hello = {"type": "hello", "protocol": 1, "device": uuid_of(server)}
            embed = {"type": "embed", "id": 1, "texts": ["x"], "timeout_ns": 0}
            for messages, reason in (
                    (["no json"], "bad message"),
                    ([{"type": "embed"}], "bad message"),
                    ([embed], "expected a hello first"),
                    ([hello, hello], "a second hello"),
                    ([hello, {**embed, "texts": ["x" * 180_000] * 1}, embed, embed], "two requests with one id"),
                    ([hello, {"type": "leased", "id": 1, "lease": 1, "offset": 0, "rows": 1, "dim": 1}], "only a broker sends"),
                    (["x" * 199_000], "a message of more than"),
            ):
                with self.subTest(reason=reason):
                    self.check_is_let_go(server, *messages, reason=reason)
            for told, reason in (({**hello, "protocol": 99}, "protocol 99, expected 1"), ({**hello, "device": "GPU-0"}, "expected GPU-")):
                with self.subTest(reason=reason):
                    self.assertIn(reason, self.check_is_let_go(server, told, reason=reason)[0]["reason"])
            self.check_others_are_served(server)

    def test_one_who_connects_and_says_nothing_holds_up_nobody(self):
        with self.serve() as server, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
            silent.connect(self.path)
            self.check_others_are_served(server)


if __name__ == "__main__":
    unittest.main()

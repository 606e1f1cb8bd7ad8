"""Who is served when, by whom, and what is never computed: with replicas that are stopped for as long as a test needs."""

import contextlib
import os
import re
import signal
import time
import unittest
from pathlib import Path

import grpc
import inference_pb2 as pb
import numpy as np
from server import PATIENCE_S, Server, echo_row, echo_rows, field_of, rows_of, stands_still, stopped, until

PATIENT = "--health-interval=60"  # a stopped replica is no hanging one here
# Eight rows fill the response arena, and each is a shard of its own: what comes then waits in the broker.
WIDE = 32000
NARROW_ARENA = (f"--echo-dim={WIDE}", "--response-arena-mib=1")
ARENA_ROWS = 8
# Enough to see that a call is in; then it is waited for.
LATE_S = 3


def start(server, request_id, texts, timeout=PATIENCE_S, priority=0):
    """An Encode that is with a replica or in the broker's queue, and not answered, when this returns.

    Being accepted would not do: that is counted first, and others may still overtake.
    """
    before = shards(server)
    call = server.stub.Encode.future(
        pb.EncodeRequest(request_id=request_id, prompts=texts, n_prompts=len(texts), model_name=server.model,
                         priority=priority), timeout=timeout)
    until(lambda: call.done() or shards(server) > before, f"{request_id} is in")
    if call.done():
        raise EndedTooEarly(f"{request_id} ended before it was seen: {call.code()}")
    return call


class EndedTooEarly(AssertionError):
    pass


def accepted(server):
    return requests_and_waiting(server.info())[0]


def shards(server):
    """With the replicas, and in the queue."""
    info = server.info()
    return sum(in_flight(info)) + requests_and_waiting(info)[1]


def requests_and_waiting(info):
    return [int(number) for number in re.search(r"(\d+) requests accepted, (\d+) shards", info.message).groups()]


def in_flight(info):
    return [int(field_of(replica, "shards")) for replica in info.replica_infos]


def shards_in_flight(server):
    return in_flight(server.info())


def computed(pid, text, dim):
    """Whether the replica has written the row of this text: looks into the memory that it shares with the broker."""
    wanted = echo_row(text, min(dim, 32)).tobytes()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            if "/memfd:" not in line:
                continue
            begin, end = (int(address, 16) for address in line.split()[0].split("-"))
            memory.seek(begin)
            if wanted in memory.read(end - begin):
                return True
    return False


class Order(unittest.TestCase):
    def test_a_lower_priority_is_served_earlier_and_within_one_the_older(self):
        with Server(*NARROW_ARENA, PATIENT, replicas=1) as server:
            answered = []
            with stopped(server.replica_pids()):
                calls = []
                for name, priority in (("blocker", 9), ("last", 5), ("older", 0), ("younger", 0), ("first", -3)):
                    calls.append(start(server, name, [f"{name} {i}" for i in range(ARENA_ROWS)], priority=priority))
                    calls[-1].add_done_callback(lambda _, name=name: answered.append(name))
            for call in calls:
                self.assertEqual(call.result().n_prompts, ARENA_ROWS)
            until(lambda: len(answered) == len(calls), "every answer is noted")
            self.assertEqual(answered, ["blocker", "first", "older", "younger", "last"])

    def test_ten_thousand_prompts_are_cut_over_all_idle_replicas_and_come_back_in_order(self):
        texts = [f"{i}" for i in range(10_000)]
        with Server("--echo-dim=8", PATIENT, replicas=4) as server:
            with stopped(server.replica_pids()):
                call = start(server, "large", texts)
                until(lambda: all(shards_in_flight(server)), "each replica has a part of it")
            np.testing.assert_array_equal(rows_of(call.result()), echo_rows(texts, 8))

    def test_one_bad_prompt_of_ten_thousand_is_named(self):
        ids = [[1, 2]] * 7777 + [[1, -5]] + [[3]] * 2222
        with Server("--echo-dim=8") as server:
            with self.assertRaises(grpc.RpcError) as caught:
                server.encode(ids=ids)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertRegex(caught.exception.details(), "^Prompt 7777: .*-5")

    def test_least_loaded_follows_the_work_in_flight_and_not_history(self):
        with Server("--echo-dim=8", "--load-balancing=least_loaded", PATIENT) as server:
            with stopped(server.replica_pids()[:1]):
                held = start(server, "held", ["held"])
                self.assertEqual(shards_in_flight(server), [1, 0])
                # A counter that forgot less than it learnt would send one of these to the replica that is stopped.
                for i in range(10):
                    texts = [f"{i} {j}" for j in range(50)]
                    np.testing.assert_array_equal(rows_of(server.encode(texts)), echo_rows(texts, 8))
            np.testing.assert_array_equal(rows_of(held.result()), echo_rows(["held"], 8))

    def test_round_robin_takes_turns(self):
        with Server("--echo-dim=8", "--load-balancing=round_robin", PATIENT, replicas=3) as server:
            with stopped(server.replica_pids()):
                calls = [start(server, f"{i}", [f"{i}"]) for i in range(6)]
                self.assertEqual(shards_in_flight(server), [2, 2, 2])
            for i, call in enumerate(calls):
                np.testing.assert_array_equal(rows_of(call.result()), echo_rows([f"{i}"], 8))


class NeverComputed(unittest.TestCase):
    def ends_with(self, code, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call.result()
        self.assertEqual(caught.exception.code(), code)

    def end_all(self, server, rows):
        """Three requests that nobody waits for any more, each of so many rows; returns their texts."""
        texts = {name: [f"{name} {i}" for i in range(rows)] for name in ("aborted", "cancelled", "late")}
        calls = {name: start(server, name, texts[name], timeout=LATE_S if name == "late" else PATIENCE_S)
                 for name in texts}
        self.assertTrue(server.stub.Abort(pb.AbortRequest(request_id="aborted")).success)
        self.ends_with(grpc.StatusCode.CANCELLED, calls["aborted"])
        calls["cancelled"].cancel()
        self.ends_with(grpc.StatusCode.DEADLINE_EXCEEDED, calls["late"])
        return [text for name in texts for text in texts[name]]

    def test_what_is_withdrawn_while_it_waits_in_the_replica(self):
        with Server("--echo-dim=32", PATIENT, replicas=1) as server:
            [pid] = server.replica_pids()
            with stopped([pid]):
                texts = self.end_all(server, rows=1)
                until(lambda: accepted(server) == 0, "all of it is withdrawn")
                self.assertEqual(shards_in_flight(server), [3])  # the replica has not seen it yet
                alive = start(server, "alive", ["alive"])
            np.testing.assert_array_equal(rows_of(alive.result()), echo_rows(["alive"], 32))
            self.assertTrue(computed(pid, "alive", 32))
            self.assertEqual([text for text in texts if computed(pid, text, 32)], [])

    def test_what_is_withdrawn_while_it_waits_in_the_broker(self):
        with Server(*NARROW_ARENA, PATIENT, replicas=1) as server:
            [pid] = server.replica_pids()
            with stopped([pid]):
                blocker = start(server, "blocker", [f"blocker {i}" for i in range(ARENA_ROWS)])
                texts = self.end_all(server, rows=2)
                until(lambda: accepted(server) == 1, "all of it is withdrawn")
            self.assertEqual(blocker.result().n_prompts, ARENA_ROWS)
            self.assertEqual(server.encode(["alive"]).n_prompts, 1)
            self.assertTrue(computed(pid, "alive", WIDE))
            self.assertEqual([text for text in texts if computed(pid, text, WIDE)], [])

    def test_a_deadline_is_known_to_the_replica_itself(self):
        # Of no worth where the broker is stopped so late that it withdraws by itself: then once more, with more time.
        if not any(self.replica_passes_over_what_is_late(seconds) for seconds in (1, 4, 16)):
            self.fail("the broker could not be stopped in time")

    def replica_passes_over_what_is_late(self, seconds):
        """Whether the broker stood still before the deadline, so that the replica must have known it."""
        with Server("--echo-dim=32", PATIENT, replicas=1) as server:
            [pid] = server.replica_pids()
            with stopped([pid]):
                earliest = time.monotonic() + seconds
                try:
                    late = start(server, "late", ["late"], timeout=seconds)
                except EndedTooEarly:
                    return False
                # Counted from when it is in, and a little more: gRPC rounds what it sends of a deadline upwards.
                latest = time.monotonic() + seconds + 0.2
                alive = start(server, "alive", ["alive"])
                with stopped([server.process.pid]):  # so that nobody tells the replica
                    if time.monotonic() >= earliest:
                        return False
                    time.sleep(max(0, latest - time.monotonic()))
                    os.kill(pid, signal.SIGCONT)
                    until(lambda: computed(pid, "alive", 32), "the replica has come to what was behind it")
                    self.assertFalse(computed(pid, "late", 32))
            np.testing.assert_array_equal(rows_of(alive.result()), echo_rows(["alive"], 32))
            self.ends_with(grpc.StatusCode.DEADLINE_EXCEEDED, late)
            return True


if __name__ == "__main__":
    unittest.main()

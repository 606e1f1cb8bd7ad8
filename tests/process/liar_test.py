"""A replica lies in everything it may write: every client gets its rows, and the liar is replaced.

One replica of two lies in one generation, in one way for each server (lying_replica.cc and liar/ have the lies).
Where the broker is built with sanitizers, a report of theirs ends it and fails the test.
"""

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
from server import BIN, RETURN, Server, echo_rows, field_of, is_running, rows_of, until

PROGRAM = f"{BIN}/lying-replica"
LIAR = 0
GARBAGE = "^garbage: "
HANGS = "^hang: a shard"
KILLED = "^signal 9"
# The broker hangs up before it kills, and one who still listens may be quicker to leave.
HUNG_UP = "^(signal 9|exit 0)"
# What the honest shim beside a scribbler may find first: that its own words are no longer what it wrote.
SCRIBBLED = "^(garbage: |signal 9|hang: |exit 1)"

# The liar's next generation lies from its first submission on.
FROM_THE_START = {
    "scribble_everything": SCRIBBLED,
    "punch_holes": "^(hang: a shard|garbage: ready without a ready lane)",  # the hole may take that word, too
    "leaves_a_grandchild": "^(signal 9|garbage: )",  # whichever the broker notices first
    "fails_with_noise": "^fails: 8 times in a row",
    "claims_dim_9": "^loaded another model",
    "claims_dim_0": GARBAGE + "bad control message",
    "claims_max_tokens_1": "^loaded another model",
    "claims_a_device": GARBAGE + "took a device that was not offered",
    "claims_huge_dim": "too large for the response arena",
    "ready_without_a_lane": GARBAGE + "ready without a ready lane",
}
# The liar begins to lie in the middle of honest work, and is replaced; how its death is told.
REPLACED = {
    "scribble_words_and_cells": SCRIBBLED,
    "scribble_completion_cells": GARBAGE,
    "scribble_positions": SCRIBBLED,
    "claims_death": KILLED,
    "stops_beating": "^hang: no beat",
    "head_far_ahead": HANGS,
    "head_ahead_by_one": HANGS,
    "head_backwards": HANGS,
    "tail_ahead_by_one": GARBAGE,
    "tail_far_ahead": GARBAGE + "the completion ring's tail is impossible",
    "tail_ahead_by_a_ring": GARBAGE,
    "tail_backwards": GARBAGE + "the completion ring's tail is impossible",
    "tail_wraps": GARBAGE + "the completion ring's tail is impossible",
    "one_row_more": GARBAGE + "a completion has another number of rows",
    "no_rows": GARBAGE + "a completion has another number of rows",
    "unknown_status": GARBAGE + "a completion has no known status",
    "random_slot": GARBAGE + "a completion completes what was not submitted",
    "idle_slot": GARBAGE + "a completion completes what was not submitted",
    "foreign_cookie": GARBAGE + "a completion carries a foreign cookie",
    "detail_beside_rows": GARBAGE + "a completion has another number of rows",
    "endless_detail": GARBAGE + "a completion has a detail that cannot be",
    "failed_prompt_beyond_the_last": GARBAGE + "a completion has a detail that cannot be",
    "random_completion": GARBAGE,
    "withdraws": GARBAGE + "withdrew what it was not asked to",
    "completes_twice": GARBAGE,
    "replays_at_once": GARBAGE,
    "replays_later": GARBAGE,
    "completes_without_taking": GARBAGE + "the submission ring's head is impossible",
    "never_completes": HANGS,
    "never_takes": HANGS,
    "exits_amid_work": "^exit 0",
    "says_noise": GARBAGE + "bad control message",
    "says_too_much": GARBAGE + "control message of",
    "says_nothing": HUNG_UP,
    "says_deep_brackets": GARBAGE + "bad control message",
    "says_wrong_types": GARBAGE + "bad control message",
    "says_an_array": GARBAGE + "bad control message",
    "says_numbers_beyond_all": GARBAGE + "bad control message",
    "says_unknown_types": GARBAGE + "bad control message",
    "says_hello_twice": GARBAGE + "a second hello",
    "says_ready_twice": GARBAGE + "ready for a second time",
    "says_drain": GARBAGE + "a control message that only a broker sends",
    "says_offer": GARBAGE + "a control message that only a broker sends",
    "sends_descriptors_with_noise": GARBAGE + "bad control message",
    "sends_descriptors_with_nothing": HUNG_UP,
    "hangs_up": HUNG_UP,
    "scribble_lifeline": KILLED,
    "says_failed_and_serves": "^failed: not at all",
    "says_failed_thousands_of_times": "^failed: ",
    "sends_descriptors_with_words": "^failed: look here",
    "sends_more_descriptors_than_expected": "^failed: and here",
}
# Allowed, or of no harm: the replica stays, and serves or not as it did.
STAYS = ["scribble_heartbeat", "scribble_bell", "scribble_sleeping_flags", "rings_without_end", "break_seals",
         "out_of_order", "completes_without_ringing", "prints_noise"]
# Before any other replica has spoken; then it completes nothing.
FIRST_WORDS = ["claims_dim_1", "claims_max_tokens_1", "claims_max_tokens_0", "claims_no_batch", "claims_huge_numbers",
               "claims_strange_names"]


class Liar:
    """A server whose replica LIAR tells one lie in one generation, while the trigger exists."""

    def __init__(self, test, lie, *flags, generation=1, triggered=False, ready=2):
        self.test, self.generation, self.loads = test, generation, []
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.trigger = pathlib.Path(folder.name, "lie")
        if triggered:
            self.trigger.touch()
        self.server = Server(f"--replica-program={PROGRAM}", f"--echo-dim={DIM}", "--echo-delay-us=500",
                             "--request-arena-mib=1", "--response-arena-mib=2", "--health-interval=0.05",
                             "--step-timeout=1", "--drain-timeout=5", f"--liar={LIAR}", f"--lie={lie}",
                             f"--lying-generation={generation}", f"--lie-while={self.trigger}", *flags, ready=ready)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for load in self.loads:
            load.stopping.set()  # also where a test failed: its clients must not go on for ever
        self.server.__exit__()
        for load in self.loads:
            load.stop()

    def load(self):
        self.loads.append(Load(self.server, clients=8))
        return self.loads[-1]

    def replica(self):
        return self.server.info().replica_infos[LIAR]

    def restarts(self):
        return int(field_of(self.replica(), "restarts"))

    def last_death(self):
        return field_of(self.replica(), "last_death")

    def printed(self, pattern):
        found = re.compile(rf"replica {LIAR}\.{self.generation}: {pattern}")
        return next((match for line in list(self.server.log) if (match := found.search(line))), None)

    def lie(self):
        self.trigger.touch()
        until(lambda: self.printed("lied"), "the lie is told")

    def await_death_of_liar(self):
        until(lambda: self.restarts() >= self.generation, "the liar is replaced")

    def check_end(self):
        """The broker leaves as told, and no sanitizer has anything to say of it."""
        self.server.channel.close()  # an idle one would hold up the end for as long as it may
        self.test.assertEqual(self.server.stop(signal.SIGTERM), 0, "\n".join(self.server.log[-40:]))
        own = [line for line in self.server.log if "] replica " not in line]
        reports = [line for line in own if re.search("Sanitizer|runtime error:", line)]
        self.test.assertEqual(reports, [])


class Holdings:
    """What the broker holds of the machine: descriptors, and mapped lanes."""

    def __init__(self, server):
        self.pid = server.process.pid
        self.files, self.mapped = self.now()

    def now(self):
        mapped = 0
        for line in pathlib.Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            if "/memfd:zerohop-" in line:
                begin, end = line.split()[0].split("-")
                mapped += int(end, 16) - int(begin, 16)
        return len(os.listdir(f"/proc/{self.pid}/fd")), mapped

    def await_return(self):
        until(lambda: all(now <= then for now, then in zip(self.now(), (self.files, self.mapped))),
              f"the broker holds no more than {self.files} descriptors and {self.mapped} bytes of lanes")


def settled_holdings(server):
    """After the connections of an honest round are gone."""
    holdings = [Holdings(server)]

    def still():
        holdings.append(Holdings(server))
        return len(holdings) > 10 and len({(h.files, h.mapped) for h in holdings[-10:]}) == 1

    until(still, "the broker's holdings settle")
    return holdings[-1]


class WithLiars(unittest.TestCase):
    def honest_round(self, liar):
        load = liar.load()
        load.wait_answers(20)
        load.check(self)
        return settled_holdings(liar.server)

    def check_aftermath(self, liar, load, holdings, restarts):
        liar.server.wait_healthy(2)
        load.wait_answers(20)
        load.check(self)
        self.assertEqual(liar.restarts(), restarts)
        holdings.await_return()
        liar.check_end()

    def check_is_replaced(self, lie, death):
        with self.subTest(lie=lie), Liar(self, lie) as liar:
            holdings = self.honest_round(liar)
            load = liar.load()
            liar.lie()
            liar.await_death_of_liar()
            self.assertRegex(liar.last_death(), death)
            self.check_aftermath(liar, load, holdings, restarts=1)

    def check_is_replaced_from_the_start(self, lie, death):
        with self.subTest(lie=lie), Liar(self, lie, generation=2) as liar:
            holdings = self.honest_round(liar)
            load = liar.load()
            liar.trigger.touch()
            os.kill(liar.server.replica_pids()[LIAR], signal.SIGKILL)
            liar.lie()
            liar.await_death_of_liar()
            self.assertRegex(liar.last_death(), death)
            grandchild = liar.printed(r"grandchild (\d+)")
            self.check_aftermath_with(liar, load, holdings, grandchild and int(grandchild[1]))

    def check_aftermath_with(self, liar, load, holdings, grandchild):
        """As long as a grandchild lives it writes on, whatever became of its parent."""
        liar.server.wait_healthy(2)
        load.wait_answers(50)
        if grandchild:
            self.assertTrue(os.path.exists(f"/proc/{grandchild}"))
        liar.trigger.unlink()
        if grandchild:
            until(lambda: not is_running(grandchild), "the grandchild ends")
        self.check_aftermath(liar, load, holdings, restarts=2)

    def check_stays(self, lie):
        with self.subTest(lie=lie), Liar(self, lie) as liar:
            holdings = self.honest_round(liar)
            load = liar.load()
            liar.lie()
            load.wait_answers(100)
            self.assertFalse(liar.printed("SEAL BROKEN"))
            self.check_aftermath(liar, load, holdings, restarts=0)


@unittest.skipIf(RETURN, "OnDevice has what means something else there")
class Lies(WithLiars):
    def test_a_replica_that_begins_to_lie_is_replaced_and_every_client_gets_its_rows(self):
        for lie, death in REPLACED.items():
            self.check_is_replaced(lie, death)

    def test_a_replica_that_lies_from_the_start_is_replaced_and_every_client_gets_its_rows(self):
        for lie, death in FROM_THE_START.items():
            self.check_is_replaced_from_the_start(lie, death)

    def test_a_replica_whose_lies_do_no_harm_stays(self):
        for lie in STAYS:
            self.check_stays(lie)

    def test_a_liar_that_speaks_first_does_not_decide_what_is_served(self):
        for lie in FIRST_WORDS:
            with self.subTest(lie=lie), Liar(self, lie, triggered=True, ready=0) as liar:
                liar.lie()
                liar.server.wait_healthy(1)
                load = liar.load()  # begins while the liar is the only one
                liar.trigger.unlink()
                liar.await_death_of_liar()
                liar.server.wait_healthy(2)
                load.wait_answers(20)
                load.check(self)
                liar.check_end()

    def test_a_request_that_was_cut_for_a_liars_model_is_served_by_the_real_one(self):
        dim = 4096
        with Liar(self, "claims_dim_1", f"--echo-dim={dim}", "--forward-timeout=10", triggered=True, ready=0) as liar:
            liar.lie()
            liar.server.wait_healthy(1)
            texts = [f"{i}" for i in range(600)]
            large = liar.server.stub.Encode.future(
                pb.EncodeRequest(request_id="large", prompts=texts, n_prompts=len(texts), model_name="echo"))
            until(lambda: liar.server.info().replica_infos, "it is on its way")
            liar.trigger.unlink()
            liar.await_death_of_liar()
            np.testing.assert_array_equal(rows_of(large.result()), echo_rows(texts, dim))
            liar.check_end()

    def test_a_submission_that_a_replica_forgets_is_done_by_another(self):
        with Liar(self, "loses_one", "--forward-timeout=5") as liar:
            load = liar.load()
            liar.lie()
            # The others' work goes on meanwhile, and is completed.
            until(lambda: liar.restarts() > 0 or load.errors, "the forgetful replica is replaced")
            load.check(self)
            liar.check_end()

    def test_a_detail_that_changes_while_it_is_read_reaches_nobody_unchecked(self):
        with Liar(self, "restless_detail") as liar:
            liar.trigger.touch()
            details = []
            while len(details) < 1000:
                try:
                    liar.server.encode([f"{i}" for i in range(30)])
                except grpc.RpcError as error:
                    self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
                    details.append(error.details())
            self.assertEqual([d for d in details if not d.isprintable()], [])
            liar.check_end()

    def test_rows_that_change_while_they_are_sent_do_not_break_an_answer(self):
        with Liar(self, "changes_rows_late", "--echo-dim=256") as liar:
            liar.trigger.touch()
            changed = 0
            while changed < 20:
                texts = [f"{changed} {k}" for k in range(4)]
                rows = rows_of(liar.server.encode(texts))
                self.assertEqual(rows.shape, (4, 256))
                changed += not np.array_equal(rows, echo_rows(texts, 256))
            self.assertEqual(liar.restarts(), 0)
            liar.check_end()


@unittest.skipUnless(RETURN == "cuda_ipc", "on a device, of which the replica has the broker's arena open")
class OnDevice(WithLiars):
    """What is landing when a replica lies of it, or of where its rows are."""

    REPLACED_WHILE_ROWS_LAND = ["one_row_more", "foreign_cookie", "completes_twice", "replays_at_once", "random_completion",
                                "withdraws", "scribble_completion_cells", "tail_ahead_by_one", "exits_amid_work"]
    FROM_THE_START = {"claims_the_host": HANGS, "claims_another_device": HANGS, "claims_dim_9": "^loaded another model"}
    # Nobody can tell such rows from right ones: they are the answers of this replica, and no others.
    WRONG_ROWS = ["completes_before_the_stream", "scribble_the_arena"]

    def check_aftermath(self, liar, load, holdings, restarts):
        liar.server.wait_healthy(2)
        self.assertEqual([field_of(r, "return") for r in liar.server.info().replica_infos], ["cuda_ipc"] * 2)
        super().check_aftermath(liar, load, holdings, restarts)

    def test_a_replica_that_begins_to_lie_is_replaced_and_every_client_gets_its_rows(self):
        for lie in self.REPLACED_WHILE_ROWS_LAND:
            self.check_is_replaced(lie, REPLACED[lie])

    def test_a_replica_that_lies_from_the_start_is_replaced_and_every_client_gets_its_rows(self):
        for lie, death in self.FROM_THE_START.items():
            self.check_is_replaced_from_the_start(lie, death)

    def test_a_replica_whose_lies_do_no_harm_stays(self):
        self.check_stays("out_of_order")

    def test_wrong_rows_end_with_the_replica_that_makes_them(self):
        for lie in self.WRONG_ROWS:
            with self.subTest(lie=lie), Liar(self, lie) as liar:
                holdings = self.honest_round(liar)
                lied_to = liar.load()
                liar.lie()
                until(lambda load=lied_to: load.wrong or load.errors, "a row is wrong")
                lied_to.stop()
                self.assertEqual((lied_to.errors, liar.restarts()), ([], 0))
                os.kill(liar.server.replica_pids()[LIAR], signal.SIGKILL)
                liar.await_death_of_liar()
                self.check_aftermath(liar, liar.load(), holdings, restarts=1)


@unittest.skipIf(RETURN, "who sleeps does so on the host")
class Sleepers(unittest.TestCase):
    FLAGS = (f"--echo-dim={DIM}", "--echo-delay-us=100000", "--health-interval=0.05")

    def test_a_replica_stopped_amid_a_pass_for_too_long_is_replaced_and_what_it_writes_late_harms_nobody(self):
        with Server(*self.FLAGS) as server:
            load = Load(server, clients=8)
            load.wait_answers(20)
            victim = server.replica_pids()[0]
            os.kill(victim, signal.SIGSTOP)
            until(lambda: any("replica 0: killed: hang: no beat" in line for line in list(server.log)), "the kill")
            self.wake_until_gone(victim)
            server.wait_healthy(2)
            load.wait_answers(20)
            load.check(self)
            self.assertEqual([int(field_of(r, "restarts")) for r in server.info().replica_infos], [1, 0])
            server.channel.close()
            self.assertEqual(server.stop(signal.SIGTERM), 0)

    def wake_until_gone(self, pid):
        def gone():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                return True
            return False

        until(gone, "the stopped replica is gone")

    def test_a_replica_that_runs_for_moments_only_harms_nobody(self):
        with Server(*self.FLAGS, "--step-timeout=1") as server:
            load = Load(server, clients=8)
            load.wait_answers(20)
            victim = server.replica_pids()[0]
            self.flicker(victim, server)
            server.wait_healthy(2)
            load.wait_answers(20)
            load.check(self)
            server.channel.close()
            self.assertEqual(server.stop(signal.SIGTERM), 0)

    def flicker(self, pid, server):
        """Lets it run for an instant at a time, until it is killed for that or has got through many of them."""
        try:
            for _ in range(3000):
                os.kill(pid, signal.SIGSTOP)
                server.info()  # a moment, by what the broker does
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # killed, which is as good

    def test_a_replica_stopped_for_moments_is_not_killed(self):
        # A budget of nearly a minute: no machine is so busy that the answers below take as long.
        with Server(f"--echo-dim={DIM}", "--echo-delay-us=10000", "--health-interval=10") as server:
            load = Load(server, clients=8)
            for round_ in range(6):
                load.wait_answers(20)
                sleeper = server.replica_pids()[round_ % 2]
                os.kill(sleeper, signal.SIGSTOP)
                load.wait_answers(15)  # by the other
                os.kill(sleeper, signal.SIGCONT)
            load.check(self)
            self.assertEqual([int(field_of(r, "restarts")) for r in server.info().replica_infos], [0, 0])
            server.channel.close()
            self.assertEqual(server.stop(signal.SIGTERM), 0)


if __name__ == "__main__":
    unittest.main()

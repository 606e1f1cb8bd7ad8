"""The soak: mixed requests while replicas are killed or stopped without pause; run by scripts/soak.

Every call of a patient client must end with its own rows; calls of the impatient ones (who cancel, abort, hang up,
or set deadlines that cannot be met) must end, and never with wrong rows. Afterwards the broker must hold what it
held before: descriptors, maps, threads, memory.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import grpc
import inference_pb2 as pb
import inference_pb2_grpc as pb_grpc
import numpy as np
from server import PATIENCE_S, Server, connect, echo_row, field_of

DIM = 64
SLOW_TEXTS = 4000  # of a client that does not read: 1 MiB of rows
ACTIONS = ("kill",) * 6 + ("stop",) * 2 + ("pause",) * 2
PAUSE_S = 0.3  # well below what a replica may be silent


class Tally:
    """What happened, by name; any thread."""

    def __init__(self):
        self.lock, self.counts, self.failures = threading.Lock(), collections.Counter(), []

    def count(self, name, failure=None):
        with self.lock:
            self.counts[name] += 1
            if failure and len(self.failures) < 20:
                self.failures.append(f"{name}: {failure}")

    def __getitem__(self, name):
        return self.counts[name]


def draw_request(rng, name):
    """A request nobody else sends, and its prompts as the echo engine sees them."""
    count = rng.choice((1, 1, 1, 2, 5, 30, 300))
    if rng.random() < 0.3:
        prompts = [np.array([rng.randrange(30000) for _ in range(rng.randrange(1, 20))], "<i4").tobytes() for _ in range(count)]
        inputs = {"token_id_bytes_i32": prompts}
    else:
        prompts = [f"{rng.getrandbits(64):x} " * rng.choice((1, 1, 3, 40)) for _ in range(count)]
        inputs = {"prompts": prompts}
    request = pb.EncodeRequest(request_id=name, n_prompts=count, model_name="echo", priority=rng.choice((0, 0, 0, -1, 5)), **inputs)
    return request, prompts


def are_right(response, request, prompts, rng):
    """Checks the frame whole, and up to 20 rows bit by bit."""
    blobs = response.embedding_bytes_fp32
    if response.error or response.request_id != request.request_id or len(blobs) != len(prompts):
        return False
    chosen = range(len(prompts)) if len(prompts) <= 20 else rng.sample(range(len(prompts)), 20)
    return all(len(b) == 4 * DIM for b in blobs) and all(blobs[i] == echo_row(prompts[i], DIM).astype("<f4").tobytes() for i in chosen)


class Client(threading.Thread):
    """One client after the other on one thread; `patient` ones accept nothing but rows."""

    def __init__(self, address, seed, tally, stopping, patient):
        super().__init__()
        self.address, self.rng, self.tally, self.stopping, self.patient = address, random.Random(seed), tally, stopping, patient
        self.name_prefix, self.made = f"{'p' if patient else 'i'}{seed}", 0
        self.start()

    def run(self):
        while not self.stopping.is_set():
            with connect(self.address) as channel:
                stub = pb_grpc.InferenceServiceStub(channel)
                for _ in range(self.rng.randrange(1, 200)):
                    if self.stopping.is_set():
                        break
                    self.made += 1
                    request, prompts = draw_request(self.rng, f"{self.name_prefix}-{self.made}")
                    self.be_patient(stub, request, prompts) if self.patient else self.be_impatient(stub, request, prompts)

    def judge(self, response, request, prompts, who):
        right = are_right(response, request, prompts, self.rng)
        self.tally.count(f"{who}_answered" if right else "wrong", None if right else request.request_id)

    def be_patient(self, stub, request, prompts):
        self.tally.count("patient_sent")
        try:
            self.judge(stub.Encode(request, timeout=100), request, prompts, "patient")
        except grpc.RpcError as error:
            self.tally.count("lost", f"{request.request_id}: {error.code()} {error.details()}")

    def be_impatient(self, stub, request, prompts):
        self.tally.count("impatient_sent")
        way = self.rng.choice(("cancel", "abort", "deadline", "hang up"))
        timeout = self.rng.uniform(0.0005, 0.02) if way == "deadline" else 100
        call = stub.Encode.future(request, timeout=timeout)
        time.sleep(self.rng.uniform(0, 0.01))
        if way == "cancel":
            call.cancel()
        elif way == "abort":
            stub.Abort(pb.AbortRequest(request_id=request.request_id))
        elif way == "hang up":
            with connect(self.address) as other:
                pb_grpc.InferenceServiceStub(other).Encode.future(request)
        try:
            self.judge(call.result(), request, prompts, "impatient")
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            code = grpc.StatusCode.CANCELLED if isinstance(error, grpc.FutureCancelledError) else error.code()
            # A deadline that cannot be met is refused, where the queue says so in time.
            expected = code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED) or (
                way == "deadline" and code == grpc.StatusCode.RESOURCE_EXHAUSTED)
            self.tally.count("impatient_ended" if expected else "lost", None if expected else f"{way}: {error}")


class SlowReader:
    """A client process with large answers under way, stopped every now and then for seconds."""

    def __init__(self, address):
        command = [sys.executable, __file__, "--be-slow-reader", address]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.stopping.wait(1):
            self.process.send_signal(signal.SIGSTOP)
            self.stopping.wait(4)
            self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.stopping.set()
        self.thread.join()
        self.process.kill()
        self.process.wait(PATIENCE_S)


def be_slow_reader(address):
    texts = [f"{i}" for i in range(SLOW_TEXTS)]
    request = pb.EncodeRequest(request_id="slow", prompts=texts, n_prompts=len(texts), model_name="echo")
    with connect(address) as channel:
        stub = pb_grpc.InferenceServiceStub(channel)
        parent = os.getppid()
        while os.getppid() == parent:  # ends with the soak, however that ends
            for call in [stub.Encode.future(request) for _ in range(4)]:
                call.exception()


class Killer(threading.Thread):
    """Kills or stops a serving replica at each beat of the schedule."""

    def __init__(self, server, seed, every_s, tally, stopping):
        super().__init__()
        self.server, self.rng, self.every_s, self.tally, self.stopping = server, random.Random(seed), every_s, tally, stopping
        self.start()

    def run(self):
        while not self.stopping.wait(self.every_s):
            pids = self.server.replica_pids()
            if not pids:
                continue
            pid, action = self.rng.choice(pids), self.rng.choice(ACTIONS)
            try:
                os.kill(pid, signal.SIGKILL if action == "kill" else signal.SIGSTOP)
                if action == "pause":
                    time.sleep(PAUSE_S)
                    os.kill(pid, signal.SIGCONT)
                self.tally.count(action)
            except ProcessLookupError:
                pass  # it was dying already


def footprint(pid):
    """What the broker holds."""
    with open(f"/proc/{pid}/status") as status:
        values = dict(line.split(":", 1) for line in status)
    with open(f"/proc/{pid}/maps") as maps:
        lanes = sum("zerohop-lane" in line for line in maps)
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as comm:
            names.append(comm.read().strip())
    ours = names.count("zerohop")
    return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "lane_maps": lanes, "threads": ours, "grpc_threads": len(names) - ours,
            "anonymous_mib": round(int(values["RssAnon"].split()[0]) / 1024, 1)}


def settled_footprint(server, replicas):
    """At rest, with every replica back; waits for connections to close and answers to be let go."""
    server.wait_healthy(replicas)
    last = None
    for _ in range(100):
        time.sleep(0.5)
        now = footprint(server.process.pid)
        if last and {**now, "anonymous_mib": 0} == {**last, "anonymous_mib": 0}:
            return now
        last = now
    return last


def run_load(server, args, tally, seconds, kill):
    stopping, no_more_kills = threading.Event(), threading.Event()
    seed = args.seed + (1000 if kill else 0)
    clients = [Client(server.address, seed + i, tally, stopping, patient=i % 4 != 3) for i in range(args.clients)]
    slow = SlowReader(server.address)
    killer = Killer(server, args.seed, args.kill_every, tally, no_more_kills) if kill else None
    end, shown = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < end and server.process.poll() is None and not (args.kills and tally["kill"] >= args.kills):
        time.sleep(0.2)
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(json.dumps({"left_s": round(end - shown), **tally.counts, **footprint(server.process.pid)}), flush=True)
    no_more_kills.set()
    if killer:
        killer.join()
    stopping.set()
    for client in clients:
        client.join()
    slow.end()


def soak(args):
    tally, warm_up = Tally(), Tally()
    flags = (f"--echo-dim={DIM}", "--echo-delay-us=1000", "--health-interval=0.1", *args.flags)
    with Server(*flags, replicas=args.replicas) as server:
        run_load(server, args, warm_up, args.warm_up, kill=False)
        before = settled_footprint(server, args.replicas)
        print("before:", json.dumps(before), flush=True)
        run_load(server, args, tally, args.minutes * 60, kill=True)
        after = settled_footprint(server, args.replicas)
        print("after: ", json.dumps(after), flush=True)
        print("counts:", json.dumps(dict(sorted(tally.counts.items()))))
        restarts = sum(int(field_of(r, "restarts")) for r in server.info().replica_infos)
        status = server.stop(signal.SIGTERM)
    problems = tally.failures + warm_up.failures
    if status != 0:
        problems.append(f"the broker ended with status {status}: {server.log[-3:]}")
    if tally["patient_sent"] != tally["patient_answered"] or tally["patient_sent"] == 0:
        problems.append("a patient client was not answered")
    if tally["impatient_sent"] != tally["impatient_answered"] + tally["impatient_ended"]:
        problems.append("an impatient client's call did not end")
    if restarts < tally["kill"]:
        problems.append(f"{tally['kill']} kills, but {restarts} restarts")
    # gRPC's own pool breathes by a few threads, and the allocator keeps some of what it was given back.
    for name, most in (("fds", 0), ("lane_maps", 0), ("threads", 0), ("grpc_threads", 8), ("anonymous_mib", args.memory_slack_mib)):
        if after[name] > before[name] + most:
            problems.append(f"{name} grew from {before[name]} to {after[name]}")
    print(f"restarts: {restarts}")
    print("\n".join(problems) or "accepted = answered, nothing wrong, nothing kept")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="how long replicas are killed")
    parser.add_argument("--kills", type=int, default=0, help="end after so many kills, if that comes first")
    parser.add_argument("--kill-every", type=float, default=1, metavar="SECONDS")
    parser.add_argument("--warm-up", type=float, default=10, metavar="SECONDS", help="of load without kills, before the first measurement")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16, help="one in four is impatient")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-slack-mib", type=float, default=30, help="what the broker's own memory may have grown by")
    parser.add_argument("--be-slow-reader", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="more flags of zerohop serve, after --")
    args = parser.parse_args()
    return be_slow_reader(args.be_slow_reader) if args.be_slow_reader else soak(args)


if __name__ == "__main__":
    sys.exit(main())

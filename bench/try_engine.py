#!/usr/bin/env python3
"""Does a Python engine serve rightly behind the broker, whatever happens to it, and how fast?

Question: are the vectors those of the CPU engine in float32; does every request get its own right answer while texts,
          token ids, priorities, aborts and deadlines are mixed, a replica is killed and the engine's own process is
          killed; how many sentences a second, and how soon.
Load:     mixed corpus (3 to 300 words) and short queries; 1, 16 and 64 callers for the figures.
Baseline: openvino in float32, for the vectors; another server (--against) for the figures, measured in turn.
Machine:  engine and client share the cores; other figures than ratios are those of the machine.

Run by scripts/try_vllm, with the interpreter of the environment that holds the engine and the wheel.
"""

import argparse
import os
import pathlib
import random
import shlex
import statistics
import sys
import tempfile
import threading
import time
import uuid

import bench_run
import grpc
import make_corpus
import numpy as np
from tokenizers import Tokenizer
from zerohop import _wire

MODEL_NAME = "try"
KNOWN_TEXTS = 192
# The engine that the vectors are compared with computes as exactly; both round differently.
LEAST_COSINE = {"float32": 0.99999, "float16": 0.999, "bfloat16": 0.995, "auto": 0.995}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", default=bench_run.ROOT / "build/bin", type=pathlib.Path)
    parser.add_argument("--out", default=bench_run.ROOT / "build/bench", type=pathlib.Path,
                        help="folder of logs and JSON")
    parser.add_argument("--engine", default="vllm")
    parser.add_argument("--model", required=True, type=pathlib.Path, help="folder of the model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--flags", default="", help="more flags for the engine, as one string")
    parser.add_argument("--replicas", default=2, type=int, help="while things are killed")
    parser.add_argument("--mixed-seconds", default=30.0, type=float)
    parser.add_argument("--callers", default="1,16,64")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=6.0, type=float, help="counted, of every sample")
    parser.add_argument("--speed-replicas", default=1, type=int)
    parser.add_argument("--against", action="append", default=[], metavar="NAME=COMMAND",
                        help="another server to measure in turn; {port} is put in, and it must call the model 'try'")
    parser.add_argument("--only", choices=["right", "speed"], help="one half of it")
    return parser.parse_args()


# --- a client ---------------------------------------------------------------------------------------------


class Client:
    """The contract's methods on one connection."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=_wire.channel_options(retry=False))
        self.calls = {method: _wire.bind(self.channel, method) for method in _wire.METHODS}

    def request(self, prompts, request_id="", priority=0):
        """`prompts`: texts, or lists of token ids."""
        fields = {"request_id": request_id, "n_prompts": len(prompts), "model_name": MODEL_NAME, "priority": priority}
        kind = "prompts" if isinstance(prompts[0], str) else "token_id_bytes_i32"
        fields[kind] = prompts if kind == "prompts" else [np.asarray(ids, "<i4").tobytes() for ids in prompts]
        return _wire.MESSAGES["EncodeRequest"](**fields)

    def rows(self, prompts, timeout=120.0, **fields):
        answer = self.calls["Encode"](self.request(prompts, **fields), timeout=timeout)
        if answer.error or len(answer.embedding_bytes_fp32) != len(prompts):
            raise bench_run.BenchError(f"a wrong answer: {answer.error!r}, {len(answer.embedding_bytes_fp32)} rows")
        return np.stack([np.frombuffer(blob, "<f4") for blob in answer.embedding_bytes_fp32])

    def replicas(self):
        """[{name: value}] as GetReplicaInfo says it."""
        answer = self.calls["GetReplicaInfo"](_wire.MESSAGES["ReplicaInfoRequest"](), timeout=10)
        found = []
        for said in answer.replica_infos:
            texts = f"{said.parallel_config} {said.decoding_config} {said.scheduler_config}"
            pairs = dict(word.split("=", 1) for word in shlex.split(texts) if "=" in word)
            found.append({**pairs, "ready": said.ready, "dtype": said.dtype})
        return found


def wait_until(condition, what, seconds):
    begin = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - begin
        except grpc.RpcError:
            pass
        if time.monotonic() - begin > seconds:
            raise bench_run.BenchError(f"waited for {seconds:.0f} s in vain: {what}")
        time.sleep(0.1)


def start_server(options, engine, dtype, replicas, flags=()):
    port = bench_run.free_port()
    command = [options.binaries / "zerohop", "serve", "--engine", engine, "--model", options.model, "--dtype", dtype,
               "--host", "127.0.0.1", "--port", port, "--num-replicas", replicas, "--served-model-name", MODEL_NAME,
               "--startup-timeout", 900, *flags]
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / f"try_{engine}_{replicas}.server.log"
    return bench_run.Server(f"zerohop, {engine}", [str(part) for part in command], f"127.0.0.1:{port}", log)


def python_flags(options):
    return ["--python", sys.executable, *shlex.split(options.flags)]


# --- is it right? -----------------------------------------------------------------------------------------


def known_texts():
    with tempfile.TemporaryDirectory() as folder:
        make_corpus.write_corpora(folder, KNOWN_TEXTS * 3 // 4, KNOWN_TEXTS // 4, 1)
        lines = [(pathlib.Path(folder) / f"{name}.txt").read_text().splitlines() for name in ("mixed", "queries")]
    return lines[0] + lines[1]


def reference_rows(options, texts):
    """What openvino makes of `texts` in float32."""
    with bench_run.running([start_server(options, "openvino", "float32", 1)]) as (server,):
        client = Client(server.address)
        wait_until(lambda: client.replicas()[0]["ready"], "openvino to be ready", 60)
        return client.rows(texts)


def cosines(a, b):
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def check_refusals(client):
    """Mistakes of a caller, each refused with its index, and with nothing lost around it."""
    shown = []
    for prompts, index in (([[101, 102], [101, 99_999_999]], 1), ([[101, 102], [101], [101] * 100_000], 2)):
        try:
            client.rows(prompts)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT or f"Prompt {index}" not in error.details():
                raise bench_run.BenchError(f"refused wrongly: {error.code()}: {error.details()}") from error
            shown.append(error.details())
        else:
            raise bench_run.BenchError(f"accepted prompts that cannot be: prompt {index}")
    return shown


class Mixed:
    """Callers that send texts, token ids, priorities, aborts and deadlines, and look into every answer."""

    def __init__(self, address, texts, token_ids, rows, least_cosine, callers=16):
        self.address, self.kinds, self.rows, self.least = address, (texts, token_ids), rows, least_cosine
        self.counts, self.wrong, self.lowest = {}, [], 1.0
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._caller, args=(seed,)) for seed in range(callers)]
        for thread in self.threads:
            thread.start()

    def _count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def _caller(self, seed):
        draw, client = random.Random(seed), Client(self.address)
        while not self.stopping.is_set():
            chosen = [draw.randrange(len(self.rows)) for _ in range(draw.choice((1, 1, 1, 4, 16)))]
            kind = draw.randrange(2)
            prompts = [self.kinds[kind][i] for i in chosen]
            fate = draw.choices(("answered", "aborted", "cancelled", "expired"), (84, 6, 6, 4))[0]
            try:
                self._send(client, draw, prompts, chosen, fate)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                with self.lock:
                    self.wrong.append(f"{fate}: {error}")

    def _send(self, client, draw, prompts, chosen, fate):
        name = str(uuid.uuid4())
        request = client.request(prompts, request_id=name, priority=draw.randint(-2, 2))
        call = client.calls["Encode"].future(request, timeout=0.05 if fate == "expired" else 120)
        if fate in ("aborted", "cancelled"):
            time.sleep(draw.random() * 0.05)
            if fate == "cancelled":
                call.cancel()
            else:
                client.calls["Abort"](_wire.MESSAGES["AbortRequest"](request_id=name), timeout=30)
        # Also what the broker says of a deadline, where it is quicker than the client.
        cancelled = grpc.StatusCode.CANCELLED
        codes = {"answered": (), "aborted": (cancelled,), "cancelled": (cancelled,),
                 "expired": (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED, cancelled)}[fate]
        try:
            answer = call.result()
        except grpc.FutureCancelledError:
            return self._count("withdrawn by the client")
        except grpc.RpcError as error:
            if error.code() not in codes:
                raise
            return self._count({"aborted": "withdrawn by Abort", "expired": "past its deadline"}.get(fate, fate))
        rows = np.stack([np.frombuffer(blob, "<f4") for blob in answer.embedding_bytes_fp32])
        if answer.error or answer.request_id != name or len(rows) != len(chosen):
            raise bench_run.BenchError(f"wrong answer: {answer.error!r}, {len(rows)} rows of {len(chosen)}")
        lowest = float(cosines(rows, self.rows[chosen]).min())
        with self.lock:
            self.lowest = min(self.lowest, lowest)
        if not lowest >= self.least:
            raise bench_run.BenchError(f"wrong rows: cosine {lowest}")
        return self._count("answered, rightly")

    def answered(self):
        with self.lock:
            return self.counts.get("answered, rightly", 0)

    def finish(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.wrong:
            raise bench_run.BenchError(f"{len(self.wrong)} requests went wrong, the first: {self.wrong[0]}")


def alive(pids):
    return [pid for pid in pids if (fields := bench_run._stat_fields(pid)) is not None and fields[0] != "Z"]


def title(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def kill_under_load(client, load, victim_of, what, replicas):
    """Kills one process of replica 0's, and waits until as many replicas as before serve, with nothing left over."""
    before = client.replicas()[0]
    family = bench_run.process_tree(int(before["pid"]))
    victim = victim_of(family)
    os.kill(victim, 9)
    gone = wait_until(lambda: client.replicas()[0]["generation"] != before["generation"], f"the end of {what}", 60)
    answered = load.answered()
    wait_until(lambda: load.answered() > answered, "answers while one replica is away", 60)
    back = wait_until(lambda: sum(r["ready"] for r in client.replicas()) == replicas, f"a replica after {what}", 900)
    left = wait_until(lambda: not alive(family), f"processes of the dead replica to go: {family}", 60)
    return [what, f"{gone:.1f} s", f"{gone + back:.0f} s", "none" if left < 1 else f"none, {left:.0f} s later"]


def try_right(options):
    texts = known_texts()
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    token_ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    rows = reference_rows(options, texts)

    server = start_server(options, options.engine, options.dtype, options.replicas, python_flags(options))
    with bench_run.running([server]):
        client = Client(server.address)
        first = wait_until(lambda: any(r["ready"] for r in client.replicas()), "the first replica", 900)
        every = wait_until(lambda: all(r["ready"] for r in client.replicas()), "all replicas", 900)
        print(f"{client.replicas()[0].get('engine')}, {client.replicas()[0]['dtype']}: the first replica serves after "
              f"{first:.0f} s, all {options.replicas} after {first + every:.0f} s\n")

        least = LEAST_COSINE[options.dtype]
        table = []
        for kind, prompts in (("texts", texts), ("token ids", token_ids)):
            got = client.rows(prompts)
            lowest = float(cosines(got, rows).min())
            table.append([kind, len(prompts), f"{lowest:.7f}", f"{float(np.abs(got - rows).max()):.1e}"])
            if not lowest >= least:
                raise bench_run.BenchError(f"{kind}: least cosine {lowest}, expected at least {least}")
        bench_run.print_table(["vectors", "prompts", "least cosine to openvino float32", "most difference"], table)
        print(*(f"refused: {sentence}" for sentence in check_refusals(client)), "", sep="\n")

        load = Mixed(server.address, texts, token_ids, rows, least)
        deaths = []
        try:
            time.sleep(options.mixed_seconds)
            if options.replicas > 1:
                deaths.append(kill_under_load(client, load, lambda family: family[0], "kill -9 of a replica",
                                              options.replicas))
                if options.engine == "vllm":
                    core = lambda family: next(pid for pid in family if "EngineCore" in title(pid))  # noqa: E731
                    deaths.append(kill_under_load(client, load, core, "kill -9 of vLLM's engine core",
                                                  options.replicas))
        finally:
            load.finish()
        counts = [[what, number] for what, number in sorted(load.counts.items())]
        bench_run.print_table(["mixed load, 16 callers", "requests"], counts + [["wrong or lost", len(load.wrong)]])
        if deaths:
            headings = ["death under that load", "noticed after", "all serve again after", "left over"]
            bench_run.print_table(headings, deaths)
        family = bench_run.process_tree(server.process.pid)
    wait_until(lambda: not alive(family), "processes of a stopped server to go", 30)


# --- how fast? --------------------------------------------------------------------------------------------


def try_speed(options):
    callers = [int(number) for number in options.callers.split(",")]
    servers = [start_server(options, options.engine, options.dtype, options.speed_replicas, python_flags(options))]
    with bench_run.running(servers), tempfile.TemporaryDirectory() as folder:
        make_corpus.write_corpora(folder, 1024, 4096, 1)
        for number, said in enumerate(options.against):
            name, _, command = said.partition("=")
            port = bench_run.free_port()
            servers.append(bench_run.Server(name, shlex.split(command.replace("{port}", str(port))),
                                            f"127.0.0.1:{port}", options.out / f"try_against_{number}.log"))
        generator = bench_run.LoadGenerator(options.binaries, bench_run.Watch(), ["--model", MODEL_NAME])
        for server in servers:
            generator.wait_ready(server, 900)
        loads = {}
        for number in callers:
            loads[f"one short query, {number} callers"] = [
                "--corpus", f"{folder}/queries.txt", "--concurrency", number, "--warmup", 1]
        middle = callers[len(callers) // 2]
        loads[f"1 to 16 texts, {middle} callers"] = [
            "--corpus", f"{folder}/mixed.txt", "--prompts", "1-16", "--concurrency", middle, "--warmup", 3]
        samples = {(server.name, load): [] for load in loads for server in servers}
        for round_number in range(options.rounds):
            for load, arguments in loads.items():
                for server in bench_run.in_turn(servers, round_number):
                    others = [other for other in servers if other is not server]
                    samples[server.name, load].append(
                        generator.sample(server, others, [*arguments, "--seconds", options.seconds]))
        show_speed(samples)
        comparisons = [
            bench_run.compare("zerohop beside it", load, metric, samples[servers[0].name, load],
                              samples[other.name, load], f"{other.name}, {metric}")
            for other in servers[1:] for load in loads for metric in ("prompts_per_second", "p50_us", "p99_us")]
        if comparisons:
            bench_run.print_comparisons(comparisons)
        settings = {"engine": options.engine, "dtype": options.dtype, "flags": options.flags,
                    "replicas": options.speed_replicas, "seconds": options.seconds, "against": options.against}
        bench_run.write_json(options.out, f"try_{options.engine}", __doc__.split("\n")[0], settings,
                             [{"side": side, "load": load, **sample}
                              for (side, load), taken in samples.items() for sample in taken], comparisons)


def show_speed(samples):
    rows = []
    for (side, load), taken in samples.items():
        middle = {key: statistics.median(sample[key] for sample in taken)
                  for key in ("prompts_per_second", "p50_us", "p99_us")}
        disturbed = sum(1 for sample in taken if sample.get("disturbed"))
        rows.append([side, load, f"{middle['prompts_per_second']:.0f}", f"{middle['p50_us'] / 1000:.1f}",
                     f"{middle['p99_us'] / 1000:.1f}", f"{disturbed} of {len(taken)}" if disturbed else ""])
    bench_run.print_table(["server", "load", "sentences/s", "p50 ms", "p99 ms", "rounds disturbed"], rows)


def main():
    options = parse()
    of = bench_run.machine()
    print(f"{of['cpu']}, {of['cores']} cores, load average {of['load_average']:.1f}, {of['date']}\n")
    if options.only != "speed":
        try_right(options)
    if options.only != "right":
        try_speed(options)


if __name__ == "__main__":
    try:
        main()
    except bench_run.BenchError as error:
        sys.exit(f"error: {error}")

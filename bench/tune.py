#!/usr/bin/env python3
"""How should these cores be divided for this model and these texts?

Question: which --num-replicas, --threads and --batch-tokens embed the most
          sentences a second, and what does that do to the time of an answer?
Load:     your texts, or a corpus of ours; so many prompts a request, so many
          requests in flight, closed loop.
Baseline: a replica of one thread for each core, and the engine's own choice, in
          the same run, at the head of the tables.
Machine:  the one that will serve, with nothing else running. Clients share its
          cores here: one that is elsewhere leaves more to the replicas.

Each candidate is a server of its own, started and ended in turn, round after
round. First the layouts are compared, then, for the best of them, the tokens of
a pass. What wins is written as a file for `zerohop serve --config`.
"""

import pathlib
import statistics
import sys

import bench_run
import make_corpus
import whole_server

BATCH_TOKENS = (256, 512, 1024, 2048, 4096)  # beside the engine's own choice
# Another than the first must be better by this, and in every round: single rounds differ by as much by themselves.
WORTHWHILE = 1.03


class Candidate:
    """A layout of the machine, and what was measured of it."""

    def __init__(self, replicas, threads, batch_tokens=0):
        self.replicas, self.threads, self.batch_tokens = replicas, threads, batch_tokens
        self.samples = []
        self.failed = None  # one sentence

    def settings(self):
        said = {"num-replicas": self.replicas, "threads": self.threads}
        return said | ({"batch-tokens": self.batch_tokens} if self.batch_tokens else {})

    def flags(self):
        return [f"--{name}={value}" for name, value in self.settings().items()]

    def median(self, metric):
        return statistics.median(sample[metric] for sample in self.samples)

    def beside(self, first):
        """Sentences a second as a ratio to the first candidate's, round by round."""
        return bench_run.spread([ours["prompts_per_second"] / theirs["prompts_per_second"]
                                 for ours, theirs in zip(self.samples, first.samples)])

    def disturbed(self):
        return sum(1 for sample in self.samples if sample.get("disturbed"))

    def row(self, first):
        named = [self.replicas, self.threads, self.batch_tokens or "own choice"]
        if self.failed:
            return [*named, self.failed, *[""] * 4]
        ratio = self.beside(first)
        return [*named, f"{self.median('prompts_per_second'):,.1f}",
                f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})",
                f"{self.median('p50_us') / 1000:.1f}", f"{self.median('p99_us') / 1000:.1f}",
                f"{self.disturbed()} of {len(self.samples)}"]


def parse():
    parser = bench_run.parser(__doc__, "2 rounds of three seconds")
    parser.add_argument("--model", type=pathlib.Path, help="folder of the model; by default all-MiniLM-L6-v2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--corpus", type=pathlib.Path, help="file with a text a line; by default short queries of ours")
    parser.add_argument("--prompts", default="1", help="of a request: K or LOW-HIGH")
    parser.add_argument("--concurrency", default=16, type=int, help="requests in flight")
    parser.add_argument("--cores", default=bench_run.usable_cores(), type=int, help="to divide; by default all")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--seconds", default=6.0, type=float, help="counted, of every sample")
    parser.add_argument("--config", type=pathlib.Path, help="the file to write; by default tune.conf in --out")
    options = parser.parse_args()
    options.engine, options.ours_command = "openvino", None
    options.own_model, options.model = options.model, options.model or whole_server.default_model()
    options.config = options.config or options.out / "tune.conf"
    if options.quick:
        options.rounds, options.seconds = 2, 3.0
    return options


def layouts(cores):
    """A thread a replica first, then several, as far as they divide the cores; and one that leaves a core alone."""
    divided = [(cores // threads, threads) for threads in range(1, 17) if cores % threads == 0]
    return [Candidate(*layout) for layout in dict.fromkeys(divided + ([(cores - 1, 1)] if cores > 1 else []))]


def measure(options, generator, candidates):
    """A sample more for each candidate, `--rounds` times; each is started anew."""
    for round_number in range(options.rounds):
        for candidate in bench_run.in_turn(candidates, round_number):
            if not candidate.failed:
                measure_once(options, generator, candidate)
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    if candidates[0].failed:
        raise bench_run.BenchError(candidates[0].failed)


def measure_once(options, generator, candidate):
    server = whole_server.start_server(options, candidate.flags())
    with bench_run.running([server]):
        try:
            generator.wait_ready(server, 120)
        except bench_run.BenchError as error:
            candidate.failed = f"not started: {error}"
            return
        candidate.samples.append(generator.sample(server, arguments=[
            "--concurrency", options.concurrency, "--warmup", 2, "--seconds", options.seconds, "--drain", 120]))


def best_of(candidates):
    """The first, unless another does more in every round, and nothing else used the machine meanwhile."""
    first = candidates[0]
    if first.disturbed():
        print("other programs used the machine: the first is kept, whatever the others did", file=sys.stderr)
        return first
    better = [candidate for candidate in candidates[1:] if not candidate.failed and not candidate.disturbed()
              and candidate.beside(first)["median"] >= WORTHWHILE and candidate.beside(first)["least"] > 1]
    return max(better, key=lambda candidate: candidate.beside(first)["median"], default=first)


def write_config(options, best):
    machine = bench_run.machine()
    said = {"engine": options.engine} | ({"model": f'"{options.own_model.resolve()}"'} if options.own_model else {})
    lines = [f"# {machine['date']}, {machine['cpu']}, {machine['cores']} cores: {options.concurrency} requests in flight, each of",
             f"# {options.prompts} prompts: {best.median('prompts_per_second'):,.1f} sentences/s, p50 {best.median('p50_us') / 1000:.1f} ms",
             *(f"{name} = {value}" for name, value in (said | {"dtype": options.dtype} | best.settings()).items())]
    options.config.write_text("\n".join(lines) + "\n")


def main():
    options = parse()
    for folder in (options.out, options.config.parent):
        folder.mkdir(parents=True, exist_ok=True)
    _, queries = make_corpus.write_corpora(options.out / "corpus", 512, 512, 1)
    generator = bench_run.LoadGenerator(options.binaries, bench_run.Watch(options.patience), [
        "--model", whole_server.MODEL_NAME, "--corpus", options.corpus or queries, "--prompts", options.prompts])
    divided = layouts(options.cores)
    measure(options, generator, divided)
    layout = best_of(divided)
    passes = [Candidate(layout.replicas, layout.threads, tokens) for tokens in (0, *BATCH_TOKENS)]
    measure(options, generator, passes)
    for candidates in (divided, passes):
        bench_run.print_table(["replicas", "threads", "tokens a pass", "sentences/s", "beside the first", "p50 ms", "p99 ms", "disturbed"],
                              [candidate.row(candidates[0]) for candidate in candidates])
    write_config(options, best_of(passes))
    print(options.config.read_text(), end="")
    print(f"\nzerohop serve --config {options.config}", flush=True)
    bench_run.write_json(options.out, "tune", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         [{"side": " ".join(c.flags()), "load": options.prompts, **s} for c in divided + passes for s in c.samples], [])


if __name__ == "__main__":
    bench_run.run(main)

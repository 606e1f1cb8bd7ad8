#!/usr/bin/env python3
"""How should these cores be divided for this model and these texts?

Question: which --num-replicas, --threads and --batch-tokens embed the most
          sentences a second, and what does that do to the time of an answer?
Load:     your texts, or a corpus of ours; so many prompts a request, so many
          requests in flight, closed loop.
Baseline: the defaults, in the same run, at the head of the table.
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
# Less is within what two runs of the same server differ by.
WORTHWHILE = 1.03


class Candidate:
    """A layout of the machine, and what was measured of it."""

    def __init__(self, replicas, threads, batch_tokens=0):
        self.replicas, self.threads, self.batch_tokens = replicas, threads, batch_tokens
        self.samples = []

    def flags(self):
        said = [f"--num-replicas={self.replicas}", f"--threads={self.threads}"]
        return said + ([f"--batch-tokens={self.batch_tokens}"] if self.batch_tokens else [])

    def median(self, metric):
        return statistics.median(sample[metric] for sample in self.samples)

    def row(self, base):
        ratios = bench_run.spread([ours["prompts_per_second"] / theirs["prompts_per_second"]
                                   for ours, theirs in zip(self.samples, base.samples)])
        return [self.replicas, self.threads, self.batch_tokens or "own choice", f"{self.median('prompts_per_second'):,.1f}",
                f"{ratios['median']:.2f} ({ratios['least']:.2f}-{ratios['most']:.2f})",
                f"{self.median('p50_us') / 1000:.1f}", f"{self.median('p99_us') / 1000:.1f}"]


def parse():
    parser = bench_run.parser(__doc__, "2 rounds of three seconds")
    parser.add_argument("--model", default=whole_server.default_model(), type=pathlib.Path, help="folder of the model")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--corpus", help="file with a text a line; queries, mixed: one of ours", default="queries")
    parser.add_argument("--prompts", default="1", help="of a request: K or LOW-HIGH")
    parser.add_argument("--concurrency", default=16, type=int, help="requests in flight")
    parser.add_argument("--cores", default=whole_server.usable_cores(), type=int, help="that replicas may compute on")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--seconds", default=6.0, type=float, help="counted, of every sample")
    parser.add_argument("--config", type=pathlib.Path, help="the file to write; by default tune.conf in --out")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 3.0
    options.config = options.config or options.out / "tune.conf"
    return options


def layouts(cores):
    """The defaults first, then ways to give each core something to compute, and one that leaves a core alone."""
    divided = [(cores // threads, threads) for threads in (1, 2, 4, 8, 16) if threads <= cores]
    return [Candidate(*layout) for layout in dict.fromkeys(divided + ([(cores - 1, 1)] if cores > 1 else []))]


def corpus_of(options):
    mixed, queries = make_corpus.write_corpora(options.out / "corpus", 512, 512, 1)
    return {"mixed": mixed, "queries": queries}.get(options.corpus, options.corpus)


def measure(options, generator, candidates):
    """A sample more for each candidate, `--rounds` times; each is started anew."""
    for round_number in range(options.rounds):
        for candidate in bench_run.in_turn(candidates, round_number):
            server = start(options, candidate)
            with bench_run.running([server]):
                generator.wait_ready(server, 180)
                candidate.samples.append(generator.sample(server, arguments=[
                    "--concurrency", options.concurrency, "--warmup", 2, "--seconds", options.seconds, "--drain", 120]))
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)


def start(options, candidate):
    port = bench_run.free_port()
    command = [options.binaries / "zerohop", "serve", "--engine=openvino", f"--model={options.model}",
               f"--dtype={options.dtype}", "--host=127.0.0.1", f"--port={port}",
               f"--served-model-name={whole_server.MODEL_NAME}", *candidate.flags()]
    return bench_run.Server("zerohop", [str(part) for part in command], f"127.0.0.1:{port}", options.out / "tune.server.log")


def best_of(candidates):
    """The one with the most sentences a second; one before it in the list, if it does nearly as well."""
    most = max(candidate.median("prompts_per_second") for candidate in candidates)
    return next(candidate for candidate in candidates if candidate.median("prompts_per_second") * WORTHWHILE >= most)


def write_config(options, best):
    machine = bench_run.machine()
    lines = [f"# {machine['date']}, {machine['cpu']}, {machine['cores']} cores: {options.model.name}, {options.concurrency} requests in flight,",
             f"# {options.prompts} prompts each: {best.median('prompts_per_second'):,.1f} sentences/s, p50 {best.median('p50_us') / 1000:.1f} ms",
             f"num-replicas = {best.replicas}", f"threads = {best.threads}"]
    if best.batch_tokens:
        lines.append(f"batch-tokens = {best.batch_tokens}")
    options.config.write_text("\n".join(lines) + "\n")


def main():
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    generator = bench_run.LoadGenerator(options.binaries, bench_run.Watch(options.patience), [
        "--model", whole_server.MODEL_NAME, "--corpus", corpus_of(options), "--prompts", options.prompts])
    divided = layouts(options.cores)
    measure(options, generator, divided)
    layout = best_of(divided)
    passes = [Candidate(layout.replicas, layout.threads, tokens) for tokens in (0, *BATCH_TOKENS)]
    measure(options, generator, passes)
    best = best_of(passes)
    headings = ["replicas", "threads", "tokens a pass", "sentences/s", "beside the first", "p50 ms", "p99 ms"]
    bench_run.print_table(headings, [candidate.row(divided[0]) for candidate in divided])
    bench_run.print_table(headings, [candidate.row(passes[0]) for candidate in passes])
    write_config(options, best)
    print(options.config.read_text(), end="")
    print(f"\nzerohop serve --config {options.config}", flush=True)
    bench_run.write_json(options.out, "tune", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         [{"side": " ".join(c.flags()), "load": options.corpus, **s} for c in divided + passes for s in c.samples], [])


if __name__ == "__main__":
    bench_run.run(main)

#!/usr/bin/env python3
"""What does the hop cost an answer of megabytes, and does the broker copy it?

Question: an answer of 1,000 embeddings of 1,024 floats is 4 MB: what is left
          of the throughput of a server that copies such rows once into each
          answer, and how many bytes does the broker copy for one that it sends?
Load:     load_generator, closed loop, 1,000 prompts of 40 characters, 1,024
          floats back for each; concurrency 1 and 4; every answer verified.
Baseline: no_hop_server: rows copied into memory of each answer, which the
          hop is to match; rows computed there as the echo engine does, on its
          one thread; and rows that all answers share, which no engine can do.
Machine:  client and servers share the cores; only ratios within a run count.
          Copies are counted by count_copies.so, in servers of their own: what
          that cannot see is told at its head.
"""

import pathlib
import statistics
import tempfile

import bench_run
import sides

PROMPTS, DIM = 1000, 1024
ANSWER_BYTES = PROMPTS * DIM * 4
COPIED, COMPUTED, SHARED = "no hop, rows copied", "no hop, rows computed", "no hop, rows shared"
SOURCES = {COPIED: "copied", COMPUTED: "computed", SHARED: "static"}


def parse():
    parser = bench_run.parser(__doc__, quick="5 rounds of one second")
    parser.add_argument("--replicas", default=2, type=int)
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 5, 1.0, 0.3
    return options


def start(options, name):
    if name == "zerohop":
        return sides.zerohop(options, ["--num-replicas", options.replicas], dim=DIM)
    return sides.no_hop(options, ["--rows", SOURCES[name]], name, DIM)


def make_generator(options, servers, seconds, patience):
    return sides.generator_for(options, servers, seconds, patience, ["--model", sides.MODEL, "--prompts", PROMPTS])


def measure(options):
    """{(side, load): [sample per round]}"""
    with bench_run.running([]) as servers:
        for name in (*SOURCES, "zerohop"):
            servers.append(start(options, name))
        generator = make_generator(options, servers, options.seconds, options.patience)
        loads = {f"c={number}": ["--concurrency", number] for number in (1, 4)}
        return bench_run.measure_in_turn(generator, servers, loads, options.rounds)


def count_copies(options, name):
    """Bytes copied by the server's first process for each byte of embeddings that it sent, at concurrency 4."""
    with tempfile.TemporaryDirectory() as folder:
        counters = pathlib.Path(folder) / "copies"
        server = bench_run.start_counted(lambda: start(options, name), options.binaries / "count_copies.so",
                                         "COUNT_COPIES", counters)
        with bench_run.running([server]):
            generator = make_generator(options, [server], seconds=1, patience=0)  # a count is never disturbed
            before = bench_run.read_counters(counters)
            sent = generator.sample(server, arguments=["--concurrency", 4])["sent"]
            after = bench_run.read_counters(counters)
    copied, calls = (now - then for now, then in zip(after, before))
    return {"sent": sent, "copied_per_byte": copied / (sent * ANSWER_BYTES), "copies_per_answer": calls / sent}


def compare_all(samples, copies):
    rows = []
    for load in ("c=1", "c=4"):
        ours = samples["zerohop", load]
        for name in SOURCES:
            theirs = samples[name, load]
            target = (">=", 0.9) if name == COPIED else None
            rows.append(bench_run.compare("requests/s", load, "requests_per_second", ours, theirs, name, target))
            rows.append(bench_run.compare("server CPU", load, "server_cpu_us_per_request", ours, theirs, name))
    for name, counted in copies.items():
        # That of a server which copies each byte once shows that it is a count.
        target = ("<=", 0.001) if name == "zerohop" else None
        rows.append(bench_run.value(f"copies per byte, {name}", "c=4", "copied_per_byte", [counted], target))
    return rows


def main():
    options = parse()
    samples = measure(options)
    copies = {name: count_copies(options, name) for name in ("zerohop", COPIED)}
    comparisons = compare_all(samples, copies)
    bench_run.print_samples(samples)
    bench_run.print_comparisons(comparisons)
    rate = statistics.median(s["requests_per_second"] for s in samples["zerohop", "c=4"])
    print(f"zerohop at c=4: {rate * ANSWER_BYTES / 1e9:.2f} GB/s of embeddings\n")
    listed = [{"side": name, "load": "counted", **counted} for name, counted in copies.items()]
    bench_run.write_json(options.out, "large_answers", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         bench_run.flat(samples) + listed, comparisons)


if __name__ == "__main__":
    bench_run.run(main)

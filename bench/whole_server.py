#!/usr/bin/env python3
"""What does serving cost the engine?

Question: how many of the sentences that the engine embeds alone come out of
          the whole server, and how much later does one short query answer?
Load:     mixed corpus (3 to 300 words), 1 to 64 prompts a request, and short
          queries, one a request; concurrency 1, 16 and 64; answers verified.
Baseline: engine_alone in the same run: the same engine, texts and cores,
          batches cut by the same batcher while the whole corpus waits, a process
          per core; for queries, no larger than the callers in flight allow.
Machine:  model and client share the cores with the server; only ratios count.
"""

import argparse
import os
import pathlib
import sys

import bench_run
import make_corpus

MODEL_NAME = "bench"


def default_model():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "zerohop"
    cache = pathlib.Path(os.environ.get("ZEROHOP_CACHE", cache))
    return cache / "models/sentence-transformers/all-MiniLM-L6-v2"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", default=bench_run.ROOT / "build/bin", type=pathlib.Path)
    parser.add_argument("--out", default=bench_run.ROOT / "build/bench", type=pathlib.Path, help="folder of the JSON")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--model", default=default_model(), type=pathlib.Path, help="folder of the model")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--replicas", default=bench_run.usable_cores(), type=int,
                        help="and processes of the baseline")
    parser.add_argument("--ours-command", help="another server in place of zerohop; {port} is put in")
    parser.add_argument("--concurrency", default="1,16,64")
    parser.add_argument("--mixed", default=1024, type=int, help="texts of the mixed corpus")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=10.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=2.0, type=float)
    parser.add_argument("--quick", action="store_true", help="3 rounds of four seconds, a smaller corpus")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup, options.mixed = 3, 4.0, 1.0, 512
    return options


def start_server(options, layout=None, name="zerohop"):
    """`layout`: flags that divide the machine; by default `options.replicas` of one thread."""
    port = bench_run.free_port()
    if options.ours_command:
        command = options.ours_command.replace("{port}", str(port)).split()
    else:
        command = [options.binaries / "zerohop", "serve", "--engine", options.engine, "--model", options.model,
                   "--dtype", options.dtype, "--host", "127.0.0.1", "--port", port,
                   "--served-model-name", MODEL_NAME, *(layout or ["--num-replicas", options.replicas])]
    options.out.mkdir(parents=True, exist_ok=True)
    return bench_run.Server(name, [str(part) for part in command], f"127.0.0.1:{port}",
                            options.out / f"{bench_run.bench_name()}.{name.replace(' ', '_')}.log")


def alone_command(options, corpus, processes, arguments=()):
    return [options.binaries / "engine_alone", "--engine", options.engine, "--model", options.model,
            "--dtype", options.dtype, "--corpus", corpus, "--processes", processes,
            "--warmup", options.warmup, "--seconds", options.seconds, *arguments]


def baselines_of(options, mixed, queries):
    """{label: command}. With N queries in flight no batch holds more than N / replicas of them."""
    commands = {
        "mixed": alone_command(options, mixed, options.replicas),
        "queries": alone_command(options, queries, options.replicas),
        "one query": alone_command(options, queries, 1, ["--single"]),
    }
    for concurrency in options.concurrency:
        if concurrency > 1:
            most = max(1, concurrency // options.replicas)
            commands[f"queries, c={concurrency}"] = alone_command(options, queries, options.replicas, ["--most", most])
    return commands


class Load:
    """One load on the server, and the baselines that it is held against."""

    def __init__(self, corpus_name, corpus, concurrency, prompts):
        self.label = f"{corpus_name}, c={concurrency}"
        self.concurrency, self.prompts_high = concurrency, prompts
        self.arguments = ["--corpus", corpus, "--prompts", f"1-{prompts}", "--concurrency", concurrency]
        self.one_query = corpus_name == "queries" and concurrency == 1
        self.baseline = corpus_name if prompts > 1 else "one query" if self.one_query else self.label

    def timing(self, options, sentences_per_second):
        """Warm-up and window that hold a request's whole wait, once and three times."""
        wait = self.concurrency * (1 + self.prompts_high) / 2 / sentences_per_second
        return ["--warmup", max(options.warmup, 1.2 * wait), "--seconds", max(options.seconds, 3 * wait),
                "--drain", 30 + 3 * wait]


def loads_of(options, mixed, queries):
    loads = [Load("mixed", mixed, concurrency, 64) for concurrency in options.concurrency]
    return loads + [Load("queries", queries, concurrency, 1) for concurrency in options.concurrency]


def measure(options, server, loads, baselines):
    """({load: [sample per round]} of the server, {baseline label: [sample per round]})"""
    watch = bench_run.Watch()
    generator = bench_run.LoadGenerator(options.binaries, watch, ["--model", MODEL_NAME])
    generator.wait_ready(server, 180)
    ours, alone = {}, {}
    for round_number in range(options.rounds):
        for label, command in baselines.items():  # first: their rates say how long a wait is
            alone.setdefault(label, []).append(watch.sample(command, bystanders=[server]))
        for load in bench_run.in_turn(loads, round_number):
            timing = load.timing(options, alone[load.baseline][0]["prompts_per_second"])
            ours.setdefault(load.label, []).append(generator.sample(server, arguments=load.arguments + timing))
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    return ours, alone


def compare_all(ours, alone, loads):
    rows = []
    for load in loads:
        served, theirs = ours[load.label], alone[load.baseline]
        if load.one_query:
            rows.append(bench_run.compare("p50 added to a query, µs", load.label, "p50_us", served, theirs,
                                          "engine alone", ("<=", 200), difference=True))
            continue
        rows.append(bench_run.compare("sentences/s", load.label, "prompts_per_second", served, theirs, "engine alone",
                                      (">=", 0.98)))
        if load.baseline == load.label:  # and against batches that these callers could never fill
            rows.append(bench_run.compare("sentences/s", load.label, "prompts_per_second", served, alone["queries"],
                                          "engine alone, full batches"))
    return rows


def print_alone(alone):
    rows = [[label, f"{taken[0]['tokens_per_sentence']:.0f}", f"{taken[0]['padding_share']:.1%}",
             *(f"{bench_run.spread([s[key] for s in taken])['median']:,.0f}"
               for key in ("prompts_per_second", "p50_us", "p99_us"))] for label, taken in alone.items()]
    headings = ["engine alone", "tokens a text", "padding", "sentences/s", "batch p50 µs", "batch p99 µs"]
    bench_run.print_table(headings, rows)


def main():
    options = parse()
    mixed, queries = make_corpus.write_corpora(options.out / "corpus", options.mixed, 512, 1)
    options.concurrency = [int(text) for text in options.concurrency.split(",")]
    loads, baselines = loads_of(options, mixed, queries), baselines_of(options, mixed, queries)
    servers = []
    try:
        with bench_run.running(servers):
            servers.append(start_server(options))
            ours, alone = measure(options, servers[0], loads, baselines)
    except bench_run.BenchError as error:
        sys.exit(f"whole_server: {error}")
    except KeyboardInterrupt:
        sys.exit("whole_server: interrupted; servers ended, nothing written")
    comparisons = compare_all(ours, alone, loads)
    print_alone(alone)
    bench_run.print_samples({("zerohop", load.label): ours[load.label] for load in loads})
    bench_run.print_comparisons(comparisons)
    settings = {key: str(value) for key, value in vars(options).items() if key not in ("binaries", "out", "model")}
    settings["model"] = options.model.name
    samples = [{"side": "zerohop", "load": label, **s} for label, taken in ours.items() for s in taken]
    samples += [{"side": "engine alone", "load": label, **s} for label, taken in alone.items() for s in taken]
    bench_run.write_json(options.out, "whole_server", __doc__.split("\n", 1)[0], settings, samples, comparisons)


if __name__ == "__main__":
    main()

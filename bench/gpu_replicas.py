#!/usr/bin/env python3
"""What do replicas of one model bring on one GPU, and what does serving them cost?

Question: how many texts a second do 1, 2, 4 … replicas of sentence-transformers
          embed on one GPU behind the server, by either return path?
Load:     mixed corpus (3 to 300 words), 1 to 64 prompts a request, and short
          queries, one a request; closed loop; answers verified.
Baseline: library_alone.py in the same run: as many processes of the same
          library and texts, batches of 32, without a server. For queries that
          is more than callers who send one each can fill.
Machine:  a GPU with room for all replicas at once; client, broker and the
          replicas' Python share the cores.
"""

import pathlib
import sys

import bench_run
import make_corpus
import whole_server

MOST_PROMPTS = {"mixed": 64, "queries": 1}  # of a request


def parse():
    parser = bench_run.parser(__doc__, quick="2 rounds of three seconds; 1 and 4 replicas")
    parser.add_argument("--model", default=whole_server.default_model(), type=pathlib.Path, help="folder of the model")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has sentence-transformers")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--device", default="0", help="ordinal of the GPU")
    parser.add_argument("--replicas", default=[1, 2, 4, 8], type=bench_run.numbers)
    parser.add_argument("--paths", default=["host", "cuda_ipc"], type=lambda text: text.split(","))
    parser.add_argument("--concurrency", default=64, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--seconds", default=5.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=1.0, type=float)
    options = parser.parse_args()
    options.engine = "sentence-transformers"
    options.ours_command = None
    if options.quick:
        options.rounds, options.seconds, options.replicas = 2, 3.0, [1, 4]
    return options


def side_of(number, path):
    return f"{number} by {path}"


def start(options, number, path):
    flags = ["--num-replicas", number, "--device", options.device, "--python", options.python, "--return", path,
             "--startup-timeout", 300]
    return whole_server.start_server(options, flags, side_of(number, path))


def alone(options, watch, corpus, number, bystanders):
    device = f"cuda:{options.device}" if options.device.isdecimal() else options.device
    command = [options.python, bench_run.ROOT / "bench/library_alone.py", "--model", options.model, "--dtype", options.dtype,
               "--device", device, "--corpus", corpus, "--processes", number,
               "--warmup", options.warmup, "--seconds", options.seconds]
    return watch.sample(command, bystanders=bystanders)


def measure(options, servers, corpora):
    """{(side, load): [sample per round]}; the side of the library alone is its number of processes."""
    watch = bench_run.Watch(options.patience)
    generator = bench_run.LoadGenerator(options.binaries, watch, ["--model", whole_server.MODEL_NAME])
    for server in servers:
        generator.wait_ready(server, 300)
    samples = {}

    def note(side, load, sample):
        print(f"{load}, {side}: {sample['prompts_per_second']:,.0f} texts/s", file=sys.stderr)  # a round takes minutes
        samples.setdefault((side, load), []).append(sample)

    for round_number in range(options.rounds):
        for name, corpus in corpora.items():
            load = whole_server.Load(name, corpus, options.concurrency, MOST_PROMPTS[name])
            for number in options.replicas:  # first: its rate says how long a wait is
                note(number, name, alone(options, watch, corpus, number, servers))
            slowest = samples[options.replicas[0], name][0]["prompts_per_second"]
            for server in bench_run.in_turn(servers, round_number):
                others = [other for other in servers if other is not server]
                note(server.name, name, generator.sample(server, others, load.arguments + load.timing(options, slowest)))
    return samples


def compare_all(options, samples):
    rows = []
    for load in MOST_PROMPTS:
        for number in options.replicas:
            for path in options.paths:
                fewest = side_of(options.replicas[0], path)
                baselines = {number: f"the library, {number} processes"}
                if number != options.replicas[0]:
                    baselines[fewest] = fewest
                for baseline, name in baselines.items():
                    rows.append(bench_run.compare("texts/s", f"{load}, {side_of(number, path)}", "prompts_per_second",
                                                  samples[side_of(number, path), load], samples[baseline, load], name))
    return rows


def print_alone(samples):
    rows = [[number, load, *(f"{bench_run.spread([s[key] for s in taken])['median']:,.0f}"
                             for key in ("prompts_per_second", "p50_us", "p99_us"))]
            for (number, load), taken in samples.items() if isinstance(number, int)]
    bench_run.print_table(["processes of the library", "load", "texts/s", "batch p50 µs", "batch p99 µs"], rows)


def main():
    options = parse()
    mixed, queries = make_corpus.write_corpora(options.out / "corpus", 1024, 512, 1)
    servers = []
    with bench_run.running(servers):
        for number in options.replicas:
            for path in options.paths:
                servers.append(start(options, number, path))
        samples = measure(options, servers, {"mixed": mixed, "queries": queries})
    comparisons = compare_all(options, samples)
    print_alone(samples)
    bench_run.print_samples({key: taken for key, taken in samples.items() if not isinstance(key[0], int)})
    bench_run.print_comparisons(comparisons)
    bench_run.write_json(options.out, bench_run.bench_name(), __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         bench_run.flat({(str(side), load): taken for (side, load), taken in samples.items()}), comparisons)


if __name__ == "__main__":
    bench_run.run(main)

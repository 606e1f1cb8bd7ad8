#!/usr/bin/env python3
"""What does a lane cost, beside the bare primitive that it is made of?

Question: a message through rings, bells and arenas and its answer back: how
          long beside two words in shared memory, and the same bytes?
Load:     lane_pingpong, two processes on a CPU each, one message at a time:
          64 bytes there, 64 or 3,072 bytes (768 floats) back, every byte
          written and read; busy, and 1,000 messages a second with sleep between.
Baseline: busy, the words that both spin on; paced, the same words as futexes.
Machine:  two CPUs; where there is one, only what sleeps is measured.
"""

import statistics
import sys

import bench_run

RATE = 1000  # messages/s, where it is paced
ANSWERS = {"64 B": 16, "3 KiB": 768}  # floats
BASELINES = {"busy": "spin", "paced": "futex"}


def parse():
    parser = bench_run.parser(__doc__, quick="5 rounds of half as long")
    parser.add_argument("--cpus", help="of the asking and of the answering process, A,B; else the first two")
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=1.0, type=float, help="counted, of every sample")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 5, 0.5
    return options


def loads_of(options):
    """{load: (ways, arguments of lane_pingpong)}"""
    paces = {"paced": ["--rate", RATE]}
    if bench_run.usable_cores() > 1:
        paces = {"busy": [], **paces}
    else:
        print("one CPU: two processes cannot spin for each other; only what sleeps is measured\n")
    shared = ["--seconds", options.seconds, *(["--cpus", options.cpus] if options.cpus else [])]
    return {f"{pace}, {answer}": (["lane", BASELINES[pace]], [*arguments, "--floats", floats, *shared])
            for pace, arguments in paces.items() for answer, floats in ANSWERS.items()}


def measure(options, loads):
    """{(way, load): [sample per round]}"""
    watch = bench_run.Watch(options.patience)
    samples = {(way, load): [] for load, (ways, _) in loads.items() for way in ways}
    for round_number in range(options.rounds):
        for load, (ways, arguments) in loads.items():
            for way in bench_run.in_turn(ways, round_number):
                sample = watch.sample([options.binaries / "lane_pingpong", "--way", way, *arguments])
                samples[way, load].append({**sample, "one_way_ns": sample["p50_ns"] / 2})
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    return samples


def compare_all(samples, loads):
    rows = []
    for load, ((_, baseline), _) in loads.items():
        lane, bare = samples["lane", load], samples[baseline, load]
        rows.append(bench_run.compare("turn, p50", load, "p50_ns", lane, bare, baseline, ("<=", 1.5)))
        rows.append(bench_run.compare("turn, p99", load, "p99_ns", lane, bare, baseline))
        if baseline == "spin":
            rows.append(bench_run.value("one way, ns", load, "one_way_ns", lane, ("<=", 1000)))
        else:
            rows.append(bench_run.compare("CPU of both", load, "cpu_ns_per_message", lane, bare, baseline))
    return rows


def print_turns(samples):
    keys = ("p50_ns", "p99_ns", "cpu_ns_per_message")
    rows = [[way, load, *(f"{statistics.median(s[key] for s in taken):,.0f}" for key in keys)]
            for (way, load), taken in samples.items()]
    bench_run.print_table(["way", "load", "turn p50 ns", "p99 ns", "CPU ns/message"], rows)


def main():
    options = parse()
    loads = loads_of(options)
    samples = measure(options, loads)
    comparisons = compare_all(samples, loads)
    print_turns(samples)
    bench_run.print_comparisons(comparisons)
    bench_run.write_json(options.out, "lane", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         bench_run.flat(samples), comparisons)


if __name__ == "__main__":
    bench_run.run(main)

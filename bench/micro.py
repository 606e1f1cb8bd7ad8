#!/usr/bin/env python3
"""Is any single step of a request needlessly slow?

Question: what does each step take alone, beside the plainest code or library
          that does the same job?
Load:     micro_bench: single steps in warm caches, for a request of one short
          prompt and for a large one.
Baseline: named in each row; steps that only zerohop has stand without one.
Machine:  one core; ratios are taken within a round.
"""

import statistics
import sys

import bench_run


def parse():
    parser = bench_run.parser(__doc__, quick="3 rounds")
    parser.add_argument("--rounds", default=9, type=int)
    parser.add_argument("--seconds", default=0.1, type=float, help="of each step and round")
    parser.add_argument("--filter", default=".", help="regular expression of steps")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 3
    return options


def measure(options):
    """{(step, side): [sample per round]}; of each step ours is the first."""
    watch = bench_run.Watch(options.patience)
    samples = {}
    for round_number in range(options.rounds):
        report = watch.sample([options.binaries / "micro_bench", "--benchmark_format=json",
                               f"--benchmark_min_time={options.seconds}", f"--benchmark_filter={options.filter}"])
        disturbed = {"disturbed": True} if report.get("disturbed") else {}
        for taken in report["benchmarks"]:
            if taken.get("error_occurred"):
                raise bench_run.BenchError(f"{taken['name']}: {taken['error_message']}")
            step, side = taken["name"].rsplit("/", 1)
            samples.setdefault((step, side), []).append({"cpu_ns": taken["cpu_time"], **disturbed})
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    return samples


def nanoseconds(samples):
    median = statistics.median(sample["cpu_ns"] for sample in samples)
    return f"{median:,.0f}" if median >= 1000 else f"{median:.3g}"


def compare_all(samples):
    rows, ours = [], {}
    for (step, side), taken in samples.items():
        if step not in ours:
            ours[step] = taken
        else:
            rows.append(bench_run.compare("CPU", step, "cpu_ns", ours[step], taken, side))
    return rows


def main():
    options = parse()
    samples = measure(options)
    comparisons = compare_all(samples)
    bench_run.print_table(["step", "by", "CPU ns"],
                          [[step, side, nanoseconds(taken)] for (step, side), taken in samples.items()])
    bench_run.print_comparisons(comparisons)
    bench_run.write_json(options.out, "micro", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         [{"step": step, "side": side, **sample} for (step, side), taken in samples.items()
                          for sample in taken], comparisons)


if __name__ == "__main__":
    bench_run.run(main)

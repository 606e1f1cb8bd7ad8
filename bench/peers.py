#!/usr/bin/env python3
"""What does the hop cost beside a hop over gRPC?

Question: a front that forwards each request to its replicas over a second
          gRPC call is what zerohop replaces: how much of that cost is left?
Load:     load_generator, closed loop, one prompt of 40 characters, 768 floats
          back, 4 channels, concurrency 1, 16 and 256; every answer verified.
Baseline: grpc_hop_server in front of as many no_hop_server as zerohop has
          replicas: async C++ on raw messages, one completion-queue thread.
          no_hop_server alone is the floor of both.
Machine:  client and servers share the cores; only ratios within a run count.
"""

import bench_run
import sides

TARGETS = {  # of each load: the question, its metric, and what zerohop is to be of the gRPC hop
    1: ("p50", "p50_us", ("<=", 0.6)),
    16: ("requests/s", "requests_per_second", (">=", 2.5)),
    256: ("requests/s", "requests_per_second", None),
}


def parse():
    parser = bench_run.parser(__doc__, quick="3 rounds of one second")
    parser.add_argument("--replicas", default=2, type=int, help="of zerohop, and behind the gRPC hop")
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 3, 1.0, 0.3
    return options


def compare_all(samples):
    rows = []
    for number, (question, metric, target) in TARGETS.items():
        load = f"c={number}"
        for ours, theirs, aim in (("zerohop", "gRPC hop", target), ("zerohop", "no hop", None),
                                  ("gRPC hop", "no hop", None)):
            asked = question if ours == "zerohop" else f"{question} of the gRPC hop"
            rows.append(bench_run.compare(asked, load, metric, samples[ours, load], samples[theirs, load], theirs, aim))
        rows.append(bench_run.compare("server CPU", load, "server_cpu_us_per_request", samples["zerohop", load],
                                      samples["gRPC hop", load], "gRPC hop"))
    return rows


def main():
    options = parse()
    with bench_run.running([]) as servers:
        sides.start_all_three(options, servers)
        samples = sides.measure(options, servers, TARGETS)
    comparisons = compare_all(samples)
    bench_run.print_samples(samples)
    bench_run.print_comparisons(comparisons)
    bench_run.write_json(options.out, "peers", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         bench_run.flat(samples), comparisons)


if __name__ == "__main__":
    bench_run.run(main)

#!/usr/bin/env python3
"""How long do requests take, the more of them there are?

Question: what do median and 99th percentile do as the load grows from one
          request at a time until nothing more gets through?
Load:     load_generator, closed loop, one prompt of 40 characters, 768 floats
          back, 4 channels; concurrency doubled from 1 to 256; every answer
          verified.
Baseline: no_hop_server, and grpc_hop_server in front of as many of them as
          zerohop has replicas, in the same run.
Machine:  client and servers share the cores; only curves of one run compare.

Draws the curves, too: latency_against_load.svg beside the JSON.
"""

import json
import pathlib

import bench_run
import plot
import sides


def parse():
    parser = bench_run.parser(__doc__, quick="2 rounds of one second")
    parser.add_argument("--replicas", default=2, type=int, help="of zerohop, and behind the gRPC hop")
    parser.add_argument("--concurrency", default=[2**i for i in range(9)], type=bench_run.numbers)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    parser.add_argument("--svg", type=pathlib.Path, help="write the drawing to this file, too")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 2, 1.0, 0.3
    return options


def main():
    options = parse()
    with bench_run.running([]) as servers:
        sides.start_all_three(options, servers)
        samples = sides.measure(options, servers, sorted(options.concurrency))
    bench_run.print_samples(samples)
    comparisons = [bench_run.compare(metric.removesuffix("_us"), load, metric, ours, samples[theirs, load], theirs)
                   for (side, load), ours in samples.items() if side == "zerohop"
                   for theirs in ("no hop", "gRPC hop") for metric in ("p50_us", "p99_us")]
    written = bench_run.write_json(options.out, "latency_against_load", __doc__.split("\n", 1)[0],
                                   bench_run.settings_of(options), bench_run.flat(samples), comparisons)
    drawn = plot.latency_against_load(json.loads(written.read_text()))
    for file in filter(None, (written.with_suffix(".svg"), options.svg)):
        file.write_text(drawn)
        print(f"drawn: {file}")


if __name__ == "__main__":
    bench_run.run(main)

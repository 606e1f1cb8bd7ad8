#!/usr/bin/env python3
"""Is the hop free?

Question: what does a request through broker, lane and replica cost, beside a
          gRPC server that answers by itself?
Load:     load_generator, closed loop, one prompt of 40 characters, 4 channels,
          concurrency 1, 16 and 256; every answer verified.
Baseline: no_hop_server in the same run: async with one completion-queue
          thread, and its other variants with --variants.
Machine:  client and servers share the cores; only ratios within a run count.
"""

import argparse
import pathlib
import shlex
import sys

import bench_run

VARIANTS = {
    "no hop": [],
    "no hop, two queues": ["--cq-threads", "2"],
    "no hop, sync": ["--sync"],
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", default=bench_run.ROOT / "build/bin", type=pathlib.Path)
    parser.add_argument("--out", default=bench_run.ROOT / "build/bench", type=pathlib.Path, help="folder of the JSON")
    parser.add_argument("--replicas", default=0, type=int, help="replicas of zerohop; 0: its own default")
    parser.add_argument("--dim", default=768, type=int, help="floats per answer, both sides")
    parser.add_argument("--model", default="echo", help="model_name of the requests")
    parser.add_argument("--ours-command", help="another server in place of zerohop; {port} is put in")
    parser.add_argument("--variants", action="store_true", help="measure every variant of the no-hop server")
    parser.add_argument("--concurrency", default="1,16,256")
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    parser.add_argument("--quick", action="store_true", help="5 rounds of one second")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 5, 1.0, 0.3
    return options


def ours_command(options, port):
    if options.ours_command:
        return shlex.split(options.ours_command.replace("{port}", str(port)))
    command = [options.binaries / "zerohop", "serve", "--engine", "echo", "--host", "127.0.0.1", "--port", port,
               "--served-model-name", options.model, f"--echo-dim={options.dim}"]
    if options.replicas:
        command += ["--num-replicas", options.replicas]
    return [str(part) for part in command]


def start_all(options, servers):
    """Appends every side to `servers`, ours last."""
    no_hop = [str(options.binaries / "no_hop_server"), "--dim", str(options.dim)]
    for name, arguments in VARIANTS.items():
        if arguments and not options.variants:
            continue
        servers.append(bench_run.Server(name, no_hop + arguments))
    port = bench_run.free_port()
    options.out.mkdir(parents=True, exist_ok=True)
    servers.append(bench_run.Server("zerohop", ours_command(options, port), f"127.0.0.1:{port}",
                                    options.out / "hop_free.server.log"))


def measure(options, servers):
    """{(side, load): [sample per round]}"""
    shared = ["--warmup", options.warmup, "--seconds", options.seconds, "--model", options.model]
    generator = bench_run.LoadGenerator(options.binaries, bench_run.Watch(), shared)
    for server in servers:
        generator.wait_ready(server, 60)
    samples = {}
    loads = [int(text) for text in options.concurrency.split(",")]
    for round_number in range(options.rounds):
        for concurrency in loads:
            for server in bench_run.in_turn(servers, round_number):
                others = [other for other in servers if other is not server]
                sample = generator.sample(server, others, ["--concurrency", concurrency])
                samples.setdefault((server.name, f"c={concurrency}"), []).append(sample)
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    return dict(sorted(samples.items(), key=lambda item: int(item[0][1][2:])))


def compare_all(samples, baselines):
    """Rows against every baseline; targets only against the first, which is the best one."""
    rows = []
    for (side, load), ours in samples.items():
        if side != "zerohop":
            continue
        if load == "c=1":
            question, metric, target = "p50", "p50_us", ("<=", 1.10)
        else:
            question, metric, target = "requests/s", "requests_per_second", (">=", 0.90)
        added_target = ("<=", 3) if load == "c=16" else None
        for name in baselines:
            theirs, best = samples[name, load], name == baselines[0]
            rows.append(bench_run.compare(question, load, metric, ours, theirs, name, target if best else None))
            rows.append(bench_run.compare("server CPU added, µs", load, "server_cpu_us_per_request", ours, theirs,
                                          name, added_target if best else None, difference=True))
    return rows


def idle_share(samples):
    """CPU share of zerohop while others were under load: median, in cores."""
    shares = [s["bystander_cpu_share"]["zerohop"] for taken in samples.values() for s in taken
              if "zerohop" in s["bystander_cpu_share"]]
    return sorted(shares)[len(shares) // 2] if shares else 0.0


def main():
    options = parse()
    servers = []
    try:
        with bench_run.running(servers):
            start_all(options, servers)
            samples = measure(options, servers)
    except bench_run.BenchError as error:
        sys.exit(f"hop_free: {error}")
    except KeyboardInterrupt:
        sys.exit("hop_free: interrupted; servers ended, nothing written")
    comparisons = compare_all(samples, [server.name for server in servers[:-1]])
    bench_run.print_samples(samples)
    bench_run.print_comparisons(comparisons)
    print(f"idle zerohop while others were measured: {idle_share(samples):.1%} of a core\n")
    settings = {key: str(value) for key, value in vars(options).items() if key not in ("binaries", "out")}
    bench_run.write_json(options.out, "hop_free", __doc__.split("\n", 1)[0], settings,
                         [{"side": side, "load": load, **sample} for (side, load), taken in samples.items()
                          for sample in taken], comparisons)


if __name__ == "__main__":
    main()

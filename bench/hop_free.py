#!/usr/bin/env python3
"""Is the hop free?

Question: what does a request through broker, lane and replica cost, beside a
          gRPC server that answers by itself?
Load:     load_generator, closed loop, one prompt of 40 characters, 4 channels,
          concurrency 1, 16 and 256; every answer verified.
Baseline: no_hop_server in the same run, async with one completion-queue
          thread, twice: as it is, with a packet for each answer; and with
          --share-packets, where answers that are ready together share packets, as
          zerohop's do. With --variants its others, too.
Machine:  client and servers share the cores; only ratios within a run count.
"""

import shlex

import bench_run
import sides

BASELINES = {
    "no hop": [],
    "no hop, sharing packets": ["--share-packets"],
}
VARIANTS = {
    "no hop, two queues": ["--cq-threads", "2"],
    "no hop, sync": ["--sync"],
}


def parse():
    parser = bench_run.parser(__doc__, quick="5 rounds of one second")
    parser.add_argument("--replicas", default=0, type=int, help="replicas of zerohop; 0: its own default")
    parser.add_argument("--dim", default=768, type=int, help="floats per answer, both sides")
    parser.add_argument("--model", default="echo", help="model_name of the requests")
    parser.add_argument("--ours-command", help="another server in place of zerohop; {port} is put in")
    parser.add_argument("--variants", action="store_true", help="measure the no-hop server's variants, too")
    parser.add_argument("--concurrency", default=[1, 16, 256], type=bench_run.numbers)
    parser.add_argument("--rounds", default=7, type=int)
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 5, 1.0, 0.3
    return options


def start_ours(options):
    if not options.ours_command:
        flags = ["--num-replicas", options.replicas] if options.replicas else []
        return sides.zerohop(options, flags, dim=options.dim, model=options.model)
    port = bench_run.free_port()
    options.out.mkdir(parents=True, exist_ok=True)
    return bench_run.Server("zerohop", shlex.split(options.ours_command.replace("{port}", str(port))),
                            f"127.0.0.1:{port}", options.out / "hop_free.zerohop.log")


def start_all(options, servers):
    """Appends every side to `servers`, ours last."""
    for name, flags in (BASELINES | VARIANTS if options.variants else BASELINES).items():
        servers.append(sides.no_hop(options, flags, name, options.dim))
    servers.append(start_ours(options))


def compare_all(samples, names):
    """Rows against every no-hop server in `names`; targets only against the baselines."""
    rows = []
    for (side, load), ours in samples.items():
        if side != "zerohop":
            continue
        if load == "c=1":
            question, metric, target = "p50", "p50_us", ("<=", 1.10)
        else:
            question, metric, target = "requests/s", "requests_per_second", (">=", 0.90)
        added_target = ("<=", 3) if load == "c=16" else None
        for name in names:
            theirs, counts = samples[name, load], name in BASELINES
            rows.append(bench_run.compare(question, load, metric, ours, theirs, name, target if counts else None))
            rows.append(bench_run.compare("server CPU added, µs", load, "server_cpu_us_per_request", ours, theirs,
                                          name, added_target if counts else None, difference=True))
    return rows


def idle_share(samples):
    """CPU share of zerohop while others were under load: median, in cores."""
    shares = [s["bystander_cpu_share"]["zerohop"] for taken in samples.values() for s in taken
              if "zerohop" in s["bystander_cpu_share"]]
    return sorted(shares)[len(shares) // 2] if shares else 0.0


def main():
    options = parse()
    servers = []
    with bench_run.running(servers):
        start_all(options, servers)
        samples = sides.measure(options, servers, sorted(options.concurrency), options.model)
    comparisons = compare_all(samples, [server.name for server in servers[:-1]])
    bench_run.print_samples(samples)
    bench_run.print_comparisons(comparisons)
    print(f"idle zerohop while others were measured: {idle_share(samples):.1%} of a core\n")
    bench_run.write_json(options.out, "hop_free", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         bench_run.flat(samples), comparisons)


if __name__ == "__main__":
    bench_run.run(main)

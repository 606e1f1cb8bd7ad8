#!/usr/bin/env python3
"""What does a request make the server do?

Question: how many system calls, switches and allocations does a request cost,
          and how many of the allocations are made by our own code?
Load:     as hop_free.py, concurrency 1, 16 and 256.
Baseline: no_hop_server in the same run.
Machine:  counts, not times; still, what a server does depends on how long
          things take. System calls and switches are the kernel's count over all
          processes of a side (perf stat; needs perf and the right to trace);
          allocations are those of its first process (count_allocations.so), in a
          run of their own.
"""

import pathlib
import shutil
import subprocess
import tempfile

import bench_run
import sides

# What is counted, and under which name; "context-switches" are of threads, wanted or not.
EVENTS = {
    "raw_syscalls:sys_enter": "system calls",
    "syscalls:sys_enter_sendmsg": "  of them sendmsg",
    "syscalls:sys_enter_recvmsg": "  of them recvmsg",
    "syscalls:sys_enter_epoll_wait": "  of them epoll_wait",
    "syscalls:sys_enter_futex": "  of them futex",
    "context-switches": "switches",
}


def parse():
    parser = bench_run.parser(__doc__, quick="one second a sample")
    parser.add_argument("--concurrency", default=[1, 16, 256], type=bench_run.numbers)
    parser.add_argument("--replicas", default=0, type=int, help="replicas of zerohop; 0: its own default")
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    options = parser.parse_args()
    if options.quick:
        options.seconds = 1.0
    if shutil.which("perf") is None:
        raise bench_run.BenchError("no perf on PATH: system calls cannot be counted")
    return options


def start(options, side):
    if side == "no hop":
        return sides.no_hop(options)
    return sides.zerohop(options, ["--num-replicas", options.replicas] if options.replicas else [])


def generator_of(options, server):
    # Longer than what is counted within, on either side.
    return sides.generator_for(options, [server], 2 * options.seconds + 1, 0, ["--model", sides.MODEL])


def count_calls(options, server, concurrency):
    """{name: count a request} of what the kernel sees, while the load runs."""
    generator = generator_of(options, server)  # waits until the server has all its processes
    with tempfile.NamedTemporaryFile() as counted:
        command = ["perf", "stat", "-x", ",", "-o", counted.name, "-e", ",".join(EVENTS), "-p",
                   ",".join(map(str, server.pids())), "--", "sleep", str(options.seconds)]
        late = ["sh", "-c", 'sleep "$0"; exec "$@"', str(options.warmup + 0.5), *command]
        perf = subprocess.Popen(late, stderr=subprocess.PIPE, text=True)
        sample = generator.sample(server, arguments=["--concurrency", concurrency])
        if perf.wait() != 0:
            raise bench_run.BenchError(f"perf counts nothing here: {perf.stderr.read().strip()}")
        lines = [line.split(",") for line in pathlib.Path(counted.name).read_text().splitlines() if line.count(",") > 2]
    requests = sample["requests_per_second"] * options.seconds
    return {EVENTS[line[2]]: float(line[0]) / requests for line in lines}


def count_allocations(options, side):
    """{concurrency: {name: count a request}}, of a server's first process."""
    with tempfile.TemporaryDirectory() as folder:
        counters = pathlib.Path(folder) / "allocations"
        server = bench_run.start_counted(lambda: start(options, side), options.binaries / "count_allocations.so",
                                         "COUNT_ALLOCATIONS", counters)
        counts = {}
        with bench_run.running([server]):
            generator = generator_of(options, server)
            for concurrency in options.concurrency:
                # All that was answered, warm-up included, beside all that was allocated.
                arguments = ["--warmup", 0, "--concurrency", concurrency]
                generator.sample(server, arguments=arguments)
                before = bench_run.read_counters(counters)
                answered = generator.sample(server, arguments=arguments)["sent"]
                everything, own = (now - then for now, then in zip(bench_run.read_counters(counters), before))
                counts[concurrency] = {"allocations": everything / answered, "  of them our own": own / answered}
    return counts


def measure(options):
    """{(side, load): {name: count a request}}"""
    counts = {}
    for side in ("no hop", "zerohop"):
        allocations = count_allocations(options, side)
        server = start(options, side)
        with bench_run.running([server]):
            for concurrency in options.concurrency:
                counts[side, f"c={concurrency}"] = {**count_calls(options, server, concurrency), **allocations[concurrency]}
    return counts


def main():
    options = parse()
    counts = measure(options)
    loads = [f"c={number}" for number in options.concurrency]
    names = list(counts["zerohop", loads[0]])
    bench_run.print_table(["a request", *(f"{side}, {load}" for load in loads for side in ("no hop", "zerohop"))],
                          [[name, *(f"{counts[side, load][name]:.2f}" for load in loads for side in ("no hop", "zerohop"))]
                           for name in names])
    samples = [{"side": side, "load": load, **count} for (side, load), count in counts.items()]
    bench_run.write_json(options.out, "per_request", __doc__.split("\n", 1)[0], bench_run.settings_of(options), samples, [])


if __name__ == "__main__":
    bench_run.run(main)

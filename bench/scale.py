#!/usr/bin/env python3
"""Does a request cost the same with many connections, with many replicas, and does nothing cost nothing?

Question: what do server CPU and requests/s do from 4 connections to 10,000,
          idle ones and all in use; from 2 replicas to 16; how much memory
          does a connection take; what does each process do while idle?
Load:     load_generator, closed loop, one prompt of 40 characters, 768 floats
          back; concurrency 16, with replicas also 64; every answer verified.
Baseline: the same server with 4 connections, and with 2 replicas; beside it
          no_hop_server with the same connections.
Machine:  client and servers share the cores, and the client pays for its
          connections, too: requests/s fall with them before the server does.
"""

import contextlib
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

import bench_run
import sides

FEW = 4  # connections of the baseline, and those in use among many
BASE_REPLICAS = 2
SMALL_ARENAS = ["--request-arena-mib=8", "--response-arena-mib=16"]  # 31 replicas at once
FLAT = 0.10  # how far cost may move
CONNECTIONS_PER_SECOND = 1500  # that a rotation visits at least, on the machines at hand


def parse():
    parser = bench_run.parser(__doc__, quick="2 rounds of one second; 10,000 connections only idle")
    parser.add_argument("--connections", default=[1, 100, 1000, 10000], type=bench_run.numbers)
    parser.add_argument("--replicas", default=[1, 4, 8, 16], type=bench_run.numbers)
    parser.add_argument("--only", choices=["connections", "memory", "replicas", "idle"], help="one part of it")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=3.0, type=float, help="counted, of every sample")
    parser.add_argument("--warmup", default=0.5, type=float)
    parser.add_argument("--idle-seconds", default=30.0, type=float)
    options = parser.parse_args()
    options.rotated = options.connections
    if options.quick:
        options.rounds, options.seconds, options.warmup, options.idle_seconds = 2, 1.0, 0.3, 10.0
        options.rotated = [number for number in options.connections if number <= 1000]
    return options


def allow_files(options):
    """Raises the limit that servers inherit; connections that no process here may have are left out."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in [n for n in options.connections if most != resource.RLIM_INFINITY and n + 1000 > most]:
        print(f"left out: {number:,} connections need as many files, and a process may have {most:,}")
        options.connections = [n for n in options.connections if n != number]
        options.rotated = [n for n in options.rotated if n != number]


def settle(server):
    """Waits until the server has put away what it was asked for last, thousands of connections for one."""
    for _ in range(100):
        before = server.cpu_seconds()
        time.sleep(0.1)
        if server.cpu_seconds() - before <= 0.01:
            return


def generator_of(options):
    return bench_run.LoadGenerator(options.binaries, bench_run.Watch(options.patience), [
        "--model", sides.MODEL, "--seconds", options.seconds])


def start_replicas(options, servers, number, flags=(), name="zerohop"):
    """Appends a zerohop to `servers` and waits until all its replicas serve."""
    server = sides.zerohop(options, ["--num-replicas", number, *flags], name)
    servers.append(server)
    bench_run.LoadGenerator(options.binaries, None, ["--model", sides.MODEL]).wait_ready(server, 60)
    info = [str(options.binaries / "zerohop"), "info", "--addr", server.address]
    for _ in range(200):
        if subprocess.run(info, capture_output=True, text=True).stdout.count("state=serving") == number:
            return server
        time.sleep(0.05)
    raise bench_run.BenchError(f"{name}: not all of {number} replicas came to serve")


# --- connections ------------------------------------------------------------------------------------------


def in_use(number):
    return f"{number:,} connections, {FEW} in use" if number > 1 else "1 connection"


def in_rotation(number):
    return f"{number:,} connections in turn"


def rotate(options, number):
    """Arguments that have each connection carry a request before counting begins."""
    return ["--channels", number, "--rotate", "--concurrency", 16,
            "--warmup", options.warmup + number / CONNECTIONS_PER_SECOND]


def connection_loads(options):
    """{load: (connections that only stay, arguments)}"""
    loads = {}
    for number in (FEW, *options.connections):
        used = min(number, FEW)
        loads[in_use(number)] = number - used, ["--channels", used, "--concurrency", 16, "--warmup", options.warmup]
    for number in (FEW, *options.rotated):
        if number > 1:
            loads[in_rotation(number)] = 0, rotate(options, number)
    return loads


@contextlib.contextmanager
def held_connections(options, server, number):
    """[who holds them]: `number` connections that carry nothing, from a process that measures nothing."""
    if number == 0:
        yield []
        return
    files = len(os.listdir(f"/proc/{server.process.pid}/fd")) + number
    never = ["--rate", 1e-6, "--seconds", 600]
    command = [options.binaries / "load_generator", server.address, "--model", sides.MODEL,
               "--channels", number, *never]
    holder = bench_run.Server("idle connections", [str(part) for part in command], server.address)
    with bench_run.running([holder]):
        for _ in range(600):
            if len(os.listdir(f"/proc/{server.process.pid}/fd")) >= files:
                break
            time.sleep(0.1)
        else:
            raise bench_run.BenchError(f"{server.name}: {number:,} connections did not come about within a minute")
        settle(holder)
        settle(server)
        yield [holder]
    settle(server)


def measure_connections(options, servers):
    generator, samples = generator_of(options), {}
    for round_number in range(options.rounds):
        for load, (held, arguments) in connection_loads(options).items():
            for server in bench_run.in_turn(servers, round_number):
                others = [other for other in servers if other is not server]
                with held_connections(options, server, held) as holders:
                    sample = generator.sample(server, others + holders, arguments)
                settle(server)
                samples.setdefault((server.name, load), []).append(sample)
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    return samples


def compare_to_base(samples, side, load, base, targets):
    """Server CPU and requests/s of `side` under `load`, as shares of its own under `base`."""
    name = "" if side == "zerohop" else f" of {side}"
    ours, theirs = samples[side, load], samples[side, base]
    return [bench_run.compare(f"{question}{name}", load, metric, ours, theirs, base, aim if targets else None)
            for question, metric, aim in (("server CPU", "server_cpu_us_per_request", ("<=", 1 + FLAT)),
                                          ("requests/s", "requests_per_second", (">=", 1 - FLAT)))]


def compare_connections(options, samples):
    rows = []
    for number in options.connections:
        for side in ("zerohop", "no hop"):
            rows += compare_to_base(samples, side, in_use(number), in_use(FEW), side == "zerohop")
    for number in (FEW, *options.rotated):
        if number == 1:
            continue
        load = in_rotation(number)
        if number != FEW:
            # No target: what gRPC itself does with a connection that comes round is in both.
            for side in ("zerohop", "no hop"):
                rows += compare_to_base(samples, side, load, in_rotation(FEW), False)
        rows.append(bench_run.compare("server CPU added, µs", load, "server_cpu_us_per_request",
                                      samples["zerohop", load], samples["no hop", load], "no hop", difference=True))
    return rows


# --- memory of a connection -------------------------------------------------------------------------------


def anonymous_kib(pid):
    """Memory of the process alone: no files, nothing that is shared with replicas."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss_Anon:\s+(\d+)", rollup, re.MULTILINE)[1])


def most_memory(options, server, number):
    """KiB that the server's first process holds at most while `number` connections carry requests in turn."""
    command = [options.binaries / "load_generator", server.address, "--model", sides.MODEL, "--verify",
               "--seconds", 0.5, *rotate(options, number)]
    load = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    most = 0
    try:
        while load.poll() is None:
            most = max(most, anonymous_kib(server.process.pid))
            time.sleep(0.1)
    finally:
        load.kill()
        load.wait()
    if load.returncode != 0:
        raise bench_run.BenchError(f"{server.name}: {number:,} connections failed")
    settle(server)
    return most


def measure_memory(options, servers):
    """As the samples of a load; the servers are fresh, and the numbers ascend."""
    samples = {}
    for server in servers:
        few = most_memory(options, server, FEW)
        for number in sorted(n for n in options.rotated if n >= 1000):
            most = most_memory(options, server, number)
            samples[server.name, f"{number:,} connections"] = [
                {"most_kib": most, "most_kib_with_few": few, "kib_per_connection": (most - few) / (number - FEW)}]
    return samples


def compare_memory(samples):
    return [bench_run.compare("KiB of memory per connection", load, "kib_per_connection", ours,
                              samples["no hop", load], "no hop")
            for (side, load), ours in samples.items() if side == "zerohop"]


def print_memory(samples):
    bench_run.print_table(["server", "load", "MiB", f"MiB with {FEW}", "KiB per connection"], [
        [side, load, *(f"{taken[0][key] / size:.1f}" for key, size in (
            ("most_kib", 1024), ("most_kib_with_few", 1024), ("kib_per_connection", 1)))]
        for (side, load), taken in samples.items()])


# --- replicas ---------------------------------------------------------------------------------------------


def replicas_name(number):
    return f"{number} replica{'s' if number > 1 else ''}"


def measure_replicas(options, servers):
    for number in sorted((BASE_REPLICAS, *options.replicas)):
        start_replicas(options, servers, number, SMALL_ARENAS, replicas_name(number))
    loads = {f"c={number}": ["--warmup", options.warmup, "--concurrency", number] for number in (16, 64)}
    return bench_run.measure_in_turn(generator_of(options), servers, loads, options.rounds)


def compare_replicas(options, samples):
    base = replicas_name(BASE_REPLICAS)
    return [bench_run.compare(f"{question}, {replicas_name(number)}", load, metric,
                              samples[replicas_name(number), load], samples[base, load], base, aim)
            for load in ("c=16", "c=64") for number in options.replicas
            for question, metric, aim in (("server CPU", "server_cpu_us_per_request", ("<=", 1 + FLAT)),
                                          ("requests/s", "requests_per_second", None))]


# --- idle -------------------------------------------------------------------------------------------------


def idle_counts(pid):
    """(CPU seconds, times that a thread went to sleep) of a process so far."""
    tasks = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/status")]
    sleeps = sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1]) for text in tasks)
    return time.clock_gettime(~pid << 3 | 2), sleeps  # the clock of clock_getcpuclockid(3): ticks are too coarse


def measure_idle(options, servers):
    """What each process does while nothing is asked for, after it had work."""
    generator = generator_of(options)
    for server in servers:
        generator.sample(server, arguments=["--concurrency", 16])
        settle(server)
    processes = {}
    for server in servers:
        for number, pid in enumerate(server.pids()):
            part = "" if len(server.pids()) == 1 else ", broker" if number == 0 else f", replica {number - 1}"
            processes[server.name + part] = pid
    before = {name: idle_counts(pid) for name, pid in processes.items()}
    begin, busy_before = time.monotonic(), bench_run.machine_busy_seconds()
    time.sleep(options.idle_seconds)
    elapsed = time.monotonic() - begin
    disturbed = (bench_run.machine_busy_seconds() - busy_before) / elapsed / os.cpu_count() > bench_run.QUIET_SHARE
    samples = {}
    for name, pid in processes.items():
        cpu, sleeps = (after - start for after, start in zip(idle_counts(pid), before[name]))
        sample = {"cpu_percent": 100 * cpu / elapsed, "wakes_per_second": sleeps / elapsed}
        samples[name, "idle"] = [sample | ({"disturbed": True} if disturbed else {})]
    return samples


def judge_idle(samples):
    """None, rounded to a percent, of a core."""
    aims = (("idle CPU, % of a core", "cpu_percent", 0.5), ("idle wakes/s", "wakes_per_second", 20))
    return [bench_run.value(question, side, metric, taken, ("<=", most) if side.startswith("zerohop") else None)
            for question, metric, most in aims for (side, _), taken in samples.items()]


# ----------------------------------------------------------------------------------------------------------


def beside_no_hop(options, measure):
    """What `measure` says of a fresh no hop and a fresh zerohop."""
    with bench_run.running([]) as servers:
        servers.append(sides.no_hop(options))
        start_replicas(options, servers, BASE_REPLICAS)
        return measure(options, servers)


def main():
    options = parse()
    allow_files(options)
    samples, comparisons = {}, []
    wanted = [options.only] if options.only else ["idle", "connections", "memory", "replicas"]
    if "idle" in wanted:
        idle = beside_no_hop(options, measure_idle)
        samples |= idle
        comparisons += judge_idle(idle)
    if "connections" in wanted:
        connections = beside_no_hop(options, measure_connections)
        bench_run.print_samples(connections)
        samples |= connections
        comparisons += compare_connections(options, connections)
    if "memory" in wanted:
        memory = beside_no_hop(options, measure_memory)
        print_memory(memory)
        samples |= memory
        comparisons += compare_memory(memory)
    if "replicas" in wanted:
        with bench_run.running([]) as servers:
            replicas = measure_replicas(options, servers)
        bench_run.print_samples(replicas)
        samples |= replicas
        comparisons += compare_replicas(options, replicas)
    bench_run.print_comparisons(comparisons)
    bench_run.write_json(options.out, "scale", __doc__.split("\n", 1)[0], bench_run.settings_of(options),
                         bench_run.flat(samples), comparisons)


if __name__ == "__main__":
    bench_run.run(main)

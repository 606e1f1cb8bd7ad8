#!/usr/bin/env python3
"""How long after `kill -9` is the request posted to another replica?

Question: a replica is killed with a request on its lane, and others are idle:
          when is that request on another lane?
Load:     one request at a time, to each replica in turn; who holds it is
          killed by SIGKILL, one death for each replica, then a fresh server.
Baseline: the pidfd of the same process in the same death: the moment from
          which a broker may act that waits for the proof of death.
Machine:  the time of the kill is taken here, that of the posting from the
          broker's log; both read the same clock.
"""

import argparse
import os
import pathlib
import re
import select
import signal
import statistics
import subprocess
import sys
import time

import bench_run
import whole_server

ENDS = re.compile(r"^\[\S+ (\d+):(\d+):(\d+\.\d+)\].* replica (\d+): generation \d+ ends: .* (\d+) posted within")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", default=bench_run.ROOT / "build/bin", type=pathlib.Path)
    parser.add_argument("--out", default=bench_run.ROOT / "build/bench", type=pathlib.Path, help="folder of the JSON")
    parser.add_argument("--model", default=whole_server.default_model(), type=pathlib.Path, help="folder of the model")
    parser.add_argument("--replicas", default=8, type=int)
    parser.add_argument("--servers", default=15, type=int, help="of each engine, one after the other")
    parser.add_argument("--quick", action="store_true", help="four servers of each engine")
    options = parser.parse_args()
    if options.quick:
        options.servers = 4
    return options


def start(options, engine):
    """A server and one client whose single request is on a lane nearly all of the time."""
    port, log = bench_run.free_port(), options.out / "kill_to_post.server.log"
    flags = ["--echo-delay-us=20000"] if engine == "echo" else ["--model", options.model, "--threads=1"]
    server = bench_run.Server("zerohop", [str(part) for part in (
        options.binaries / "zerohop", "serve", "--engine", engine, "--host", "127.0.0.1", "--port", port, "--num-replicas",
        options.replicas, "--served-model-name", "bench", "--load-balancing=round_robin", "--request-arena-mib=8", "--response-arena-mib=16", *flags)],
        f"127.0.0.1:{port}", log)
    # One prompt of 800 characters: 20 ms of a real model, too.
    load = [options.binaries / "load_generator", server.address, "--model", "bench", "--text-chars", 800]
    subprocess.run([str(part) for part in (*load, "--wait-ready", 60, "--seconds", 0)], check=True)
    client = subprocess.Popen([str(part) for part in (*load, "--seconds", 600)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return server, client, log


def replicas_of(options, server):
    """{index: (pid, shards in flight)} of those that serve."""
    text = subprocess.run([str(options.binaries / "zerohop"), "info", "--addr", server.address], capture_output=True, text=True).stdout
    found = re.findall(r"replica=(\d+) pid=(\d+).*?state=(\w+) .*?shards=(\d+)", text, re.DOTALL)
    return {int(i): (int(pid), int(shards)) for i, pid, state, shards in found if state == "serving"}


def until(question):
    end = time.monotonic() + 60
    while not (answer := question()):
        if time.monotonic() > end:
            raise bench_run.BenchError("the server does not do what is waited for; its log is in the output folder")
        time.sleep(0.002)
    return answer


def posted_at(log, replica):
    """When the log says that the latest doomed generation's work was posted: seconds of the day, or None."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        found = ENDS.match(line)
        if found and int(found[4]) == replica:
            return (int(found[1]) * 60 + int(found[2])) * 60 + float(found[3]) if int(found[5]) > 0 else None
    return None


def kill_one(options, server, log, spared):
    """Kills whoever holds the request: (µs to the posting, µs to the pidfd), or None where it was just between two."""
    def holder():
        for index, (pid, shards) in replicas_of(options, server).items():
            if shards > 0 and index not in spared:
                return index, pid
        return None
    if not any(index not in spared for index in replicas_of(options, server)):
        return None
    index, pid = until(holder)
    pidfd = os.pidfd_open(pid)
    begin, killed_at = time.monotonic(), time.time()
    os.kill(pid, signal.SIGKILL)
    select.select([pidfd], [], [])
    gone = time.monotonic() - begin
    os.close(pidfd)
    spared.add(index)
    until(lambda: f"replica {index}: generation 1 died" in log.read_text(errors="replace"))
    posted = posted_at(log, index)
    if posted is None:
        return None
    now = time.localtime(killed_at)
    day = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec + killed_at % 1
    return (posted - day) * 1e6, gone * 1e6


def measure(options, engine):
    deaths = []
    for _ in range(options.servers):
        server, client, log = start(options, engine)
        with bench_run.running([server]):
            try:
                until(lambda: len(replicas_of(options, server)) == options.replicas)
                spared = set()
                for _ in range(options.replicas):
                    if (death := kill_one(options, server, log, spared)) is not None:
                        deaths.append(death)
            finally:
                client.kill()
                client.wait()
    return deaths


def percentile(values, fraction):
    return sorted(values)[min(len(values) - 1, int(fraction * len(values)))]


def main():
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, samples = [], {}
    try:
        for engine in ("echo", "openvino"):
            deaths = samples[engine] = measure(options, engine)
            posted, gone = [d[0] for d in deaths], [d[1] for d in deaths]
            rows.append([engine, len(deaths), *(f"{x:,.0f}" for x in (statistics.median(posted), percentile(posted, 0.99), max(posted),
                        statistics.median(gone), percentile(gone, 0.99))), f"{statistics.median(p / g for p, g in deaths):.2f}"])
    except bench_run.BenchError as error:
        sys.exit(f"kill_to_post: {error}")
    bench_run.print_table(["engine", "deaths", "posted p50 µs", "p99 µs", "most", "pidfd p50 µs", "p99 µs", "ratio"], rows)
    bench_run.write_json(options.out, "kill_to_post", __doc__.splitlines()[0], {"servers": options.servers}, samples, [])


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What is left of the goodput when ten times as much is asked for?

Question: under ten times the load that it can serve, does the server still
          embed what it can, refuse the rest at once, stay within its memory
          and say that it is healthy?
Load:     mixed corpus, 1 to 16 prompts a request; open loop with Poisson
          arrivals at ten times the capacity, every request with a deadline.
Baseline: the capacity: the same server in the same run, closed loop with 32
          requests in flight, before and after.
Machine:  client and server share the cores; only ratios count.
"""

import argparse
import pathlib
import subprocess
import threading

import bench_run
import make_corpus
import whole_server

TIMES = 10


class Witness(threading.Thread):
    """Asks for health once a second, and remembers the most memory that the server held."""

    def __init__(self, options, server):
        super().__init__(daemon=True)
        self.command = [str(options.binaries / "zerohop"), "info", "--addr", server.address]
        self.pid, self.stopping = server.process.pid, threading.Event()
        self.healthy, self.unhealthy, self.most_mib = 0, 0, 0.0
        self.start()

    def run(self):
        while not self.stopping.wait(1):
            status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.most_mib = max(self.most_mib, int(anonymous.split()[1]) / 1024)
            if subprocess.run(self.command, capture_output=True).returncode == 0:
                self.healthy += 1
            else:
                self.unhealthy += 1

    def report(self):
        self.stopping.set()
        self.join()
        return {"healthy": self.healthy, "unhealthy": self.unhealthy, "most_anonymous_mib": round(self.most_mib, 1)}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", default=bench_run.ROOT / "build/bin", type=pathlib.Path)
    parser.add_argument("--out", default=bench_run.ROOT / "build/bench", type=pathlib.Path, help="folder of the JSON")
    parser.add_argument("--model", default=whole_server.default_model(), type=pathlib.Path, help="folder of the model")
    parser.add_argument("--seconds", default=60.0, type=float, help="of overload")
    parser.add_argument("--deadlines", default="2,10,0", help="seconds that requests give themselves; 0: none")
    parser.add_argument("--quick", action="store_true", help="20 seconds of each")
    options = parser.parse_args()
    options.engine, options.dtype, options.replicas, options.ours_command = "openvino", "auto", 2, None
    if options.quick:
        options.seconds = 20.0
    return options


def measure(options, load, server, deadline):
    """Capacity, overload, capacity: one row."""
    capacity = ["--concurrency", 32, "--warmup", 3, "--seconds", min(20, options.seconds)]
    before = load.sample(server, arguments=capacity)
    rate = TIMES * before["requests_per_second"]
    witness = Witness(options, server)
    # Counted from when the queue is long: what was accepted before has been waited for.
    over = load.sample(server, arguments=["--rate", rate, "--concurrency", 50_000, "--warmup", 10, "--seconds",
                                          options.seconds, "--drain", 150, "--deadline", deadline,
                                          "--tolerate", "RESOURCE_EXHAUSTED", "--tolerate", "DEADLINE_EXCEEDED"])
    over |= witness.report()
    after = load.sample(server, arguments=capacity)
    over["capacity"] = (before["prompts_per_second"] + after["prompts_per_second"]) / 2
    over["goodput_ratio"] = over["prompts_per_second"] / over["capacity"]
    return over


def print_overload(rows):
    table = []
    for deadline, row in rows.items():
        late = sum(e["count"] for e in row["errors"] if e["code"] == "DEADLINE_EXCEEDED")
        table.append([deadline or "none", f"{row['capacity']:.0f}", f"{row['prompts_per_second']:.0f}", f"{row['goodput_ratio']:.2f}",
                      f"{row['refused'] / row['sent']:.0%}", f"{row['refusal_p50_us'] / 1e3:.2f}", f"{row['refusal_p99_us'] / 1e3:.1f}",
                      late, f"{row['most_anonymous_mib']:.0f}", f"{row['healthy']} of {row['healthy'] + row['unhealthy']}"])
    bench_run.print_table(["deadline s", "capacity prompts/s", "goodput prompts/s", "ratio", "refused", "refusal p50 ms", "p99 ms",
                           "too late", "MiB, most", "healthy"], table)


def main():
    options = parse()
    mixed, _ = make_corpus.write_corpora(options.out / "corpus", 512, 512, 1)
    server = whole_server.start_server(options)
    with bench_run.running([server]):
        load = bench_run.LoadGenerator(options.binaries, bench_run.Watch(patience=0), [
            "--model", whole_server.MODEL_NAME, "--corpus", mixed, "--prompts", "1-16"])
        load.wait_ready(server, 60)
        rows = {float(d): measure(options, load, server, float(d)) for d in options.deadlines.split(",")}
    print_overload(rows)
    bench_run.write_json(options.out, "overload", __doc__.splitlines()[0],
                         {"times": TIMES, "seconds": options.seconds}, rows, [])


if __name__ == "__main__":
    main()

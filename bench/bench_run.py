"""What every comparison shares: servers, load, quiet cores, ratios, tables, JSON.

A comparison starts all sides once, then measures them in turn, round after
round, so that whatever the machine does meets all sides alike. Ratios are
taken within a round; what is reported is their median with least and most.
A sample taken while other programs used the cores is thrown away and repeated.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
# Share of all cores that other programs may use during a sample.
QUIET_SHARE = 0.08
# Seconds that one comparison spends in all on repeating what was disturbed.
PATIENCE = 120.0


class BenchError(Exception):
    """One sentence for whoever runs the bench."""


# --- the command line -------------------------------------------------------------------------------------


def bench_name():
    return pathlib.Path(sys.argv[0]).stem


def parser(doc, quick):
    """With the flags of every bench; `quick` says what --quick leaves of it."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--binaries", default=ROOT / "build/bin", type=pathlib.Path)
    made.add_argument("--out", default=ROOT / "build/bench", type=pathlib.Path, help="folder of the JSON and of logs")
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--patience", default=PATIENCE, type=float,
                      help="seconds to spend on repeating samples that other programs disturbed")
    return made


def numbers(text):
    """The type of flags like --concurrency 1,16,256."""
    return [int(number) for number in text.split(",")]


def run(main):
    """Runs a bench; one sentence where it fails."""
    try:
        main()
    except BenchError as error:
        sys.exit(f"{bench_name()}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{bench_name()}: interrupted; servers ended, nothing written")


# --- processes and their CPU time -------------------------------------------------------------------------


def _stat_fields(pid):
    """Fields of /proc/PID/stat after the name, or None where the process is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rsplit(")", 1)[1].split()


def process_tree(pid):
    """`pid` and all its descendants alive now."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat_fields(entry)) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def cpu_seconds(pids):
    """CPU seconds that the processes, and children they have waited for, have used."""
    ticks = 0
    for pid in pids:
        if (fields := _stat_fields(pid)) is not None:
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / TICKS


def machine_busy_seconds():
    """CPU seconds spent by all programs, interrupts left out (they serve our packets too)."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(value) for value in fields[1:4]) / TICKS


class Server:
    """One server under test, started here and ended here, by the pids of its processes."""

    def __init__(self, name, command, address=None, log=None, behind=()):
        """`address`: where it listens; None where it prints "listening on ADDRESS".

        `behind`: servers that work for this one; they count as its own and end with it.
        """
        self.name, self.command, self.address, self.behind = name, command, address, behind
        self._log = open(log, "w") if log else subprocess.DEVNULL
        stdout = subprocess.PIPE if address is None else self._log
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=self._log,
                                            text=True)
        except OSError as error:
            raise BenchError(f"cannot start {name}: {error}") from error
        if address is None:
            self.address = self._read_address()

    def _read_address(self):
        readable, _, _ = select.select([self.process.stdout], [], [], 20)
        line = self.process.stdout.readline() if readable else ""
        if not line.startswith("listening on "):
            self.stop()
            raise BenchError(f"{self.name} did not say where it listens: {line!r}")
        return line.split()[-1]

    def pids(self):
        """Its processes, their descendants and those behind it, as they are now."""
        return process_tree(self.process.pid) + [pid for server in self.behind for pid in server.pids()]

    def cpu_seconds(self):
        return cpu_seconds(self.pids())

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                print(f"warning: {self.name} did not end within 15 s of SIGTERM", file=sys.stderr)
                self.process.kill()
                self.process.wait()
        if self._log is not subprocess.DEVNULL:
            self._log.close()
        for server in self.behind:
            server.stop()


def start_counted(start, library, variable, path):
    """What `start()` starts, with a library of our own preloaded that counts into the file `path` (count_*.cc)."""
    asked = {"LD_PRELOAD": str(library), variable: str(path)}
    os.environ.update(asked)
    try:
        return start()
    finally:
        for name in asked:
            del os.environ[name]


def read_counters(path):
    """The two numbers in it."""
    return struct.unpack("QQ", path.read_bytes())


@contextlib.contextmanager
def running(servers):
    """Ends all of `servers` (a list that may still grow), whatever happens."""

    def interrupted(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        yield servers
    finally:
        signal.signal(signal.SIGTERM, before)
        for server in reversed(servers):
            server.stop()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- samples ----------------------------------------------------------------------------------------------


class Watch:
    """Runs one measuring program at a time and repeats what other programs disturbed."""

    def __init__(self, patience=PATIENCE):
        self.patience = patience

    def sample(self, command, server=None, bystanders=()):
        """The JSON line that `command` prints, with what others used meanwhile.

        `server`: whom it measures; `bystanders`: servers that should be idle.
        """
        while True:
            begin = time.monotonic()
            taken = self._sample_once([str(part) for part in command], server, bystanders)
            if taken["other_cpu_share"] <= QUIET_SHARE:
                return taken
            if self.patience <= 0:
                taken["disturbed"] = True
                return taken
            time.sleep(1)
            self.patience -= time.monotonic() - begin

    @staticmethod
    def _sample_once(command, server, bystanders):
        own_before = os.times()
        idle_before = [other.cpu_seconds() for other in bystanders]
        server_before = server.cpu_seconds() if server else 0.0
        busy_before, begin = machine_busy_seconds(), time.monotonic()
        outcome = subprocess.run(command, capture_output=True, text=True)
        elapsed, busy = time.monotonic() - begin, machine_busy_seconds() - busy_before
        server_cpu = (server.cpu_seconds() if server else 0.0) - server_before
        idle = [other.cpu_seconds() - before for other, before in zip(bystanders, idle_before)]
        own = sum(os.times()[:4]) - sum(own_before[:4])
        if outcome.returncode != 0:
            shown = (outcome.stderr or outcome.stdout).strip()[:1000]
            raise BenchError(f"{' '.join(command)} failed: {shown}")
        taken = json.loads(outcome.stdout)
        taken["other_cpu_share"] = max(0.0, busy - server_cpu - own - sum(idle)) / (elapsed * os.cpu_count())
        taken["bystander_cpu_share"] = {o.name: spent / elapsed for o, spent in zip(bystanders, idle)}
        return taken


class LoadGenerator:
    """build/bin/load_generator against any server, with the arguments that all samples share."""

    def __init__(self, binaries, watch, arguments):
        self.program = str(pathlib.Path(binaries) / "load_generator")
        self.watch = watch
        self.arguments = ["--verify", *arguments]

    def wait_ready(self, server, seconds):
        """Raises BenchError unless an Encode through `server` succeeds within `seconds`."""
        command = [self.program, server.address, "--wait-ready", seconds, *self.arguments, "--seconds", 0]
        outcome = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if outcome.returncode != 0:
            raise BenchError(f"{server.name}: {outcome.stderr.strip()}")

    def sample(self, server, bystanders=(), arguments=()):
        cpu_of = ["--cpu-of", ",".join(str(pid) for pid in server.pids())]
        command = [self.program, server.address, *self.arguments, *arguments, *cpu_of]
        return self.watch.sample(command, server, bystanders)


def in_turn(sides, round_number):
    """Sides in an order that turns round by round, so that none always comes first."""
    return sides if round_number % 2 == 0 else sides[::-1]


def measure_in_turn(generator, servers, loads, rounds):
    """{(side, load): [sample per round]}; `loads`: {load: arguments of load_generator}."""
    samples = {(server.name, load): [] for load in loads for server in servers}
    for round_number in range(rounds):
        for load, arguments in loads.items():
            for server in in_turn(servers, round_number):
                others = [other for other in servers if other is not server]
                samples[server.name, load].append(generator.sample(server, others, arguments))
        print(f"round {round_number + 1} of {rounds}", file=sys.stderr)
    return samples


def flat(samples):
    """Samples as the JSON has them: a list, each with its side and its load."""
    return [{"side": side, "load": load, **sample} for (side, load), taken in samples.items() for sample in taken]


# --- figures ----------------------------------------------------------------------------------------------


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def compare(question, load, metric, ours, baseline, baseline_name, target=None, difference=False):
    """One row of issue-style figures: ours against baseline, sample by sample of the same round.

    `target`: ("<=", 1.1) or (">=", 0.9); `difference`: ours - baseline rather than ours / baseline.
    """
    pairs = [(a[metric], b[metric]) for a, b in zip(ours, baseline)]
    figure = spread([a - b if difference else a / b for a, b in pairs])
    row = {
        "question": question,
        "load": load,
        "metric": metric,
        "kind": "difference" if difference else "ratio",
        "baseline": baseline_name,
        "ours": spread([a for a, _ in pairs]),
        "theirs": spread([b for _, b in pairs]),
        "figure": figure,
        "rounds": len(pairs),
        "disturbed_rounds": sum(1 for a, b in zip(ours, baseline) if a.get("disturbed") or b.get("disturbed")),
    }
    return _judged(row, target)


def value(question, load, metric, ours, target=None):
    """One row of figures that count by themselves, like those of a server that should be idle."""
    figure = spread([sample[metric] for sample in ours])
    row = {
        "question": question,
        "load": load,
        "metric": metric,
        "kind": "value",
        "baseline": "",
        "ours": figure,
        "figure": figure,
        "rounds": len(ours),
        "disturbed_rounds": sum(1 for sample in ours if sample.get("disturbed")),
    }
    return _judged(row, target)


def _judged(row, target):
    """`row` with its target, and whether that was met."""
    if target is not None:
        sign, limit = target
        row["target"] = f"{sign} {limit}"
        figure = row["figure"]["median"]
        met = figure <= limit if sign == "<=" else figure >= limit
        # Figures from a busy machine prove nothing, either way.
        row["met"] = met if row["disturbed_rounds"] * 2 < row["rounds"] else None
    return row


def usable_cores():
    return len(os.sched_getaffinity(0))


def machine():
    """What figures depend on; nothing that names the host."""
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cores": usable_cores(),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def settings_of(options):
    """What was asked for, without folders of this machine."""
    return {key: str(said) for key, said in vars(options).items() if not isinstance(said, pathlib.Path)}


def write_json(folder, name, question, settings, samples, comparisons):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "bench": name,
        "question": question,
        "machine": machine(),
        "settings": settings,
        "comparisons": comparisons,
        "samples": samples,
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(report, indent=1) + "\n")
    return file


def print_table(headings, rows):
    rows = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    print(flush=True)


def _number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def print_samples(samples):
    """Medians of every side at every load: {(side, load): [sample]}."""
    rows = []
    for (side, load), taken in samples.items():
        middle = {key: statistics.median(s[key] for s in taken) for key in (
            "requests_per_second", "prompts_per_second", "p50_us", "p99_us", "server_cpu_us_per_request")}
        rows.append([side, load, *(_number(value) for value in middle.values())])
    print_table(["server", "load", "requests/s", "prompts/s", "p50 µs", "p99 µs", "server CPU µs/request"], rows)


def print_comparisons(comparisons):
    rows = []
    for row in comparisons:
        figure = row["figure"]
        verdict = {None: "", True: "met", False: "NOT met"}[row.get("met")]
        if row["disturbed_rounds"]:
            verdict += f" ({row['disturbed_rounds']} of {row['rounds']} rounds disturbed)"
        rows.append([row["question"], row["load"], row["baseline"], row["kind"], f"{figure['median']:.3f}",
                     f"{figure['least']:.3f}..{figure['most']:.3f}", row.get("target", ""), verdict.strip()])
    print_table(["question", "load", "against", "kind", "median", "spread", "target", ""], rows)

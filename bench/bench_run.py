"""What every comparison shares: servers, load, quiet cores, ratios, tables, JSON.

A comparison starts all sides once, then measures them in turn, round after
round, so that whatever the machine does meets all sides alike. Ratios are
taken within a round; what is reported is their median with least and most.
A sample taken while other programs used the cores is thrown away and repeated.
"""

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
    """One server process under test, started here and ended here, by its own pid."""

    def __init__(self, name, command, address=None, log=None):
        """`address`: where it listens; None where it prints "listening on ADDRESS"."""
        self.name, self.command, self.address = name, command, address
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

    def cpu_seconds(self):
        return cpu_seconds(process_tree(self.process.pid))

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
        """The JSON line that `command` prints, with what `server` and others used meanwhile.

        `bystanders`: servers that should be idle.
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
        taken["server_cpu_us_per_request"] = server_cpu * 1e6 / max(taken.get("sent", 1), 1)
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
        return self.watch.sample([self.program, server.address, *self.arguments, *arguments], server, bystanders)


def in_turn(sides, round_number):
    """Sides in an order that turns round by round, so that none always comes first."""
    return sides if round_number % 2 == 0 else sides[::-1]


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
    if target is not None:
        sign, limit = target
        row["target"] = f"{sign} {limit}"
        met = figure["median"] <= limit if sign == "<=" else figure["median"] >= limit
        # Figures from a busy machine prove nothing, either way.
        row["met"] = met if row["disturbed_rounds"] * 2 < len(pairs) else None
    return row


def machine():
    """What figures depend on; nothing that names the host."""
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_average": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


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
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


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

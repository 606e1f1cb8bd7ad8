#!/usr/bin/env python3
"""Draws what latency_against_load.py measured: plot.py build/bench/latency_against_load.json --svg FILE.

SVG written by hand: no library to install, and a diff that can be read. Greys and hues are of middle lightness, on
no background of their own, so that one file serves light and dark pages.
"""

import argparse
import json
import math
import pathlib
import statistics
from xml.sax.saxutils import escape

COLOURS = {"zerohop": "#e8710a", "no hop": "#8b919a", "gRPC hop": "#3b82f6"}
INK = "#808790"
WIDTH, HEIGHT = 890, 444
TOP, BOTTOM = 64, 352  # of the panels, in pixels from above
PANELS = (("Latency, median", "p50_us", 66, 436), ("Latency, 99th percentile", "p99_us", 496, 866))  # left, right
LABELLED = {"1": 14, "16": -6, "256": -6}  # points with their requests in flight beside them, so far below


class Scale:
    """From figures to pixels along one axis."""

    def __init__(self, low, high, begin, end, log=False):
        self._warp = math.log10 if log else float
        self._low, self._span = self._warp(low), self._warp(high) - self._warp(low)
        self._begin, self._length = begin, end - begin

    def __call__(self, figure):
        return self._begin + (self._warp(figure) - self._low) / self._span * self._length


def log_ticks(low, high):
    """Every 1, 2 and 5 of a decade, from the last one not above `low` to the first one not below `high`."""
    steps = [factor * 10**decade for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
             for factor in (1, 2, 5)]
    first = max(step for step in steps if step <= low)
    last = min(step for step in steps if step >= high)
    return [step for step in steps if first <= step <= last]


def even_ticks(high, most=7):
    """From 0 to the first one not below `high`, in steps of 1, 2 or 5."""
    decade = 10 ** math.floor(math.log10(high / most))
    step = next(factor * decade for factor in (1, 2, 5, 10) if high / (factor * decade) <= most)
    return [step * i for i in range(math.ceil(high / step) + 1)]


def micros(figure):
    return f"{figure / 1000:g} ms" if figure >= 1000 else f"{figure:g} µs"


def rate(figure):
    return f"{figure / 1000:g}k" if figure >= 1000 else f"{figure:g}"


# --- SVG --------------------------------------------------------------------------------------------------


def text(x, y, said, anchor="middle", size=12, colour=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
            f'fill="{colour}">{escape(said)}</text>')


def line(x1, y1, x2, y2, opacity):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{INK}" '
            f'stroke-opacity="{opacity}"/>')


def curve(points, colour):
    """Markers joined in the order of `points`, in pixels."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>' for x, y in points)
    return (f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
            f'<g fill="{colour}">{dots}</g>')


def frame(title, left, right, xs, ys, x, y, y_labels):
    parts = [text(left, TOP - 12, title, "start", 13, weight="600")]
    for tick in ys:
        parts.append(line(left, y(tick), right, y(tick), 0.22))
        if y_labels:
            parts.append(text(left - 8, y(tick) + 4, micros(tick), "end"))
    for tick in xs:
        parts += [line(x(tick), BOTTOM, x(tick), BOTTOM + 5, 0.7), text(x(tick), BOTTOM + 20, rate(tick))]
    parts += [line(left, BOTTOM, right, BOTTOM, 0.7), text((left + right) / 2, BOTTOM + 40, "requests/s answered")]
    return parts


def legend(sides):
    parts, at = [], PANELS[0][2]
    for side in sides:
        parts += [curve([(at, 20), (at + 14, 20), (at + 28, 20)], COLOURS[side]),
                  text(at + 38, 24.5, side, "start", 13, COLOURS[side], "600")]
        at += 76 + 8 * len(side)
    return parts


def medians(samples):
    """{side: [(requests in flight, {metric: median})]}, in the order in which they were measured."""
    taken = {}
    for sample in samples:
        taken.setdefault(sample["side"], {}).setdefault(sample["load"], []).append(sample)
    metrics = ("requests_per_second", "p50_us", "p99_us")
    return {side: [(load.removeprefix("c="), {m: statistics.median(s[m] for s in some) for m in metrics})
                   for load, some in loads.items()] for side, loads in taken.items()}


def caption(report, loads):
    machine, rounds = report["machine"], report["settings"]["rounds"]
    said = (f"Points: {', '.join(loads)} requests in flight, each sent when one was answered; "
            f"medians of {rounds} rounds.",
            f"Client and servers share {machine['cores']} cores: {machine['cpu']}.")
    return [text(PANELS[0][2], HEIGHT - 30 + 16 * number, line_said, "start", 11)
            for number, line_said in enumerate(said)]


def latency_against_load(report):
    """The SVG, as text."""
    curves = {side: points for side, points in medians(report["samples"]).items() if side in COLOURS}
    figures = [figure for points in curves.values() for _, figure in points]
    xs = even_ticks(max(figure["requests_per_second"] for figure in figures))
    ys = log_ticks(min(figure["p50_us"] for figure in figures), max(figure["p99_us"] for figure in figures))
    y = Scale(ys[0], ys[-1], BOTTOM, TOP, log=True)
    parts = legend(curves)
    for number, (title, metric, left, right) in enumerate(PANELS):
        x = Scale(xs[0], xs[-1], left, right)
        parts += frame(title, left, right, xs, ys, x, y, y_labels=number == 0)
        for side, points in curves.items():
            pixels = [(x(figure["requests_per_second"]), y(figure[metric])) for _, figure in points]
            parts.append(curve(pixels, COLOURS[side]))
            parts += [text(px - 7, py + LABELLED[load], load, "end", 10, COLOURS[side])
                      for (px, py), (load, _) in zip(pixels, points) if load in LABELLED]
    parts += caption(report, [load for load, _ in points])
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
            f"<title>Latency against load: {escape(', '.join(curves))}</title>\n" + "\n".join(parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=pathlib.Path, help="what latency_against_load.py wrote")
    parser.add_argument("--svg", type=pathlib.Path, help="file to write; by default beside the JSON")
    options = parser.parse_args()
    drawn = latency_against_load(json.loads(options.json.read_text()))
    (options.svg or options.json.with_suffix(".svg")).write_text(drawn)


if __name__ == "__main__":
    main()

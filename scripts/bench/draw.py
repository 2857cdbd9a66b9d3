#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws a result of the benchmark for the documentation: tables as reStructuredText, and plots.

Usage: draw.py NAME.json DIRECTORY STEM
Writes STEM.inc, STEM.json, and the plots as SVG and PNG.

The plots are matplotlib's: it draws both formats, it is in Debian, and axes of our own would be
several times this file.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullFormatter

import figures
from figures import OURS, PEERS

# Okabe and Ito's, which the colour-blind tell apart.
COLOURS = {"qemufile": "#000000", "memfd": "#0072B2", "tmpfs": "#E69F00", "pipe": "#009E73",
           "socket": "#D55E00", "memcpy": "#CC79A7"}
MARKERS = {"qemufile": "D", "memfd": "o", "tmpfs": "s", "pipe": "^", "socket": "v",
           "memcpy": "x"}
# The same text and the same ids in each run, so that a plot differs only where a figure does.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "qemufile", "font.size": 9,
                            "axes.spines.top": False, "axes.spines.right": False})


# ---- which table a row belongs to

def is_growth(row):
    return row["size"] > 0 and not row["work"].startswith("clone of ")


def kind(row):
    if row["work"].startswith("qemu, "):
        return "qemu"
    if row["threads"]:
        return "threads"
    if row["work"].startswith("live"):
        return "live"
    return "growth" if is_growth(row) else "files"


TITLES = [
    ("files", "Calls on a file"),
    ("threads", "One and two threads"),
    ("live", "Two processes"),
    ("qemu", "QEMU"),
]


# ---- tables

def csv(cells):
    return ", ".join('"' + cell.replace('"', '""') + '"' for cell in cells)


def write_tables(result, path):
    machine = result["machine"]
    text = [".. SPDX-License-Identifier: GPL-2.0", "",
            ".. Written by make bench: changes are lost.", "",
            f"Linux {machine['kernel']}, {machine['cpus']} processor"
            f"{'s' if machine['cpus'] > 1 else ''} ({machine['cpu']}), {machine['memory']} MiB, "
            f"{machine['rounds']} rounds, {machine['date']}"
            + (f"; {machine['note']}" if machine.get("note") else "") + ".", ""]
    for wanted, title in TITLES:
        rows = [row for row in result["rows"] if kind(row) == wanted]
        if not rows:
            continue
        lines = figures.table({**result, "rows": rows})
        keep = [i for i in range(len(lines[0]))
                if i == 0 or any(line[i] != "–" for line in lines[1:])]
        if machine.get("counted"):
            title += ": instructions of a page of 4 KiB, or of an operation"
        text += [f".. csv-table:: {title}", "   :header-rows: 1", ""]
        text += ["   " + csv([line[i] for i in keep]) for line in lines]
        text.append("")
    if result["growth"]:
        text += ["Growth:", ""]
        text += ["- " + figures.verdict(row) + "." for row in result["growth"]]
        text.append("")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(text))


# ---- plots

def save(figure, stem):
    figure.savefig(stem + ".svg", metadata={"Date": None}, bbox_inches="tight")
    figure.savefig(stem + ".png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def whisker(axes, ratio, at, peer, label):
    axes.errorbar(ratio["median"], at, fmt=MARKERS[peer], color=COLOURS[peer], markersize=5,
                  xerr=[[ratio["median"] - ratio["q1"]], [ratio["q3"] - ratio["median"]]],
                  linewidth=1.2, label=label)


def draw_ratios(result, stem):
    """Of all rows but those of sizes, which draw_growth() has."""
    rows = [row for row in result["rows"]
            if not row["size"] and any(figures.tells(ratio) for ratio in row["ratios"].values())]
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(8, 0.25 * len(rows) + 1))
    seen = set()
    for number, row in enumerate(rows):
        present = [peer for peer in PEERS if figures.tells(row["ratios"].get(peer))]
        for place, peer in enumerate(present):
            # Each beside the other, as they are often at the same place.
            at = number + 0.24 * (place - (len(present) - 1) / 2)
            whisker(axes, row["ratios"][peer], at, peer, None if peer in seen else peer)
            seen.add(peer)
    axes.axvline(1, color="#666666", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [figures.name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="both", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    what = "the peer's instructions / qemufile's" if result["machine"].get("counted") else \
        "times as fast as the peer"
    axes.set_xlabel(f"{what} (median of the rounds, first to third quartile)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    save(figure, stem)


def draw_threads(result, stem):
    rows = [row for row in result["rows"] if row["threads"] > 1]
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(8, 0.4 * len(rows) + 1))
    seen = set()
    for number, row in enumerate(rows):
        peers = [peer for peer in [OURS] + PEERS if figures.tells(row["speedup"].get(peer))]
        for place, peer in enumerate(peers):
            at = number + 0.2 * (place - (len(peers) - 1) / 2)
            whisker(axes, row["speedup"][peer], at, peer, None if peer in seen else peer)
            seen.add(peer)
    axes.set_yticks(range(len(rows)), [row["work"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 2.1)
    axes.axvline(1, color="#666666", linewidth=0.8)
    axes.axvline(2, color="#666666", linewidth=0.8, linestyle=":")
    axes.grid(axis="both", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("two threads: times as fast as one")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    save(figure, stem)


def size_axis(axes, sizes):
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [figures.size_name(size) for size in sizes], rotation=30)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)


def draw_growth(result, stem):
    rows = [row for row in result["growth"] if "times" in row and row["allowed"] is not None]
    clones = {}
    for row in result["rows"]:
        if row["size"] and row["work"].startswith("clone of "):
            for peer in (OURS, "memfd"):
                if peer in row["peers"]:
                    clones.setdefault(peer, {})[row["size"]] = row["peers"][peer]
    if not rows or not clones:
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for row in rows:
        sizes = [int(size) for size in row["times"]]
        ratios = list(row["times"].values())
        left.plot(sizes, [ratio["median"] for ratio in ratios], MARKERS[row["peer"]],
                  linestyle="-" if row["work"].startswith("append") else "--", markersize=4,
                  color=COLOURS[row["peer"]],
                  label=f"{row['work'].removesuffix(', of ').removesuffix(' at ')}, {row['peer']}")
    left.set_ylim(bottom=0)
    size_axis(left, sorted({int(size) for row in rows for size in row["times"]}))
    left.set_ylabel("time of a byte, smallest = 1")
    left.set_xlabel("length of the stream")
    left.legend(frameon=False, fontsize=7)
    for peer, points in clones.items():
        label = "clone, qemufile" if peer == OURS else f"copy, {peer}"
        right.plot(list(points), [point["median"] for point in points.values()],
                   MARKERS[peer] + "-", markersize=4, color=COLOURS[peer], label=label)
    right.set_yscale("log")
    size_axis(right, sorted({size for points in clones.values() for size in points}))
    right.set_ylabel("µs")
    right.set_xlabel("length of the stream")
    right.legend(frameon=False, fontsize=7)
    save(figure, stem)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    result = figures.load(sys.argv[1])
    if not result["machine"].get("date"):
        raise figures.Bad(f"{sys.argv[1]}: it does not say which machine was measured, and when; "
                          "run make bench again")
    stem = os.path.join(sys.argv[2], sys.argv[3])
    write_tables(result, stem + ".inc")
    draw_ratios(result, stem + "-ratios")
    draw_threads(result, stem + "-threads")
    draw_growth(result, stem + "-growth")
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    try:
        main()
    except figures.Bad as problem:
        sys.exit(f"error: {problem}")

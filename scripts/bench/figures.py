# SPDX-License-Identifier: GPL-2.0
"""From the lines of JSON that the benchmark prints to medians, ratios and verdicts.

A ratio is taken round by round: both numbers are of the same round of one run, so what else the
machine does touches both. Its spread is from the first to the third quartile of the rounds. A ratio
whose spread is wider than itself is not told.
"""

import json
import statistics

OURS = "qemufile"
PEERS = ["memfd", "tmpfs", "pipe", "socket", "memcpy"]
MIB = 1 << 20


class Bad(Exception):
    """Input that is no result of the benchmark; the text says what to do."""


def spread(values):
    """Median, first and third quartile."""
    if len(values) < 2:
        return {"median": values[0], "q1": values[0], "q3": values[0], "rounds": 1}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3, "rounds": len(values)}


def tells(ratio):
    """Whether a ratio can be told: its spread is not wider than itself."""
    return ratio is not None and ratio["q3"] - ratio["q1"] <= ratio["median"]


def read_lines(path):
    """The machine, and the rounds, of a file of lines of JSON."""
    machine, rounds = {}, []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.startswith("{"):
                    continue  # what a program has said beside
                try:
                    entry = json.loads(line)
                    if "machine" in entry:
                        machine = entry["machine"]
                    else:
                        if entry["ns"] <= 0 or entry["bytes"] <= 0:
                            raise ValueError
                        rounds.append({"threads": 0, **entry, "round": int(entry["round"]),
                                       "work": str(entry["work"]), "peer": str(entry["peer"])})
                except (ValueError, KeyError, TypeError):
                    raise Bad(f"{path}:{number}: no line of the benchmark; "
                              "run it again (make bench)") from None
    except OSError as error:
        raise Bad(f"{path}: {error.strerror}; run make bench first") from None
    if not rounds:
        raise Bad(f"{path}: no round was measured; run make bench again, and look at "
                  "what it prints")
    return machine, rounds


def cost(entry):
    """Nanoseconds for a byte, or for an operation."""
    return entry["ns"] / entry.get("calls", entry["bytes"])


def by_round(entries):
    return {entry["round"]: entry for entry in entries}


def ratio_of(slower, faster, value=cost):
    """How many times as fast the second is as the first, of the rounds that both have."""
    one, other = by_round(slower), by_round(faster)
    values = [value(one[number]) / value(other[number]) for number in sorted(one.keys() & other.keys())]
    return spread(values) if values else None


def summary(machine, rounds):
    """What is written as NAME.json."""
    groups = {}
    for entry in rounds:
        groups.setdefault((entry["work"], entry["threads"]), {}) \
            .setdefault(entry["peer"], []).append(entry)
    rows = []
    for (work, threads), peers in groups.items():
        row = {"work": work, "threads": threads, "peers": {}, "ratios": {}, "speedup": {}}
        any_entry = next(iter(peers.values()))[0]
        row["size"] = any_entry.get("size", 0)
        row["unit"] = "us" if "calls" in any_entry else "MiB/s"
        for peer, entries in peers.items():
            if row["unit"] == "us":
                figure = spread([cost(entry) / 1e3 for entry in entries])
            else:
                figure = spread([1e9 / MIB / cost(entry) for entry in entries])
            for count in ("instructions", "held"):
                if all(count in entry for entry in entries):
                    figure[count] = statistics.median(entry[count] / entry["bytes"]
                                                      for entry in entries)
            row["peers"][peer] = figure
            if peer != OURS and OURS in peers:
                row["ratios"][peer] = ratio_of(entries, peers[OURS])
            if threads > 1 and peer in groups.get((work, 1), {}):
                row["speedup"][peer] = ratio_of(groups[(work, 1)][peer], entries)
        rows.append(row)
    return {"machine": machine, "rows": rows, "growth": growth(groups)}


# ---- what changes with the size of a stream

# Work, and by how much its time may differ between sizes, as a part of the smallest's.
GROWTH = [("append at ", 0.10), ("pread, random, of ", 0.20), ("clone of ", None)]
OVERHEAD = 0.005


def growth(groups):
    """Rows of sizes: the time of a byte against that at the smallest size, by rounds."""
    result = []
    for prefix, allowed in GROWTH:
        for peer in [OURS, "memfd"]:
            sizes = {peers[peer][0]["size"]: peers[peer] for (work, _), peers in groups.items()
                     if work.startswith(prefix) and peer in peers and "size" in peers[peer][0]}
            if len(sizes) < 2:
                continue
            smallest = sizes[min(sizes)]
            times = {size: ratio_of(entries, smallest) for size, entries in sorted(sizes.items())}
            result.append({"work": prefix, "peer": peer, "allowed": allowed, "times": times})
    for (work, _), peers in groups.items():
        if work.startswith("memory of "):
            for peer, entries in peers.items():
                over = spread([entry["held"] / entry["bytes"] - 1 for entry in entries])
                result.append({"work": work, "peer": peer, "allowed": OVERHEAD, "overhead": over})
    return result


def verdict(row):
    """One sentence of a row of growth()."""
    if "overhead" in row:
        over = row["overhead"]["median"]
        return (f"{row['work']}: {row['peer']} takes {over * 100:.2f} % more than the data; "
                f"allowed {row['allowed'] * 100:.1f} %: {'holds' if over <= row['allowed'] else 'DOES NOT HOLD'}")
    times = {size: ratio["median"] for size, ratio in row["times"].items() if tells(ratio)}
    text = ", ".join(f"{size_name(int(size))} {times[size]:.2f}" for size in times)
    text = f"{row['work'].strip()} N, {row['peer']}, time against the smallest: {text}"
    if row["peer"] != OURS:
        return text  # to compare with: nothing is promised
    if row["allowed"] is None:
        # A clone has no bytes to copy: its time may not follow the size at all.
        sizes = [int(size) for size in times]
        flat = max(times.values()) < 3 or max(times.values()) < (max(sizes) / min(sizes)) ** 0.25
        return f"{text}; constant: {'holds' if flat else 'DOES NOT HOLD'}"
    allowed = row["allowed"]
    ratios = [ratio for ratio in row["times"].values() if tells(ratio)]
    worst = max(abs(ratio["median"] - 1) for ratio in ratios)
    if any(ratio["q1"] > 1 + allowed or ratio["q3"] < 1 - allowed for ratio in ratios):
        result = f"DOES NOT HOLD ({worst * 100:.0f} %)"
    elif worst <= allowed and len(ratios) == len(row["times"]):
        result = "holds"
    else:
        result = "cannot be told, the spread is too wide"
    return f"{text}; allowed {allowed * 100:.0f} %: {result}"


def size_name(size):
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


# ---- comparison with a run before

WORSE = 0.25


def compare(new, old):
    """The ratios that are worse than before: by a quarter, and by more than both spreads."""
    before = {(row["work"], row["threads"]): row for row in old["rows"]}
    worse, looked_at = [], 0
    for row in new["rows"]:
        other = before.get((row["work"], row["threads"]))
        if other is None:
            continue
        pairs = [(f"of {peer}", row["ratios"][peer], other["ratios"].get(peer))
                 for peer in row["ratios"]]
        if OURS in row["speedup"]:
            pairs.append(("of one thread", row["speedup"][OURS], other["speedup"].get(OURS)))
        for what, now, then in pairs:
            if not (tells(now) and tells(then)):
                continue
            looked_at += 1
            if now["median"] < then["median"] * (1 - WORSE) and now["q3"] < then["q1"]:
                worse.append(f"{name(row)}: {now['median']:.2f} {what}, was {then['median']:.2f}")
    return worse, looked_at


def name(row):
    return row["work"] + (f", {row['threads']} threads" if row["threads"] > 1 else
                          ", 1 thread" if row["threads"] == 1 else "")


def load(path):
    """A NAME.json of before."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        if not isinstance(result["rows"], list) or not isinstance(result["machine"], dict):
            raise ValueError
        return result
    except OSError as error:
        raise Bad(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Bad(f"{path}: no result of make bench; give a build/bench/NAME.json") from None


# ---- as text

def figure(value, unit, counted=False):
    """A median with its unit."""
    if value is None:
        return "–"
    if counted:
        # The clock is one of instructions, a nanosecond each.
        number = value["median"] * 1e3 if unit == "us" else 4096e9 / MIB / value["median"]
        return f"{number:,.0f}"
    number = value["median"]
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{digits}f} {'µs' if unit == 'us' else unit}"


def ratio_text(ratio):
    if ratio is None:
        return "–"
    if not tells(ratio):
        return "too wide"
    digits = 2 if ratio["median"] < 20 else 0
    low, middle, high = (f"{ratio[part]:,.{digits}f}" for part in ("q1", "median", "q3"))
    return f"{middle} ({low}–{high})"


def table(result):
    """Rows of strings, the head first."""
    counted = bool(result["machine"].get("counted"))
    present = [peer for peer in PEERS if any(peer in row["peers"] for row in result["rows"])]
    one = any(row["speedup"].get(OURS) for row in result["rows"])
    lines = [["work", OURS] + present + [f"/ {peer}" for peer in present] +
             (["speed-up", "memfd's"] if one else [])]
    for row in result["rows"]:
        line = [name(row)]
        line += [figure(row["peers"].get(peer), row["unit"], counted) for peer in [OURS] + present]
        line += [ratio_text(row["ratios"].get(peer)) for peer in present]
        if one:
            line += [ratio_text(row["speedup"].get(OURS)), ratio_text(row["speedup"].get("memfd"))]
        lines.append(line)
    return lines


def as_text(lines):
    # A column without anything is left out.
    keep = [i for i in range(len(lines[0])) if i == 0 or any(line[i] != "–" for line in lines[1:])]
    lines = [[line[i] for i in keep] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keep))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths)))
                     for line in lines)

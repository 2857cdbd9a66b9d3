#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prints the table of a run of the benchmark, writes it as JSON, and compares it with one before.

Usage: report.py RESULTS.jsonl [--json NAME.json] [--compare OLD.json]
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# pylint: disable=wrong-import-position
import figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results")
    parser.add_argument("--json")
    parser.add_argument("--compare")
    parser.add_argument("--note", help="about the run")
    parser.add_argument("--counted", action="store_true", help="times are instructions")
    options = parser.parse_args()
    old = figures.load(options.compare) if options.compare else None
    result = figures.summary(*figures.read_lines(options.results))
    if options.note:
        result["machine"]["note"] = options.note
    if options.counted:
        result["machine"]["counted"] = True
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    machine = result["machine"]
    if machine:
        print(f"\n{machine['kernel']}, {machine['cpus']} × {machine['cpu']}, "
              f"{machine['memory']} MiB, {machine['rounds']} rounds")
    print("Median; ratio to the peer, round by round: median (first to third quartile); "
          "more than 1: qemufile is faster.")
    if machine.get("counted"):
        print("Instructions of a page of 4 KiB, or of an operation.")
    print("\n" + figures.as_text(figures.table(result)))
    for row in result["growth"]:
        print(figures.verdict(row))
    if old:
        worse, looked_at = figures.compare(result, old)
        print(f"\n{looked_at} ratios compared with {options.compare}: {len(worse)} are worse")
        for line in worse:
            print("worse: " + line)
        if not looked_at:
            raise figures.Bad(f"{options.compare}: it has no ratio that this run has")
        return 1 if worse else 0
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except figures.Bad as problem:
        sys.exit(f"error: {problem}")

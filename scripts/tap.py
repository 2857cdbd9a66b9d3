#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Turns the output of test programs into one line a test: ok, not ok or skip, a
tab, the test's name.

Usage: tap.py [--kunit|--cargo] FILE
  default   TAP of the selftests, with the marks of run-selftests.sh around each
  --kunit   a kernel log with KTAP in it
  --cargo   the output of cargo test

A test that did not come to its end is one that failed: a plan that is missing
or not met, a program that ended with a status that its results do not explain.
"""

import re
import sys

RESULT = re.compile(r"^( *)(ok|not ok) (\d+)(?: -)? ?(.*)$")
PLAN = re.compile(r"^( *)1\.\.(\d+)")
SUBTEST = re.compile(r"^( *)# Subtest: (\S+)")
STAMP = re.compile(r"^(<\d+>)?\[ *\d+\.\d+\](\[ *[TC]\d+\])? ")


def emit(verdict, name):
    print(f"{verdict}\t{name}")


class Tap:
    """One program's TAP, or a kernel log's KTAP: results nested by indentation."""

    def __init__(self, program):
        self.program = program
        self.levels = {}  # by indentation: [planned, seen, name]
        self.names = {}
        self.failed = 0
        self.results = 0
        self.plans = 0

    def name(self, *parts):
        return ": ".join(part for part in (self.program, *parts) if part)

    def fail(self, *parts):
        self.failed += 1
        emit("not ok", self.name(*parts))

    def line(self, text):
        if match := SUBTEST.match(text):
            self.names[len(match[1])] = match[2]
        elif match := PLAN.match(text):
            depth = len(match[1])
            self.close(depth)
            self.levels[depth] = [int(match[2]), 0, self.names.pop(depth, "")]
            self.plans += 1
        elif (match := RESULT.match(text)) and self.levels:
            self.result(len(match[1]), match[2], match[4])

    def result(self, depth, verdict, text):
        name, _, directive = text.partition("# ")
        name, directive = name.strip(), directive.strip()
        inner = [level for level in self.levels if level > depth]
        self.close(depth + 1)
        level = self.levels.get(depth)
        if level is None:
            self.fail(name, "a result without a plan")
            return
        level[1] += 1
        if inner:  # its own results say more, unless they do not explain it
            if verdict == "not ok" and not self.failed:
                self.fail(name)
            return
        self.results += 1
        if verdict == "not ok":
            self.fail(level[2], name)
        else:
            emit("skip" if directive.upper().startswith("SKIP") else "ok",
                 self.name(level[2], name or directive))

    def close(self, depth):
        """Ends all that is nested at depth or deeper: were the plans met?"""
        for level in sorted((d for d in self.levels if d >= depth), reverse=True):
            planned, seen, name = self.levels.pop(level)
            if planned != seen:
                self.fail(name, f"{seen} results, {planned} planned")

    def end(self, status=0):
        self.close(0)
        if not self.plans:
            self.fail("no plan")
        elif not self.results and not self.failed:
            self.fail("no results")
        if status not in (0, 4) and not self.failed:
            self.fail(f"ended with status {status}")


def selftests(lines):
    program = None
    for text in lines:
        if text.startswith("@begin "):
            if program:
                program.end(status="unknown")
            program = Tap(text.split()[1])
        elif text.startswith("@end ") and program:
            program.end(int(text.split()[2]))
            program = None
        elif program:
            program.line(text)
    if program:
        program.end(status="unknown: the run broke off")


def kunit(lines):
    tap = Tap("")
    for text in lines:
        tap.line(STAMP.sub("", text))
    tap.end()


def cargo(lines):
    program = ""
    left = 0
    for text in lines:
        if match := re.match(r"^ +Running (?:unittests )?(\S+)|^ +Doc-tests (\S+)", text):
            program = match[1] or match[2]
        elif match := re.match(r"^running (\d+) tests?$", text):
            if left:
                emit("not ok", f"{program}: {left} tests did not end")
            left = int(match[1])
        elif match := re.match(r"^test (.+) \.\.\. (?:.*\b)?(ok|FAILED|ignored)\b", text):
            left -= 1
            verdict = {"ok": "ok", "FAILED": "not ok", "ignored": "skip"}[match[2]]
            emit(verdict, f"{program}: {match[1]}")
    if left:
        emit("not ok", f"{program}: {left} tests did not end")


def main():
    kinds = {"--kunit": kunit, "--cargo": cargo}
    kind = kinds.get(sys.argv[1], selftests)
    with open(sys.argv[-1], encoding="utf-8", errors="replace") as file:
        kind(line.rstrip("\n") for line in file)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of figures.py and report.py: python3 scripts/bench/test_figures.py"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

# pylint: disable=wrong-import-position
import figures

WORK = tempfile.TemporaryDirectory()


def line(work, peer, number, ns, **more):
    return {"work": work, "peer": peer, "round": number, "ns": ns, "bytes": 1 << 20, **more}


def rounds(work, peer, times, **more):
    return [line(work, peer, number, ns, **more) for number, ns in enumerate(times, 1)]


def write(lines):
    with tempfile.NamedTemporaryFile("w", dir=WORK.name, delete=False) as file:
        file.writelines(text if isinstance(text, str) else json.dumps(text) + "\n"
                        for text in lines)
    return file.name


def summary(*lists):
    return figures.summary(*figures.read_lines(write(sum(lists, []))))


def report(path, *options):
    return subprocess.run([sys.executable, "-B", os.path.join(HERE, "report.py"), path, *options],
                          capture_output=True, text=True, check=False)


class Figures(unittest.TestCase):
    def cells(self, result):
        head, *rows = figures.table(result)
        return [dict(zip(head, row)) for row in rows]

    def test_a_ratio_is_that_of_the_rounds_with_its_quartiles(self):
        # Both are slower in the second round: the ratio is the same in all of them.
        row, = summary(rounds("read", "qemufile", [100, 300, 100]),
                       rounds("read", "memfd", [200, 600, 200]))["rows"]
        self.assertEqual(row["ratios"]["memfd"],
                         {"median": 2.0, "q1": 2.0, "q3": 2.0, "rounds": 3})

    def test_only_rounds_that_both_have_are_compared(self):
        for ours, theirs in (([100] * 3, [150]), ([100], [150] * 3)):
            row, = summary(rounds("read", "qemufile", ours),
                           rounds("read", "memfd", theirs))["rows"]
            self.assertEqual(row["ratios"]["memfd"]["rounds"], 1)

    def test_a_missing_peer_is_a_dash(self):
        cells = self.cells(summary(rounds("read", "qemufile", [100, 100]),
                                   rounds("read", "memfd", [100, 100]),
                                   rounds("clone", "qemufile", [100, 100])))
        self.assertEqual(cells[0]["/ memfd"], "1.00 (1.00–1.00)")
        self.assertEqual((cells[1]["memfd"], cells[1]["/ memfd"]), ("–", "–"))

    def test_a_row_without_qemufile_has_no_ratio(self):
        cells, = self.cells(summary(rounds("read", "memfd", [100, 100])))
        self.assertEqual((cells["qemufile"], cells["/ memfd"]), ("–", "–"))

    def test_a_ratio_is_not_told_if_its_spread_is_wider_than_itself(self):
        result = summary(rounds("read", "qemufile", [100] * 4),
                         rounds("read", "memfd", [10, 100, 300, 900]))
        self.assertEqual(self.cells(result)[0]["/ memfd"], "too wide")
        self.assertFalse(figures.tells(result["rows"][0]["ratios"]["memfd"]))

    def test_two_threads_are_compared_with_one(self):
        result = summary(rounds("pread", "qemufile", [200, 200], threads=1),
                         rounds("pread", "qemufile", [100, 125], threads=2))
        self.assertEqual(result["rows"][1]["speedup"]["qemufile"]["median"], 1.8)
        self.assertEqual(result["rows"][0]["speedup"], {})

    def test_growth_is_judged(self):
        for slow, sentence in (([105] * 3, "10 %: holds"),
                               ([130] * 3, "10 %: DOES NOT HOLD (30 %)"),
                               ([90, 130, 150], "10 %: cannot be told"),
                               ([10, 100, 900], "10 %: cannot be told")):
            result = summary(rounds("append at 1 MiB", "qemufile", [100] * 3, size=1 << 20),
                             rounds("append at 1 GiB", "qemufile", slow, size=1 << 30))
            self.assertIn(sentence, figures.verdict(result["growth"][0]))
        for held, sentence in ((1 << 20, "holds"), (9 << 17, "DOES NOT HOLD")):
            result = summary(rounds("memory of 1 MiB", "qemufile", [1], held=held))
            self.assertIn(sentence, figures.verdict(result["growth"][0]))

    def test_a_ratio_that_got_worse_is_found(self):
        old = summary(rounds("read", "qemufile", [100] * 3), rounds("read", "memfd", [200] * 3))
        for ours, worse in ((120, 0), (150, 1)):
            new = summary(rounds("read", "qemufile", [ours] * 3),
                          rounds("read", "memfd", [200] * 3))
            self.assertEqual((len(figures.compare(new, old)[0]), figures.compare(new, old)[1]),
                             (worse, 1))


class Input(unittest.TestCase):
    """Bad input: status 1, and one line that says what to do."""

    def refused(self, result, text):
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertIn(text, result.stderr)

    def test_an_empty_file(self):
        self.refused(report(write([])), "no round was measured; run make bench again")

    def test_a_file_that_is_not_there(self):
        self.refused(report("/nowhere.jsonl"), "run make bench first")

    def test_a_line_that_was_cut(self):
        path = write([line("read", "qemufile", 1, 100), '{"work": "re\n'])
        self.refused(report(path), f"{path}:2: no line of the benchmark")

    def test_a_round_without_time(self):
        self.refused(report(write([line("read", "qemufile", 1, 0)])), ":1: no line")

    def test_nothing_to_compare_with(self):
        good = write([line("read", "qemufile", 1, 100), line("read", "memfd", 1, 100)])
        self.refused(report(good, "--compare", write(["[]\n"])), "no result of make bench")
        self.refused(report(good, "--compare", "/nowhere.json"), "No such file")

    def test_a_worse_ratio_is_status_1(self):
        good = write([line("read", "qemufile", 1, 100), line("read", "memfd", 1, 100)])
        bad = write([line("read", "qemufile", 1, 200), line("read", "memfd", 1, 100)])
        with tempfile.NamedTemporaryFile(suffix=".json") as before:
            self.assertEqual(report(good, "--json", before.name).returncode, 0)
            self.assertEqual(report(good, "--compare", before.name).returncode, 0)
            result = report(bad, "--compare", before.name)
        self.assertEqual(result.returncode, 1)
        self.assertIn("worse: read: 0.50 of memfd, was 1.00", result.stdout)


if __name__ == "__main__":
    unittest.main()

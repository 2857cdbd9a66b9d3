# SPDX-License-Identifier: GPL-2.0
"""The tests of a program: functions, named after the promise that they check, that print TAP."""

import sys
import traceback

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def note(text):
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def check(holds, text):
    """The test has failed unless this holds."""
    if not holds:
        raise AssertionError(text)


def main():
    failed = 0
    print(f"TAP version 13\n1..{len(TESTS)}", flush=True)
    for number, function in enumerate(TESTS, 1):
        result = "ok"
        try:
            function()
        # The demo's helpers end the program where something is wrong.
        except (Exception, SystemExit) as error:  # pylint: disable=broad-except
            result = "not ok"
            failed = 1
            note(error if isinstance(error, SystemExit) else traceback.format_exc())
        print(f"{result} {number} {function.__name__}", flush=True)
    sys.exit(failed)

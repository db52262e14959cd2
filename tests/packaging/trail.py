#!/usr/bin/env python3
"""Messages for the tests of package and image, and what must come of them.

    trail.py make COUNT NAME    captured notifications of a real Keystone, each with a message id of its own: NAME-1, …
    trail.py check NAME=COUNT…  reads audit files from standard input: records numbered from 1 without a gap, each of
                                these messages exactly once, nothing else
"""
import collections
import itertools
import json
import pathlib
import sys

CAPTURES = pathlib.Path(__file__).parent.parent / "data/notifications/real/keystone-28.1-cadf-messagingv2.jsonl"


def make(count, name):
    lines = CAPTURES.read_text().splitlines()
    for number, line in zip(range(1, count + 1), itertools.cycle(lines)):
        captured = json.loads(line)
        envelope = json.loads(captured["body"])
        message = json.loads(envelope["oslo.message"])
        message["message_id"] = f"{name}-{number}"
        message["_unique_id"] = f"unique-{name}-{number}"
        envelope["oslo.message"] = json.dumps(message)
        captured["body"] = json.dumps(envelope)
        print(json.dumps(captured))


def check(wanted):
    records = [json.loads(line) for line in sys.stdin]
    numbers = sorted(record["seq"] for record in records)
    problems = []
    if numbers != list(range(1, len(numbers) + 1)):
        doubled = [number for number, times in collections.Counter(numbers).items() if times > 1]
        missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
        problems.append(f"numbers doubled {doubled[:5]}, missing {missing[:5]}")
    found = collections.Counter(record["message_id"] for record in records if record["type"] == "event")
    expected = {f"{name}-{number}" for name, count in wanted for number in range(1, count + 1)}
    lost, strange = sorted(expected - set(found)), sorted(set(found) - expected)
    twice = [name for name, times in found.items() if times > 1]
    if lost or strange or twice:
        problems.append(f"lost {len(lost)} {lost[:3]}, twice {len(twice)} {twice[:3]}, unknown {strange[:3]}")
    if problems:
        sys.exit("; ".join(problems))


if sys.argv[1] == "make":
    make(int(sys.argv[2]), sys.argv[3])
else:
    check([(name, int(count)) for name, count in (argument.split("=") for argument in sys.argv[2:])])

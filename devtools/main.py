"""The words of ./dev and what they start."""

import argparse
import os
import sys
from collections.abc import Sequence

from devtools.account import become_owner, server_account
from devtools.failure import Failure
from devtools.places import CHECKOUT, places_for
from devtools.say import Say
from devtools.supervisor import Stopped, stop_signals

ABOUT = (
    "Start the demo, run the tests, measure, clean up. Everything lies in .local and .venv of this checkout."
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="./dev", description=ABOUT)
    words = made.add_subparsers(dest="word", required=True, metavar="COMMAND")
    words.add_parser("demo", help="start the product with a sample to look after (PORT, DEMO_SCALE)")
    words.add_parser("psql", help="open the sample's database of the running demo", add_help=False)
    words.add_parser(
        "test", help="lint, types, templates, tests; arguments go to pytest alone", add_help=False
    )
    words.add_parser(
        "matrix", help="the tests that ask servers, on every supported PostgreSQL", add_help=False
    )
    bench = words.add_parser("bench", help="measure; one line for each figure")
    bench.add_argument("areas", nargs="*", help="only these areas")
    words.add_parser("clean", help="remove .local and .venv")
    return made


def run(word: str, rest: list[str], options: argparse.Namespace, say: Say) -> int:
    """Do what the word says."""
    owner = become_owner(CHECKOUT)
    if owner:
        say.line(f"This checkout belongs to {owner.name}: going on as {owner.name}.")
    places = places_for(CHECKOUT, server_account())
    # Only what is asked for is imported, so that a broken part does not hinder the others.
    match word:
        case "demo":
            from devtools.demo import demo

            return demo(places, say)
        case "psql":
            from devtools.demo import psql

            return psql(places, rest)
        case "test":
            from devtools.test import test

            return test(places, say, rest)
        case "matrix":
            from devtools.matrix import matrix

            return matrix(places, say, rest)
        case "bench":
            from devtools.bench import bench

            return bench(places, say, options.areas)
        case _:
            from devtools.demo import clean

            return clean(places, say)


def main(argv: Sequence[str]) -> int:
    """Read the words, do it, turn trouble into a message."""
    os.umask(0o022)
    options, rest = parser().parse_known_args(argv)
    if rest and options.word not in {"psql", "test", "matrix"}:
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    say = Say()
    try:
        with stop_signals():
            return run(options.word, rest, options, say)
    except Failure as failure:
        say.quiet()
        print(f"\n{failure.text()}", file=sys.stderr)
        return 1
    except Stopped:
        say.interrupted()
        print("Stopped. The same command goes on where this one was.", file=sys.stderr)
        return 130

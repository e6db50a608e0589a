"""Run several management commands in one process: reads them as lists of words from standard input.

    echo '[["migrate"], ["createcachetable"]]' | python -m devtools.together

Starting Python and Django costs more than most commands; passwords stay off the list of processes.
"""

import json
import sys

import django
from django.core.management import call_command
from django.core.management.base import CommandError


def main() -> int:
    """Run them in order; the first that refuses ends it."""
    django.setup()
    for words in json.load(sys.stdin):
        print(f"manage.py {words[0]} {' '.join(words[1:2])}", flush=True)
        try:
            call_command(*words)
        except CommandError as error:
            print(f"{words[0]}: {error}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Find the measurements, run them, print one line for each figure; status 1 when one misses its bar."""

import importlib
import os
import sys
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
HERE = Path(__file__).parent


def areas() -> list[str]:
    """What can be measured: every bench_<area>.py of this directory."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main(wanted: list[str]) -> int:
    """Measure the wanted areas, or all."""
    unknown = sorted(set(wanted) - set(areas()))
    if unknown:
        print(f"There is no area {', '.join(unknown)}. There are: {', '.join(areas())}.", file=sys.stderr)
        return 2
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("createcachetable")
    from tests.bench.frame import Bench

    bench, is_short = Bench(), False
    for area in wanted or areas():
        for figure in importlib.import_module(f"tests.bench.bench_{area}").figures(bench):
            print(figure.line(area), flush=True)
            is_short |= figure.is_short
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

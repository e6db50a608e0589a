"""./dev bench: measure on private servers and hold each figure against its bar."""

import os
import subprocess

from devtools import venv
from devtools.places import Places
from devtools.say import Say
from devtools.test import environment


def bench(places: Places, say: Say, areas: list[str]) -> int:
    """Run the areas' measurements inside the virtual environment."""
    venv.ready(places, "dev", say)
    argv = [str(places.python), "-m", "tests.bench", *areas]
    return subprocess.run(argv, cwd=places.checkout, env={**os.environ, **environment(places)}).returncode

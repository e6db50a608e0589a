"""The servers behind one test run: started once, shared by its parallel workers, gone at its end."""

import functools
import json
import os

from devtools.scratch import Scratch

VARIABLE = "DBADMIN_TEST_SERVERS"


@functools.cache
def scratch() -> Scratch:
    """This process's own servers; they end with it."""
    made = Scratch()
    # As in the demo: what was unpacked for this checkout alone lies where nobody looks.
    os.environ["PATH"] = os.pathsep.join([*made.programs.paths(), os.environ["PATH"]])
    return made


@functools.cache
def control() -> dict[str, str]:
    """Where the control database and Redis are; parallel workers share them, with a Redis database each."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = json.dumps(started())
    found: dict[str, str] = json.loads(os.environ[VARIABLE])
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return {**found, "redis_url": found["redis_url"].removesuffix("/0") + f"/{worker}"}


def started() -> dict[str, str]:
    """Start them: a cluster whose role may make the test databases, and Redis."""
    here = scratch()
    cluster = here.cluster("control", settings={"shared_preload_libraries": ""})
    cluster.sql(f"create role dbadmin login createdb password '{cluster.password}'")
    cluster.sql("create database dbadmin owner dbadmin")
    return {
        "database_url": cluster.dsn("dbadmin", user="dbadmin"),
        "redis_url": here.redis(),
        "directory": str(here.directory),
    }

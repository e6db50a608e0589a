"""What ./dev keeps between two starts, and how it excludes a second one."""

import json
import os
import stat
import subprocess
import sys

import pytest

from devtools.account import account_of
from devtools.failure import Failure, last_lines
from devtools.lock import Lock
from devtools.matrix import checked, platform_name
from devtools.memory import Memory, password
from devtools.places import Places, outside, outside_path, remove
from devtools.say import Say
from devtools.test import environment
from devtools.venv import is_complete, key, make, stamp


def test_passwords_are_made_once_and_read_by_their_owner_alone(tmp_path):
    first = Memory(tmp_path / "demo.json")
    first.choose_ports()
    first.save()
    again = Memory(tmp_path / "demo.json")
    assert again.password("admin") == first.password("admin")
    assert len({first.password(role) for role in ("viewer", "auditor", "operator", "admin")}) == 4
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600


def test_a_torn_file_is_made_again(tmp_path):
    (tmp_path / "demo.json").write_text('{"passwords": ')
    assert len(Memory(tmp_path / "demo.json").password("admin")) == 16


def test_ports_of_last_time_are_chosen_again(tmp_path):
    memory = Memory(tmp_path / "demo.json")
    memory.choose_ports()
    chosen = dict(memory.facts["ports"])
    memory.save()
    again = Memory(tmp_path / "demo.json")
    again.choose_ports()
    assert json.loads((tmp_path / "demo.json").read_text())["ports"] == chosen
    assert again.facts["ports"]["target"] == chosen["target"]


def test_passwords_need_no_escaping():
    assert password(200).isalnum()
    assert not set(password(2000)) & set("Il1O0")


def test_the_second_to_come_learns_what_the_first_does(tmp_path):
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.take("http://127.0.0.1:8350/")
    assert not second.take()
    assert second.note() == "http://127.0.0.1:8350/"
    first.release()
    assert second.take()
    second.release()


def test_the_environment_is_complete_only_for_its_own_lock(tmp_path):
    places = Places(tmp_path, tmp_path / ".local", tmp_path / ".local", account_of(os.geteuid()))
    for name in ("requirements-demo.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text(name)
    places.python.parent.mkdir(parents=True)
    places.python.touch()
    assert not is_complete(places, "demo")
    stamp(places, "dev").write_text(key(places, "dev"))
    assert is_complete(places, "dev")
    assert is_complete(places, "demo"), "what the checks need holds what the demo needs"
    (tmp_path / "requirements-dev.txt").write_text("other pins")
    assert not is_complete(places, "demo")


def test_the_processes_of_the_tests_compile_the_product_once_and_not_into_the_checkout(tmp_path):
    (tmp_path / "product.py").touch()
    places = Places(tmp_path, tmp_path / "local", tmp_path, account_of(os.geteuid()))
    told = {**os.environ, **environment(places)}
    subprocess.run([sys.executable, "-c", "import product"], cwd=tmp_path, env=told, check=True)
    compiled = [path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("product.*.pyc")]
    assert compiled == [("local", "bytecode")]


def test_a_half_installed_environment_is_thrown_away_and_a_complete_one_is_kept(tmp_path):
    places = Places(tmp_path, tmp_path / ".local", tmp_path / ".local", account_of(os.geteuid()))
    make(places, tmp_path / "log")
    half = places.venv / "half-installed"
    half.touch()
    make(places, tmp_path / "log")
    assert not half.exists()
    half.touch()
    stamp(places, "demo").write_text("other pins")
    make(places, tmp_path / "log")
    assert half.exists()
    assert not stamp(places, "demo").exists(), "until the new pins are installed it is not complete"


def test_a_foreign_directory_outside_is_refused(tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / ".local").mkdir(parents=True)
    path = outside_path(checkout)
    path.mkdir(mode=0o755)
    try:
        with pytest.raises(Failure, match="belongs to someone else"):
            outside(checkout, checkout / ".local", account_of(os.geteuid()))
    finally:
        remove(path)


def test_a_changed_package_is_refused():
    with pytest.raises(Failure, match=r"The package is not the one in matrix\.toml"):
        checked(b"changed", "sha512-of something else")


def test_the_platform_has_the_packages_words():
    assert platform_name().split("-")[1] in {"x64", "arm64"}


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    log = tmp_path / "install.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)) + "\n\n")
    assert last_lines(log, 2) == ["line 98", "line 99"]
    assert Failure("It failed.", ["line 99"], log).text() == (
        f"It failed.\n    line 99\n  The whole log: {log}"
    )


def test_a_step_is_one_line_with_the_seconds(capsys):
    Say().step("python", "installing packages")
    assert capsys.readouterr().out == "   0.0 s  python      installing packages\n"

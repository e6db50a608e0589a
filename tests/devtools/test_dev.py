"""./dev starts from wherever it is called."""

import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_an_activated_environment_is_left_for_the_python_underneath(tmp_path: Path) -> None:
    """Else ./dev would throw away the environment that it runs in, and fail."""
    shutil.copy(CHECKOUT / "dev", tmp_path / "dev")
    (tmp_path / "devtools").mkdir()
    (tmp_path / "devtools/main.py").write_text(
        "import sys\ndef main(words): print(sys.prefix == sys.base_prefix, *words)\n"
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    python = tmp_path / ".venv/bin/python3"
    done = subprocess.run([python, tmp_path / "dev", "test", "a b"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("True test a b\n", "", 0)

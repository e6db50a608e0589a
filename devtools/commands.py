"""Run one program to its end, with its output in a log and its last line on the terminal."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtools.account import Account
from devtools.failure import Failure, last_lines
from devtools.say import Say
from devtools.supervisor import dies_with_us


def run(
    argv: Sequence[str | Path],
    *,
    log: Path,
    says: str,
    say: Say | None = None,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    cwd: Path | None = None,
    stdin: str = "",
) -> None:
    """Run it; a failure carries the sentence, the last lines and the log's place."""
    words = [str(word) for word in argv]
    with log.open("ab") as out:
        out.write(f"\n$ {' '.join(words)}\n".encode())
        out.flush()
        try:
            child = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                preexec_fn=dies_with_us(signal.SIGTERM),  # noqa: PLW1509 - we have no threads
                **(account.popen_options() if account else {}),
            )
        except OSError as error:
            raise Failure(f"{says} Could not start {words[0]}: {error.strerror}.") from error
        if child.stdin:
            child.stdin.write(stdin.encode())
            child.stdin.close()
        status = wait(child, log, say)
    if status != 0:
        raise Failure(f"{says} ({Path(words[0]).name} ended with status {status})", last_lines(log), log)


def wait(child: subprocess.Popen[bytes], log: Path, say: Say | None) -> int:
    """Wait for the end and show the log's last line meanwhile; an interrupt ends the child first."""
    try:
        while child.poll() is None:
            if say and say.is_terminal:
                say.live("".join(last_lines(log, 1)))
                time.sleep(0.2)
            else:
                child.wait()
    except BaseException:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise
    if say:
        say.quiet()
    return child.returncode


def answer(argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """What a quick program prints, or nothing when it fails or is missing."""
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, **(env or {})},
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

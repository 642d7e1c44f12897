"""A shell into which a page's lines are typed one by one, as a reader does: what they export and define stays."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from demo.sessions import Sessions

TOLD = "--told--"
# The trap: a failure inside a loop is forgotten by the next turn of the loop.
PROMPT = f"""trap 'failed=$BASH_COMMAND' ERR
told() {{ printf '\\n{TOLD} %s %s\\n' "$1" "${{failed//$'\\n'/ }}"; failed=; }}
failed=
"""


class Terminal:
    """One bash, in a session of its own, so that nothing that is typed into it outlives it.

    :param sessions: starts it and ends it; its log is what the terminal shows.
    :param folder: where it opens.
    """

    def __init__(self, sessions: Sessions, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = sessions.folder / "logs" / f"{name}.log"
        keyboard = sessions.folder / f"{name}.fifo"
        keyboard.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(keyboard)
        bash = shutil.which("bash")
        assert bash, "the documentation's commands are bash's"
        # Open for both: a bash that has no writer yet would wait for one, and end with the last.
        self._keyboard = os.open(keyboard, os.O_RDWR)
        sessions.start(name, [bash, "--noprofile", "--norc", str(keyboard)], environment)
        self.check = lambda: sessions.check(name)
        self._send(PROMPT)
        self.type(f"cd '{folder}'")

    def type(self, line: str, seconds: float = 600.0) -> str:
        """Type a command, wait until it is done; returns what it printed, without colours.

        :raises AssertionError: it, or a part of it, failed, or is not done in time.
        """
        start = self.begin(line)
        until = time.monotonic() + seconds
        while (told := self._told(start)) is None:
            self.check()
            assert time.monotonic() < until, f"{line!r} is not done after {seconds:.0f} s: {self.shown(start)[-3000:]}"
            time.sleep(0.02)
        said, code, failed = told
        assert (code, failed) == ("0", ""), f"{line!r} ended with {code} ({failed}):\n{said[-6000:]}"
        return said

    def begin(self, line: str) -> int:
        """Type a command that stays; returns where in `shown` its output begins."""
        self._begun = self.log.stat().st_size
        self._send(f"{line}\ntold $?\n")
        return self._begun

    def stays(self) -> None:
        """Raise when the command that was begun last has ended."""
        self.check()
        told = self._told(self._begun)
        assert told is None, f"it ended with {told[1]}: {told[0][-6000:]}"

    def shown(self, start: int = 0) -> str:
        """What stands in the terminal since then."""
        with self.log.open("rb") as log:
            log.seek(start)
            return re.sub(r"\x1b\[[\d;]*m", "", log.read().decode(errors="replace"))

    def close(self) -> None:
        """Let go of the keyboard; the sessions end the shell."""
        with contextlib.suppress(OSError):
            os.close(self._keyboard)

    def _send(self, text: str) -> None:
        os.write(self._keyboard, text.encode())

    def _told(self, start: int) -> tuple[str, str, str] | None:
        said, told, rest = self.shown(start).partition(f"\n{TOLD} ")
        if not told or "\n" not in rest:
            return None
        code, _, failed = rest.partition("\n")[0].partition(" ")
        return said, code, failed


def lines(text: str) -> Iterator[str]:
    """The commands of a script as somebody types them: a loop or a continued line is one."""
    typed = ""
    for line in text.splitlines():
        typed = f"{typed}\n{line}" if typed else line
        if not line.endswith("\\") and _is_whole(typed):
            if typed.partition("#")[0].strip():
                yield typed
            typed = ""
    assert not typed, f"this never ends: {typed!r}"


def _is_whole(script: str) -> bool:
    return subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).returncode == 0

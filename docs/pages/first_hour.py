"""Write docs/first-hour.md: a newcomer's first hour, typed for real in an empty folder, with what each command printed.

`make first-hour` writes the page anew; a test types the same again and compares the words.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path("docs/first-hour.md")
HEAD: Final = """\
# A first hour

What a newcomer types, and what came back, in an empty folder and 100 columns wide. `propdesk` is `.venv/bin/propdesk`
after `make setup`. `make first-hour` types it anew and writes this page; a test does the same and compares the words.
"""
COMMAND: Final = re.compile(r"^    \$ (.+)$", re.MULTILINE)
WITHIN_S: Final = 240
_COLUMNS: Final = "100"
_ADDRESS: Final = re.compile(r"127\.0\.0\.1:\d+")
_DIFFERS: Final = re.compile(r"\d|USDT|trend|fade|breakout|bear|baseline|cli:")
_DEEPER: Final = " " * 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """Hold one command that was typed, why, and what it printed."""

    why: str
    command: str
    printed: str

    @property
    def page(self) -> str:
        """Return it as Markdown."""
        return f"\n{self.why}\n\n    $ {self.command}\n" + "".join(
            f"    {line}".rstrip() + "\n" for line in self.printed.splitlines()
        )


@dataclass
class Shell:
    """Type commands in a folder; `desk` is the one that runs in the other window."""

    folder: Path
    typed: list[Typed] = field(default_factory=list)
    desk: "subprocess.Popen[str] | None" = None

    def type(self, why: str, command: str, *, code: int = 0, interrupt_after_s: float = 0) -> None:
        """Run a command and keep what it printed; raise RuntimeError where it ends in another way than expected."""
        process = self._start(command)
        if interrupt_after_s:
            time.sleep(interrupt_after_s)
            process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=WITHIN_S)[0]
        if process.returncode != code:
            raise RuntimeError(f"`{command}` ended with {process.returncode}:\n{printed}")
        self.typed.append(Typed(why=why, command=command, printed=printed))

    def ask(self, command: str) -> Any:
        """Return the JSON that a command prints, untold."""
        process = self._start(f"{command} --json", stderr=subprocess.DEVNULL)
        return json.loads(process.communicate(timeout=WITHIN_S)[0])

    def until(self, command: str, holds: Callable[[Any], Any]) -> Any:
        """Ask until `holds` returns something of the answer, and return that."""
        ends = time.monotonic() + WITHIN_S
        while time.monotonic() < ends:
            with suppress(json.JSONDecodeError):
                found = holds(self.ask(command))
                if found:
                    return found
            time.sleep(1)
        raise RuntimeError(f"`{command}` has not told what was waited for within {WITHIN_S} s")

    def open_desk(self) -> None:
        """Start the desk in the other window."""
        self.desk = self._start("propdesk run --port 0")

    def end_desk(self, why: str) -> None:
        """Press Ctrl-C in the other window, and keep what it had printed."""
        desk, self.desk = self.desk, None
        if desk is None:
            raise RuntimeError("no desk runs")
        desk.send_signal(signal.SIGINT)
        printed = desk.communicate(timeout=WITHIN_S)[0]
        if desk.returncode != 0:
            raise RuntimeError(f"the desk ended with {desk.returncode}:\n{printed}")
        self.typed.append(Typed(why=why, command="propdesk run", printed=_ADDRESS.sub("127.0.0.1:8000", printed)))

    def _start(self, command: str, stderr: int = subprocess.STDOUT) -> "subprocess.Popen[str]":
        name, *arguments = shlex.split(command)
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TZ", "LANG", "TMPDIR")}
        return subprocess.Popen(
            [str(Path(sys.executable).with_name(name)), *arguments],
            cwd=self.folder,
            env={**kept, "COLUMNS": _COLUMNS, "PROPDESK_LOG": "plain"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )


def first_hour(folder: Path) -> list[Typed]:
    """Type everything in an empty folder and return it; end what was started, whatever happens."""
    shell = Shell(folder)
    try:
        _begin(shell)
        _look(shell)
        _act(shell)
    finally:
        if shell.desk is not None:
            shell.desk.send_signal(signal.SIGINT)
            shell.desk.wait(WITHIN_S)
    return shell.typed


def words_of(text: str) -> set[str]:
    """Return the lines of a page or of what was printed that are the same at each run: titles, labels and sentences.

    Numbers differ, who types and who trades what; how a table is laid out depends on them, so what is indented beyond
    the page's own four columns is left out.
    """
    lines = (line.strip().removesuffix(": none") for line in text.splitlines() if not line.startswith(_DEEPER))
    return {line for line in lines if line and "  " not in line and not _DIFFERS.search(line)}


def render(typed: list[Typed]) -> str:
    """Return the page."""
    return HEAD + "".join(one.page for one in typed)


def _begin(shell: Shell) -> None:
    shell.type(
        "Write a config: four traders that follow rules, on a paper account, no key needed.",
        "propdesk init --traders trend,fade,breakout,bear --symbols BTC,ETH,SOL --interval 5s --capital 10000",
    )
    shell.type("Ask what the desk understood of it before it trades.", "propdesk config check config.yaml")
    shell.open_desk()
    shell.until("propdesk status", lambda told: [one for one in told["accounts"] if one["positions"]])


def _look(shell: Shell) -> None:
    shell.type("The desk runs in another window (`propdesk run`, below is what it told). How is it?", "propdesk status")
    shell.type(
        "The same again and again, until Ctrl-C; on a terminal it is drawn in place.",
        "propdesk status --watch 5",
        interrupt_after_s=4,
    )
    shell.type("What was done, newest first: orders, denials, conflicts.", "propdesk operations --limit 4")
    [entry, *_] = shell.until(
        "propdesk operations --limit 200",
        lambda told: [one for one in told["operations"] if one["what"].startswith("entry") and one["fee"]],
    )
    shell.type("Why was that order sent?", f"propdesk why {entry['ref'][:8]}")
    shell.type("One trader whole.", f"propdesk traders show {_holder(shell)}")


def _act(shell: Shell) -> None:
    holder = _holder(shell)
    shell.type("Close what one trader holds.", f'propdesk close {holder} --reason "first try"')
    shell.type("What closed positions have made.", "propdesk trades")
    shell.type("How has that trader done?", f"propdesk performance {holder}")
    shell.type("And all of them?", "propdesk ranking")
    shell.type("What would it mean to close everything?", "propdesk flatten --all --dry-run")
    shell.type("Close everything, and let nothing be opened until somebody resumes.", "propdesk flatten --all --yes")
    shell.end_desk("Ctrl-C in the other window. This is what it had told since it was started:")
    shell.open_desk()
    shell.until("propdesk status", lambda told: [one for one in told["accounts"] if one["light"] == "halted"])
    shell.type("Started again: the books are as they were, and the account is halted still.", "propdesk status")
    shell.type("Trade on.", "propdesk resume")
    shell.end_desk("And that was told by the second run:")


def _holder(shell: Shell) -> str:
    """Return a trader that holds something."""
    name: str = shell.until("propdesk status", lambda told: next(_holders(told), ""))
    return name


def _holders(told: Any) -> Iterator[str]:
    for account in told["accounts"]:
        for position in account["positions"]:
            yield position["trader_id"]


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory(prefix="first-hour-") as name:
        text = render(first_hour(Path(name)))
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{PAGE} is written anew\n")


if __name__ == "__main__":
    main()

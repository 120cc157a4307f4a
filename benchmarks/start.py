"""What a start costs: CPU of `config check` and of `propdesk run` until its worker is ready, at several sizes.

`python benchmarks/start.py [--tree DIR] [TRADERS ...]`. All processes count, PostgreSQL included; wall times say little
on a shared machine. `--tree` measures another checkout with this environment, such as a version before.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.live_cost import postgres_cpu_s
from benchmarks.many_traders import Desk

SIZES = (100, 1_000, 10_000)
ACCOUNTS = 10
READY = "worker_ready"
PATIENCE_S = 900
PROPDESK = ("-c", "from manager.cli.app import main; main()")


def check_cpu_s(tree: Path, config: Path) -> float:
    """Return the CPU seconds of `config check`; raise CalledProcessError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(_command(tree, "config", "check", str(config)), check=True, env=_env(tree), capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_cpu_s(tree: Path, config: Path, data_dir: Path) -> tuple[float, float] | None:
    """Return the CPU seconds of Python and of PostgreSQL until a worker is ready; None if none ever was."""
    command = _command(tree, "run", "-c", str(config), "--data-dir", str(data_dir), "--port", "0")
    process = subprocess.Popen(command, env=_env(tree), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if READY in line:
                return _tree_cpu_s(process.pid), postgres_cpu_s(data_dir)
            if "Traceback" in line or "child_died" in line:
                return None
        return None
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def _tree_cpu_s(pid: int) -> float:
    root = psutil.Process(pid)
    times = [one.cpu_times() for one in (root, *root.children(recursive=True)) if "postgres" not in one.name()]
    return float(sum(one.user + one.system for one in times))


def _command(tree: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-P", *PROPDESK, *arguments]


def _env(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree)}


def main() -> None:
    """Measure each size and print a line for it."""
    given = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    given.add_argument("traders", nargs="*", type=int, default=SIZES)
    given.add_argument("--tree", type=Path, default=Path(__file__).resolve().parents[1])
    options = given.parse_args()
    for count in options.traders:
        with tempfile.TemporaryDirectory(prefix="propdesk-start-") as folder:
            config = Desk(traders=count, accounts=ACCOUNTS).write(Path(folder))
            check = check_cpu_s(options.tree, config)
            started = start_cpu_s(options.tree, config, Path(folder) / "desk")
            told = "never ready" if started is None else f"start {started[0]:.1f} + PostgreSQL {started[1]:.1f} CPU s"
            sys.stdout.write(f"{count:>6} traders: config check {check:.1f} CPU s, {told}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

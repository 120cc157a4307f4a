"""A child of the supervisor: `python -m manager.process worker CONFIG DATA_DIR | web CONFIG DATA_DIR SOCKET`.

Both read the config from the descriptor CONFIG, as the supervisor read it; the web listens on the other, SOCKET.

Its standard input is the supervisor's pipe: at its end the supervisor is gone and the process stops.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from exchanges.errors import ExchangeConfigError
from executor.errors import ExecutorConfigError
from manager.errors import DatabaseUrlRefused, RegistrationError, SecretKeyRefused, SettingsRefused, UnknownAccount
from manager.jobs.errors import JobsError
from manager.processes.handover import taken_over
from manager.processes.supervisor import BAD_INPUT
from manager.settings import read_settings
from manager.state.embedded.server import EmbeddedPostgresError
from manager.state.errors import StateError

_GRACE_S = 20.0
_BAD_INPUT = (
    ExchangeConfigError,
    ExecutorConfigError,
    RegistrationError,
    UnknownAccount,
    SettingsRefused,
    SecretKeyRefused,
    DatabaseUrlRefused,
    SecretKeyRefused,
)


def main(arguments: Sequence[str]) -> int:
    """Run one child; return 2 for input that a restart does not mend."""
    threading.Thread(target=_stop_when_orphaned, name="orphan-watch", daemon=True).start()
    role, given, data_dir, *listener = arguments
    try:
        settings = read_settings(data_dir=Path(data_dir))
        if role == "worker":
            from manager.bootstrap.live import run_worker

            return asyncio.run(run_worker(taken_over(int(given)), settings))
        from manager.api.app import run_web

        return asyncio.run(run_web(int(listener[0]), taken_over(int(given), secret=False), settings))
    except (*_BAD_INPUT, EmbeddedPostgresError) as error:
        sys.stderr.write(f"propdesk {role}: {error}\n")
        return BAD_INPUT
    except (StateError, JobsError) as error:
        sys.stderr.write(f"propdesk {role}: {error}\n")
        return 1


def _stop_when_orphaned() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Logging: JSON, coloured text, or sentences on a terminal with JSON in a file; no secret in any."""

import logging
import logging.config
import os
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from manager.processes.plain import Fold, log_line
from manager.processes.printable import broken

if TYPE_CHECKING:
    from manager.settings import LogForm, Settings

HIDDEN: Final = "***"
_API_KEY: Final = re.compile(r"(pd_[a-z2-7]{12}_)[A-Za-z0-9_-]{43}")
_SHORTEST: Final = 4
_SECRET_NAMES: Final = frozenset({"api_key", "api_secret", "password", "secret", "authorization", "alert_webhook"})
_TOLD_ONCE: Final = {
    "conflict": ("type", "symbol"),
    "decision_without_result": ("trader", "outcome"),
    "incident_raised": ("trader", "code"),
    "incident_resolved": ("trader", "code"),
}
_FILE_BYTES: Final = 5_000_000
_FILES_KEPT: Final = 3
_TOLD_BY_THE_DESK: Final = ("conflict", "decision_without_result", "incident_raised", "incident_resolved")
_OUTAGES: Final = ("tick_failed", "queue_database_error", "queue_fetch_failed", "start_tried_again")
_QUIET: Final = (
    "procrastinate",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "uvicorn",
    "grpc",
    "alembic",
    "asyncio",
)


class Redactor:
    """Blank the known secret values, API keys, and what stands under a secret's name, in everything that is logged."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True))

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Return the event without secrets."""
        del logger, method
        return self._clean_mapping(event)

    def _clean_mapping(self, values: Mapping[str, Any]) -> MutableMapping[str, Any]:
        return {
            key: HIDDEN if str(key).lower() in _SECRET_NAMES and value else self._clean(value)
            for key, value in values.items()
        }

    def _clean(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._clean_mapping(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item) for item in value]
        if isinstance(value, bool | int | float) or value is None:
            return value
        text = value if isinstance(value, str) else str(value)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _API_KEY.sub(rf"\1{HIDDEN}", text) if "pd_" in text else text


def log_to_stderr() -> None:
    """Keep what a command logs apart from what it prints; does nothing where logging is configured.

    Decisions of one trader that fail with one outcome are told once, because a replay may have thousands, and so are
    its incidents of one code, and conflicts of one type on one symbol.
    """
    if structlog.is_configured():
        return
    told: set[tuple[str, ...]] = set()

    def once(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        names = _TOLD_ONCE.get(event["event"])
        if names is not None:
            kind = (event["event"], *(event[name] for name in names))
            if kind in told:
                raise structlog.DropEvent
            told.add(kind)
        return event

    structlog.configure(
        processors=[once, *structlog.get_config()["processors"]],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def log_form(settings: "Settings", stream: TextIO | None = None) -> "LogForm":
    """Return the form of the log: as set, else plain on a terminal and JSON elsewhere."""
    return settings.log_form or ("plain" if (stream or sys.stderr).isatty() else "json")


def is_plain(settings: "Settings") -> bool:
    """Tell whether a person reads along, to whom the desk speaks in sentences."""
    return log_form(settings) == "plain"


def log_file(settings: "Settings", process: str) -> Path:
    """Return where a process keeps its whole log when sentences are told."""
    return settings.data_dir / "logs" / f"{process}.log"


def configure_logging(
    settings: "Settings", secrets: Iterable[str] = (), *, process: str = "", stream: TextIO | None = None
) -> None:
    """Send structlog and the standard library's loggers to `stream` (stderr) in the form and from the level set.

    In the plain form they go to the log file of the `process`, and only warnings to the stream, each in a line.
    Neither the secrets of the settings nor `secrets`, those of a config, are ever written.
    """
    # The C core of gRPC writes lines of its own to stderr otherwise.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    out = stream or sys.stderr
    redact = Redactor((*settings.secrets(), *secrets))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]

    def rendered(handler: logging.Handler, renderer: Processor) -> logging.Handler:
        kept: list[Processor] = [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
        ]
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*kept, redact, renderer])
        )
        return handler

    handlers = [rendered(logging.StreamHandler(out), structlog.processors.JSONRenderer())]
    shown = log_form(settings, out)
    if shown == "plain" and process:
        handlers = [rendered(PlainHandler(out), PlainLines(process))]
        if (file := _opened(log_file(settings, process))) is not None:
            handlers.append(rendered(file, structlog.processors.JSONRenderer()))
    elif shown != "json":
        handlers = [rendered(logging.StreamHandler(out), structlog.dev.ConsoleRenderer(colors=_is_coloured(out)))]
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The pool tells each try to connect; who waited for the connection tells what became of it.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class PlainLines:
    """Make a sentence of a warning or an error; one that comes again is told at growing distances."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._fold = Fold()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """Return the line, empty for what the desk tells of itself or has just told."""
        del logger, method
        at = datetime.fromisoformat(event["timestamp"])
        if event["event"] in _TOLD_BY_THE_DESK:
            return ""
        line = log_line(self._process, event)
        kind = event["event"] if event["event"] in _OUTAGES else line
        told = self._fold.told(kind, line, at.timestamp())
        return f"{at:%H:%M:%S}  {told}" if told else ""


class PlainHandler(logging.StreamHandler[TextIO]):
    """Write warnings and errors that make a line."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self.setLevel(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, if it makes one."""
        if line := self.format(record):
            self.stream.write(f"{broken(line, self.stream)}\n")
            self.flush()


class LogFile(RotatingFileHandler):
    """Keep the newest lines of a process; where a line cannot be written, as on a full disk, the desk goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that the library calls
        """Lose the line."""
        del record


def _opened(path: Path) -> LogFile | None:
    """Return the log file; None where there can be none, so that only warnings are told."""
    try:
        # The account that the embedded server's root drops to passes through the data directory.
        path.parent.parent.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return LogFile(path, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError:
        return None


def _is_coloured(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR")

"""Logging: one line of JSON for each event, or coloured text on a terminal; no secret in either."""

import logging
import logging.config
import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

if TYPE_CHECKING:
    from manager.settings import Settings

HIDDEN: Final = "***"
_SHORTEST: Final = 4
_SECRET_NAMES: Final = frozenset({"api_key", "api_secret", "password", "secret", "authorization", "alert_webhook"})
_TOLD_ONCE: Final = {
    "conflict": ("type", "symbol"),
    "decision_without_result": ("trader", "outcome"),
    "incident_raised": ("trader", "code"),
    "incident_resolved": ("trader", "code"),
}
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
    """Blank the known secret values, and whatever stands under a secret's name, in everything that is logged."""

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
        return text


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


def configure_logging(settings: "Settings", secrets: Iterable[str] = (), *, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers to `stream` (stderr) in the form and from the level set.

    Neither the secrets of the settings nor `secrets`, those of a config, are ever written.
    """
    # The C core of gRPC writes lines of its own to stderr otherwise.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    out = stream or sys.stderr
    shown = settings.log_form or ("console" if out.isatty() else "json")
    redact = Redactor((*settings.secrets(), *secrets))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
    if shown == "console":
        render = [structlog.processors.format_exc_info, redact, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
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

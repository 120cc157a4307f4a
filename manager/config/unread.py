"""The keys of a config that are kept for a later version: nothing reads them yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from manager.config.source import Loc
from manager.config.values import Config


@dataclass(frozen=True, slots=True)
class Unread:
    """Say what a key is kept for, and what it says in a config, empty where it is not given."""

    why: str
    said: Callable[[Config], str]


UNREAD: Final[Mapping[Loc, Unread]] = MappingProxyType(
    {
        ("monitoring", "alert_webhook"): Unread(
            "no alert is sent yet; `propdesk status` and `operations` show incidents",
            lambda config: config.monitoring.alert_webhook,
        ),
        ("monitoring", "metrics_exporter"): Unread(
            "no metrics are offered yet",
            lambda config: config.monitoring.metrics_exporter.removeprefix("none"),
        ),
    }
)

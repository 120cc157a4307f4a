"""What an account trades on, kept beside it, so that no second desk prices or fills it differently."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from hashlib import sha256
from typing import Any, Final

from manager.config.values import AccountConfig
from manager.errors import OtherDeskRuns
from manager.state.account_terms import differing_terms

_MEND: Final = (
    "stop that desk first, or give this one a database of its own with --data-dir DIR; a desk that has just died "
    "counts for ten seconds"
)
_MOST_NAMED: Final = 3
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Name the config that asks for the accounts; `rivals` tells that a worker is at work on them already."""

    config: str
    rivals: bool = False


def terms_text(account: AccountConfig) -> str:
    """Return what prices or fills an account's orders and shares it out, as JSON: the same for the same terms.

    Risk limits are not in it, which may change from start to start; neither is any key, nor what else settings do not
    show of themselves.
    """
    market, settings = account.market, account.settings
    shown = [one.name for one in fields(settings) if one.repr] if is_dataclass(settings) else []
    terms: dict[str, Any] = {
        "type": account.type,
        "equity_usd": account.equity_usd,
        "conflict_strategy": account.rules.conflict_strategy.value,
        "allocation_strategy": account.rules.allocation_strategy.value,
        "market": {
            "type": market.type.value,
            "candles": market.candles,
            "funding": market.funding,
            "venue": market.venue,
            "synthetic": _short(asdict(market.synthetic)) if market.synthetic is not None else {},
        },
        account.type: _short({name: getattr(settings, name) for name in shown}),
    }
    return json.dumps(terms, sort_keys=True, default=_plain)


def difference(there: str, here: str) -> str:
    """Say in words how two terms differ."""
    parts = [f"{name} is {old} there and {new} here" for name, old, new in differing_terms(there, here)]
    more = f" and {len(parts) - _MOST_NAMED} more" if len(parts) > _MOST_NAMED else ""
    return ", ".join(parts[:_MOST_NAMED]) + more


def other_terms(claimant: Claimant, owner: str, account: str, how: str) -> OtherDeskRuns:
    """Return the error of an account that runs on other terms."""
    return OtherDeskRuns(
        f"{claimant.config}: a desk runs on this database with {owner}, and account {account} trades there on other "
        f"terms: {how}; {_MEND}"
    )


def other_traders(claimant: Claimant, owner: str, change: str) -> OtherDeskRuns:
    """Return the error of two configs that would take turns at changing the traders."""
    return OtherDeskRuns(
        f"{claimant.config}: a desk runs on this database with {owner}, and this config would change its traders "
        f"({change}); {_MEND}, or change {owner} instead"
    )


def _short(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return scalars as they are and anything larger by its hash, as every round reads this with its account."""
    return {
        name: _digest(value) if isinstance(value, Mapping | tuple | list) else value for name, value in values.items()
    }


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()[:_DIGITS] if value else ""


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)

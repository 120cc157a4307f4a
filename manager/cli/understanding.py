"""Lay out what was understood of a config, for people."""

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal

from executor.contract import Limits
from executor.spec import ExecutorType
from manager.cli.render import say, usd, write
from manager.config.fields import spelled
from manager.config.warnings import ConfigWarning
from manager.state.records import DEFAULT_TENANT
from manager.views.understood import (
    Understood,
    UnderstoodAccount,
    UnderstoodExecutor,
    UnderstoodTenant,
    UnderstoodTrader,
)
from traders.spec import TraderId

_ACCOUNTS = ("account", "type", "start USD>", "to deal USD>", "dealt", "taker>", "maker>", "slippage bps>")
_TRADERS = ("trader", "account", "capital USD>", "decides every", "by")
_WIDEST = 120


def show_understood(found: Understood) -> None:
    """Print what the config says, tenant by tenant."""
    for tenant in found.tenants:
        if tenant.id != DEFAULT_TENANT:
            taken = f"{', '.join(tenant.inherited[:-1])} and {tenant.inherited[-1]}"
            say(f"\nTenant {tenant.id} (takes {taken} from the top of the file)", style="bold")
        if tenant.accounts:
            _show_entries("Accounts", _ACCOUNTS, [_account(account) for account in tenant.accounts])
        if tenant.traders:
            _show_entries("Traders", _TRADERS, [_trader(trader) for trader in tenant.traders])
            _show_limits(tenant)


def show_warnings(warnings: tuple[ConfigWarning, ...]) -> None:
    """Print each warning in a line of its own."""
    for warning in warnings:
        say(f"warning: {warning}", style="yellow")


def counted(count: int, noun: str) -> str:
    """Return `1 trader` or `2 traders`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _show_entries(title: str, columns: Sequence[str], entries: Sequence[Sequence[str]]) -> None:
    """Print aligned rows, each with its last cell on a line of its own; names that end in > are aligned right."""
    rows = [[name.removesuffix(">") for name in columns], *(entry[:-1] for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.rjust if name.endswith(">") else str.ljust for name in columns]
    lines = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    ]
    told = [f"{line}\n    {entry[-1]}" for line, entry in zip(lines[1:], entries, strict=True)]
    write("\n".join([title, lines[0], *told]))


def _account(account: UnderstoodAccount) -> list[str]:
    costs = [_bps(one) for one in (account.fee_bps, account.maker_fee_bps, account.slippage_bps)]
    limits = account.limits
    told = [
        f"prices: {account.market}",
        f"reserve {account.reserve_equity_pct:f} %",
        f"conflicts: {account.conflict_strategy}",
        f"max_margin_usage_pct {limits.max_margin_usage_pct:f}",
        f"max_positions {limits.max_positions}",
        f"max_symbol_exposure_pct {limits.max_symbol_exposure_pct:f}",
        f"max_unrealized_loss_pct {limits.max_unrealized_loss_pct:f}",
        *([] if account.trading_enabled else ["no entries: trading_enabled is false"]),
        *([account.unfit] if account.unfit else []),
    ]
    known = account.equity_usd > 0
    amounts = [usd(account.equity_usd if known else None), usd(account.distributable_usd if known else None)]
    return [account.name, account.type, *amounts, str(account.allocation_strategy), *costs, _folded(", ".join(told))]


def _trader(trader: UnderstoodTrader) -> list[str]:
    waits = "" if trader.auto_start else "; waits for `propdesk traders start`"
    named = "" if trader.name == trader.id else f"{trader.name}: "
    told = f"{named}{', '.join(trader.symbols)}{waits}"
    by = _decider(trader.executor)
    return [trader.id, trader.account, usd(trader.capital_usd), spelled(trader.decision_interval_s), by, _folded(told)]


def _decider(executor: UnderstoodExecutor) -> str:
    if executor.timeout_s is None:
        return f"{executor.type} {executor.name}"
    kind = "model" if executor.type is ExecutorType.LLM else str(executor.type)
    return f"{kind} {executor.name} within {executor.timeout_s:g}s"


def _show_limits(tenant: UnderstoodTenant) -> None:
    shared: dict[Limits, list[TraderId]] = {}
    for trader in tenant.traders:
        shared.setdefault(trader.limits, []).append(trader.id)
    write("Limits")
    for limits, ids in shared.items():
        given = [one.name for one in fields(limits) if getattr(limits, one.name) is not None]
        write(_folded(", ".join(ids), ""))
        write("    " + _folded(", ".join(f"{name.removesuffix('_s')} {_limit(name, limits)}" for name in given)))


def _limit(name: str, limits: Limits) -> str:
    value = getattr(limits, name)
    if name.endswith("_s"):
        return spelled(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _bps(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:f}"


def _folded(text: str, indent: str = "    ") -> str:
    width = min(shutil.get_terminal_size().columns, _WIDEST) - len(indent)
    return f"\n{indent}".join(textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False))

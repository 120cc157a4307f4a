"""`propdesk check models`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import typer

from exchanges.clock import SystemClock
from executor.models.addresses import shown_url
from executor.models.probe import ProbeResult
from executor.models.profile import ModelProfile
from manager.cli.checking_remotes import check_remotes, show_remotes
from manager.cli.guard import FAILED
from manager.cli.options import CONFIG_DEFAULT, ConfigOption, JsonOption, read_config
from manager.cli.probing import Configured, configured_models, probe_all
from manager.cli.progress import progress
from manager.cli.render import print_json, say, show_table

_COLUMNS = ("model", "endpoint", "state", "latency>", "asked", "seen", "USD/Mtok in, cached, out", "this call USD>")

app = typer.Typer(no_args_is_help=True, help="Check what the desk depends on.")


@app.callback()
def group() -> None:
    """Check what the desk depends on."""


@app.command("models")
def models(config: ConfigOption = CONFIG_DEFAULT, as_json: JsonOption = False) -> None:
    """Call each configured model once and say what it can do and what is wrong; exit code 1 if any fails.

    Executors elsewhere are greeted: whether each is there, takes the key and can decide for its trader.
    """
    read = read_config(config)
    configured = tuple(configured_models(read))
    with progress("asking the models") as meter:
        results = asyncio.run(probe_all(configured, SystemClock(), meter)) if configured else []
    remotes = asyncio.run(check_remotes(read, SystemClock()))
    ok = all(result.ok for result in results) and all(remote.ok for remote in remotes)
    if as_json:
        found = [_row(*pair) for pair in zip(configured, results, strict=True)]
        print_json({"ok": ok, "models": found, "executors": [remote.row() for remote in remotes]})
    elif configured or remotes:
        _show(configured, results)
        if remotes:
            show_remotes(remotes)
    else:
        say(f"{config} names no model and no executor elsewhere; there is nothing to check.")
    if not ok:
        raise typer.Exit(FAILED)


def _show(configured: Sequence[Configured], results: Iterable[ProbeResult]) -> None:
    if not configured:
        return
    pairs = list(zip(configured, results, strict=True))
    show_table("Models", _COLUMNS, [_cells(one, result) for one, result in pairs])
    for one, result in pairs:
        for problem in result.problems:
            say(f"{one.title}: failed: {problem}", style="red")
        for hint in result.hints:
            say(f"{one.title}: note: {hint}", style="yellow")


def _cells(one: Configured, result: ProbeResult) -> list[str]:
    endpoint = one.profile.endpoint
    prices, cost = one.profile.prices, _cost(one.profile, result)
    return [
        one.title,
        f"{endpoint.model} at {shown_url(endpoint.base_url)}",
        "ok" if result.ok else "failed",
        f"{result.latency_s:.2f} s",
        endpoint.structured,
        result.seen,
        f"{prices.input:f}, {prices.cached_input:f}, {prices.output:f}" if prices else "-",
        f"{cost:f}" if cost is not None else "-",
    ]


def _row(one: Configured, result: ProbeResult) -> Mapping[str, Any]:
    endpoint = one.profile.endpoint
    return {
        "tenant": one.tenant,
        "name": one.name,
        "model": endpoint.model,
        "base_url": shown_url(endpoint.base_url),
        "ok": result.ok,
        "latency_s": round(result.latency_s, 3),
        "answered_as": result.answered_as,
        "structured": {"asked": endpoint.structured, "seen": result.seen},
        "price_per_mtok": one.profile.prices,
        "tokens": {"input": result.usage.input_tokens, "output": result.usage.output_tokens},
        "cost_usd": _cost(one.profile, result),
        "problems": result.problems,
        "hints": result.hints,
    }


def _cost(profile: ModelProfile, result: ProbeResult) -> Decimal | None:
    prices = profile.prices
    return prices.cost(result.usage) if prices is not None and result.ok else None

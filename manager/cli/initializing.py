"""`propdesk init`: write a commented config, from options or from answers to questions."""

import os
import sys
from collections import UserDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from exchanges.synthetic.config import DEFAULT_SYMBOLS
from exchanges.types import ZERO, Symbol
from executor.baseline.styles import Style
from manager.cli.guard import Refused
from manager.cli.options import CONFIG_DEFAULT, JsonOption, taking
from manager.cli.render import print_json, say
from manager.config import ConfigError, load_config
from manager.config.draft import DEFAULT_STYLES, Draft
from manager.config.fields import parse_duration, parse_id
from manager.config.models import url_fault
from manager.config.schema import OPENAI
from manager.config.warnings import ConfigWarning, doubts_about

_SUFFIXES: Final = (".yaml", ".yml")
_MOST_TRADERS: Final = 1000
_MOST_USD: Final = 10**12
_MOST_BPS: Final = 10_000
_OPENAI_KEY: Final = "OPENAI_API_KEY"


def _capital(text: str) -> Decimal:
    amount = _number(text)
    if not ZERO < amount <= _MOST_USD:
        raise typer.BadParameter(f"{text!r} is out of bounds; write an amount above 0 and up to {_MOST_USD} USD")
    return amount


def _fee(text: str) -> Decimal:
    fee = _number(text)
    if not ZERO <= fee <= _MOST_BPS:
        raise typer.BadParameter(f"{text!r} is out of bounds; write basis points from 0 to {_MOST_BPS}")
    return fee


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is no number; write one such as 10000 or 4.5") from None
    if not number.is_finite():
        raise typer.BadParameter(f"{text!r} is no finite number; write one such as 10000 or 4.5")
    return number


def _amount(help_text: str, name: str, parser: Callable[[str], Decimal] = _number) -> Any:
    return typer.Option(name, metavar="NUMBER", parser=parser, help=help_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class InitOptions:
    """Hold what `propdesk init` is given; None is what it asks for, or has a default for."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The config to write, a YAML file.")] = CONFIG_DEFAULT
    capital: Annotated[
        Decimal | None, _amount("What the paper account starts with, in USD.", "--capital", _capital)
    ] = None
    traders: Annotated[
        str | None, typer.Option("--traders", metavar="N|IDS", help="How many traders, or their ids: trend_btc,bear.")
    ] = None
    symbols: Annotated[
        str | None, typer.Option("--symbols", metavar="LIST", help="What they trade, such as BTC,ETH.")
    ] = None
    style: Annotated[
        Style | None, typer.Option("--style", help="The rules that all follow; without it several in turns.")
    ] = None
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Let a model decide: its name at its endpoint.")
    ] = None
    base_url: Annotated[
        str | None, typer.Option("--base-url", metavar="URL", help=f"The model's endpoint; {OPENAI} unless given.")
    ] = None
    key_env: Annotated[
        str | None,
        typer.Option("--key-env", metavar="NAME", help="The variable of the environment that holds the model's key."),
    ] = None
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="DURATION", help="How often each decides, such as 30s or 3m.")
    ] = None
    fee_bps: Annotated[
        Decimal | None, _amount("The fee of an order that takes, in basis points.", "--fee-bps", _fee)
    ] = None
    maker_fee_bps: Annotated[
        Decimal | None, _amount("The fee of an order that rests, in basis points.", "--maker-fee-bps")
    ] = None
    slippage_bps: Annotated[
        Decimal | None, _amount("How much worse a market order is filled, in basis points.", "--slippage-bps")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False
    as_json: JsonOption = False

    @property
    def asks(self) -> bool:
        """Tell whether questions are asked: on a terminal, where nothing is said yet."""
        told = any(getattr(self, one.name) is not None for one in fields(self) if one.default is None)
        return not told and not self.as_json and sys.stdin.isatty() and sys.stdout.isatty()


@taking(InitOptions)
def init(options: InitOptions) -> None:
    """Write a commented config that runs at once.

    On a terminal without options it asks what is to be in it.
    """
    file = options.file
    _check_place(file, force=options.force)
    draft = _asked() if options.asks else _drafted(options)
    replaced, warnings = file.exists(), _write(draft, file, force=options.force)
    hints = _hints(draft, file)
    if options.as_json:
        known = [draft.key_name] * bool(draft.model and draft.key_name)
        told = {"replaced": replaced, "traders": draft.ids, "symbols": draft.symbols, "environment": known}
        print_json({"ok": True, "file": file, **told, "warnings": warnings, "hints": hints})
        return
    say(f"{file}: written; {len(draft.ids)} trader(s) on paper, {draft.capital_usd:f} USD")
    for warning in warnings:
        say(f"warning: {warning}", style="yellow")
    for hint in hints:
        say(hint)


def _check_place(file: Path, *, force: bool) -> None:
    if file.suffix.lower() not in _SUFFIXES:
        raise Refused(f"{file}: a config is written as YAML; name it *.yaml")
    if file.is_dir():
        raise Refused(f"{file} is a directory; name a file in it, such as {file / 'config.yaml'}")
    if not file.parent.is_dir():
        raise Refused(f"{file.parent} is no directory; make it first: mkdir -p {file.parent}")
    if file.exists() and not force:
        raise Refused(f"{file} is there already; name another file, or pass --force to overwrite it")


def _drafted(options: InitOptions) -> Draft:
    by_model = any(one is not None for one in (options.model, options.base_url, options.key_env))
    if by_model and options.style is not None:
        raise Refused("--style is for rules in code, and --model, --base-url and --key-env for a model; give one kind")
    if by_model and not options.model:
        raise Refused("--base-url and --key-env need --model NAME, the endpoint's name of the model")
    base_url = options.base_url or OPENAI
    key = options.key_env if options.key_env is not None else _OPENAI_KEY if base_url == OPENAI else ""
    return Draft(
        ids=_ids(options.traders or ("1" if by_model else "4"), by_model=by_model),
        symbols=_symbols(options.symbols or "BTC,ETH"),
        capital_usd=Decimal(10_000) if options.capital is None else options.capital,
        interval=_interval(options.interval or ("3m" if by_model else "20s")),
        fee_bps=Decimal("4.5") if options.fee_bps is None else options.fee_bps,
        maker_fee_bps=Decimal("1.5") if options.maker_fee_bps is None else options.maker_fee_bps,
        slippage_bps=Decimal(1) if options.slippage_bps is None else options.slippage_bps,
        styles=DEFAULT_STYLES if options.style is None else (options.style,),
        model=options.model or "",
        base_url=base_url,
        key_name=_variable(key) if key else "",
    )


def _variable(name: str) -> str:
    if not (name.isascii() and name.isidentifier()):
        raise Refused(
            "--key-env is no name of a variable; write the name, such as OPENAI_API_KEY, never the key itself"
        )
    return name


def _asked() -> Draft:
    def ask(question: str, default: str, read: Callable[[str], Any] = str) -> Any:
        """Ask until `read` takes the answer."""

        def taken(answer: str) -> Any:
            try:
                return read(answer.strip())
            except Refused as error:
                raise typer.BadParameter(str(error)) from None

        return typer.prompt(question, default=default, value_proc=taken)

    def ids(answer: str) -> str:
        _ids(answer, by_model=by_model)
        return answer

    def symbols(answer: str) -> str:
        _symbols(answer)
        return answer

    capital = ask("Capital of the paper account in USD", "10000", _capital)
    fee = ask("Fee of the account in basis points (1 is 0.01 %)", "4.5", _fee)
    by_model = ask("Who decides: rules in code, or a model? (rules/model)", "rules", _is_model)
    model = ask("Name of the model at its endpoint", "gpt-5-mini") if by_model else None
    url = ask("Address of its endpoint", OPENAI, _url) if by_model else None
    key_default = _OPENAI_KEY if url == OPENAI else "MODEL_API_KEY"
    question = "Variable of the environment with its key (never the key itself)"
    key = ask(question, key_default, _variable) if by_model else None
    return _drafted(
        InitOptions(
            capital=capital,
            fee_bps=fee,
            model=model,
            base_url=url,
            key_env=key,
            traders=ask("Traders: how many, or their ids with commas", "1" if by_model else "4", ids),
            symbols=ask("Symbols", "BTC,ETH", symbols),
            interval=ask("How often each decides", "3m" if by_model else "20s", _interval),
        )
    )


def _is_model(answer: str) -> bool:
    kinds = [kind for kind in ("rules", "model") if answer and kind.startswith(answer.lower())]
    if not kinds:
        raise Refused(f"{answer!r} is none of them; answer rules or model")
    return kinds == ["model"]


def _url(answer: str) -> str:
    if fault := url_fault(answer, allow_private=True):
        raise Refused(f"{answer!r}: {fault}")
    return answer


def _ids(given: str, *, by_model: bool) -> tuple[str, ...]:
    if given.strip().isdecimal():
        count = int(given) if len(given.strip()) < len(str(_MOST_TRADERS)) + 1 else _MOST_TRADERS + 1
        if not 1 <= count <= _MOST_TRADERS:
            raise Refused(f"--traders is {given}; expected 1 to {_MOST_TRADERS}, or ids such as trend_btc,bear")
        return tuple(f"{'model' if by_model else 'trader'}_{number}" for number in range(1, count + 1))
    ids = tuple(one.strip() for one in given.split(","))
    for one in ids:
        try:
            parse_id(one)
        except ValueError as error:
            raise Refused(f"--traders: {one!r}: {error}") from None
        if ids.count(one) > 1:
            raise Refused(f"--traders names {one!r} more than once; give each trader an id of its own")
    return ids


def _symbols(given: str) -> tuple[Symbol, ...]:
    names = dict.fromkeys(one.strip().upper() for one in given.split(",") if one.strip())
    asked = {Symbol(one if "/" in one else f"{one}/USDT:USDT"): one for one in names}
    quoted = {one.symbol: one.symbol.partition("/")[0] for one in DEFAULT_SYMBOLS}
    absent = [name for symbol, name in asked.items() if symbol not in quoted]
    if absent or not asked:
        told = f"paper does not quote {', '.join(absent)}" if absent else "that names none"
        raise Refused(f"--symbols is {given!r}: {told}; its market has {', '.join(quoted.values())}")
    return tuple(asked)


def _interval(given: str) -> str:
    try:
        parse_duration(int(given) if given.isdecimal() else given)
    except ValueError as error:
        raise Refused(f"--interval is {given!r}: {error}") from None
    return given


class _Filled(UserDict[str, str]):
    """An environment in which every variable is set: the config is judged before its keys are there."""

    def get(self, name: str, default: Any = None) -> Any:
        del default
        return name


def _write(draft: Draft, file: Path, *, force: bool) -> tuple[ConfigWarning, ...]:
    """Write the whole file or nothing, and only what a check finds right; return its warnings."""
    unfinished = file.parent / f".{file.stem}-{os.getpid()}{file.suffix}"
    try:
        with unfinished.open("x", encoding="utf-8") as out:
            out.write(draft.text())
            out.flush()
            os.fsync(out.fileno())
        warnings = doubts_about(load_config(unfinished, _Filled()))
        if force:
            unfinished.replace(file)
        else:
            os.link(unfinished, file)
    except ConfigError as error:
        told = "; ".join(f"{one.field} is {one.value}: {one.mend}" for one in error.problems)
        raise Refused(f"{file} is not written: {told}") from None
    except FileExistsError:
        raise Refused(f"{file} is there already; name another file, or pass --force to overwrite it") from None
    except OSError as error:
        raise Refused(f"{file} cannot be written ({error.strerror}); name a file in a folder that is yours") from None
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return warnings


def _hints(draft: Draft, file: Path) -> list[str]:
    named = "" if file == CONFIG_DEFAULT else f" -c {file}"
    hints = [f"Next: propdesk run{named}"]
    if draft.model and draft.key_name:
        hints.insert(0, f"First: export {draft.key_name}=... (or keep it in a file such as .env, outside the config)")
        home = file.resolve().parent
        inside = next((folder for folder in (home, *home.parents) if (folder / ".git").exists()), None)
        ignored = inside is not None and (inside / ".gitignore").is_file()
        lines = (
            (inside / ".gitignore").read_text(encoding="utf-8", errors="replace").split() if ignored and inside else []
        )
        if ".env" not in lines:
            hints.insert(1, "If you keep keys in .env, add the line .env to .gitignore, so that none is ever committed")
    return hints

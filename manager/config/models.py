"""Read `models:` and `budgets:`: which endpoints there are, what they are told, and what calls of them may cost."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_base_url, shown_url
from executor.models.chat import ModelEndpoint
from executor.models.profile import ModelProfile, TokenPrices
from executor.spec import ExecutorSpec
from manager.config.reading import Reading
from manager.config.schema import OPENAI, BudgetsSection, ModelSection, PricesSection
from manager.config.source import Loc, shown
from manager.config.values import Budgets

_OURS: Final = frozenset({"model", "messages", "response_format", "stream", "stream_options", "n"})
_TOOLS: Final = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"})
_DEARER: Final = frozenset(
    {
        *("best_of", "models", "route", "plugins", "fallbacks"),
        *("web_search_options", "search_parameters", "enable_search", "audio", "modalities"),
    }
)
_CAPS: Final = ("max_tokens", "max_completion_tokens")


def read_models(reading: Reading, loc: Loc, given: Mapping[str, Any], budgets: Budgets) -> dict[str, ModelProfile]:
    """Return the models that are right, with references for keys; the mistakes of the others are noted.

    One without a budget of its own has the one that `budgets` gives to each model.
    """
    profiles = {}
    for name, section in given.items():
        here = (*loc, name)
        model = reading.validated(here, ModelSection, section) if reading.named(here) else None
        if model is None:
            continue
        if model.api_key is None and model.base_url == OPENAI:
            reading.report((*here, "api_key"), "missing", "add `api_key: ${NAME}`")
        if fault := url_fault(model.base_url, allow_private=model.allow_private):
            reading.report((*here, "base_url"), shown((), shown_url(model.base_url)), fault)
        endpoint = ModelEndpoint(
            base_url=model.base_url,
            model=model.model,
            api_key=model.api_key or "",
            structured=model.structured,
            timeout_s=float(model.timeout or reading.root.manager.decision_timeout),
            allow_private=model.allow_private,
            extra_body=read_body(reading, (*here, "extra_body"), model.extra_body),
        )
        price, own = model.price_per_mtok, model.budget_usd_per_day
        profiles[name] = ModelProfile(
            name=name,
            endpoint=endpoint,
            max_concurrency=model.max_concurrency,
            requests_per_minute=model.requests_per_minute,
            prices=None if price is None else _prices(price),
            budget_usd_per_day=budgets.model_usd_per_day if own is None else own,
        )
    return profiles


def _prices(section: PricesSection) -> TokenPrices:
    cached = section.input if section.cached_input is None else section.cached_input
    return TokenPrices(input=section.input, cached_input=cached, output=section.output)


def url_fault(base_url: str, *, allow_private: bool) -> str:
    """Say why an endpoint may not be at an address, empty if it may."""
    try:
        check_base_url(base_url, allow_private=allow_private)
    except ExecutorConfigError as error:
        return str(error)
    return ""


def read_budgets(section: BudgetsSection) -> Budgets:
    """Return the budgets of a tenant."""
    return Budgets(**section.model_dump())


def asked_models(executor: ExecutorSpec) -> tuple[str, ...]:
    """Return the names under `models:` that an executor asks."""
    return executor.fallback if executor.base_url else (*executor.fallback, executor.model)


def lacking(profile: ModelProfile) -> tuple[str, str] | None:
    """Return the field that a model needs before a budget can hold for it and the mend, None if it has all."""
    from executor.models.metering import output_cap

    if profile.prices is None:
        return "price_per_mtok", "add price_per_mtok: {input: ..., output: ...}, 0 where it costs nothing"
    if profile.prices.output and output_cap(profile.endpoint.extra_body) is None:
        mend = "add extra_body: {max_tokens: ...}, or max_completion_tokens where the provider wants that"
        return "extra_body", f"{mend}: without a cap nobody knows what a reply may cost"
    return None


def differing_limits(models: Mapping[str, ModelProfile]) -> Iterator[str]:
    """Say of each endpoint that has several names with several limits which ones hold: the lowest, for all."""
    shared: dict[object, list[ModelProfile]] = {}
    if models:
        from executor.models.clients import gate_key
    for profile in models.values():
        shared.setdefault(gate_key(profile.endpoint), []).append(profile)
    for profiles in shared.values():
        rates = {profile.requests_per_minute for profile in profiles}
        places = {profile.max_concurrency for profile in profiles}
        if len(rates) > 1 or len(places) > 1:
            names = ", ".join(sorted(profile.name for profile in profiles))
            given = (("max_concurrency", places - {None}), ("requests_per_minute", rates - {None}))
            lowest = " and ".join(f"{limit} {min(filter(None, values))}" for limit, values in given if values)
            yield f"models {names} are one endpoint, which has the lowest of their limits: {lowest}"


def read_body(reading: Reading, loc: Loc, given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the body as JSON has it; what is wrong in it is noted.

    Kept out is what the desk decides itself, tools, which would let a model act outside its decision, and what makes a
    call cost more than its tokens at the configured price.
    """
    for key, value in given.items():
        mend = _body_mend(key, value)
        if mend:
            reading.report((*loc, str(key)), shown(loc, value), mend)
    return {str(key): _as_json(value) for key, value in given.items()}


def _body_mend(key: object, value: object) -> str:
    if key in _TOOLS:
        return "models decide by their reply only; remove it"
    if key in _OURS:
        return "is set for each call already; remove it"
    if key in _DEARER:
        return "makes a call cost more than its price_per_mtok says; remove it"
    if key in _CAPS and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return "expected a whole number of tokens above 0"
    if not isinstance(key, str) or not _is_json(value):
        return "cannot be sent as JSON; expected text, finite numbers, true, false, null, lists and mappings"
    return ""


def _is_json(value: object) -> bool:
    match value:
        case Decimal() | float():
            return isfinite(value)
        case dict():
            return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
        case list():
            return all(map(_is_json, value))
    return value is None or isinstance(value, str | int)


def _as_json(value: Any) -> Any:
    """Write numbers as JSON has them: a temperature of 0.2 is a float there."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {key: _as_json(item) for key, item in value.items()}
        case list():
            return [_as_json(item) for item in value]
    return value

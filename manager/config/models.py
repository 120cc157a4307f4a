"""Read `models:`, and what traders say about the models that decide for them."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from executor.errors import ExecutorConfigError
from executor.models.addresses import check_base_url, shown_url
from executor.models.chat import ModelEndpoint, Structured
from executor.models.clients import gate_key
from executor.models.profile import ModelProfile, TokenPrices
from executor.registry import ExecutorSpec, ExecutorType
from manager.config.accounts import Reading
from manager.config.explain import validated
from manager.config.extra_body import read_body
from manager.config.fields import one_of, parse_id
from manager.config.schema import LlmSection, ModelSection, PricesSection
from manager.config.source import Loc, shown

OPENAI: Final = "https://api.openai.com/v1"
_OF_THE_ENDPOINT: Final = ("structured", "extra_body")


def read_models(reading: Reading, loc: Loc, given: Mapping[str, Any]) -> dict[str, ModelProfile]:
    """Return the models that are right, with references for keys; the mistakes of the others are noted."""
    profiles = {}
    for name, section in given.items():
        here = (*loc, "models", name)
        try:
            parse_id(name)
        except ValueError as error:
            reading.source.report(here, shown((), name), str(error))
            continue
        model = validated(reading.source, here, ModelSection, section, reading.environment)
        if model is not None:
            profiles[name] = _profile(reading, here, model)
    return profiles


def read_llm(reading: Reading, loc: Loc, section: LlmSection, models: Collection[str]) -> ExecutorSpec:
    """Return an executor that names models of its tenant, or its own endpoint; what is wrong in it is noted."""
    inline = section.api_key is not None or section.base_url is not None
    (_check_inline if inline else _check_named)(reading, loc, section, models)
    for index, name in enumerate(section.fallback):
        here = (*loc, "fallback", index)
        if name in section.fallback[:index] or (name == section.model and not inline):
            reading.source.report(here, shown((), name), "is asked before already; remove it here")
        elif name not in models:
            reading.source.report(here, shown((), name), f"no such model under models; {one_of(sorted(models), name)}")
    return ExecutorSpec(
        type=ExecutorType.LLM,
        base_url=(section.base_url or OPENAI) if inline else "",
        api_key=section.api_key or "",
        model=section.model,
        fallback=tuple(section.fallback),
        structured=section.structured or Structured.JSON_SCHEMA,
        timeout_s=float(section.timeout or reading.root.manager.decision_timeout),
        extra_body=read_body(reading, (*loc, "extra_body"), section.extra_body),
    )


def differing_limits(models: Mapping[str, ModelProfile]) -> Iterator[str]:
    """Say of each endpoint that has several names with several limits which ones hold: the lowest, for all."""
    shared: dict[object, list[ModelProfile]] = {}
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


def _check_inline(reading: Reading, loc: Loc, section: LlmSection, models: Collection[str]) -> None:
    del models
    if section.api_key is None:
        mend = "add `api_key: ${NAME}`; an endpoint without a key is defined under models"
        reading.source.report((*loc, "api_key"), "missing", mend)
    _check_url(reading, (*loc, "base_url"), section.base_url or OPENAI, allow_private=False)


def _check_named(reading: Reading, loc: Loc, section: LlmSection, models: Collection[str]) -> None:
    if section.model not in models:
        known = one_of(sorted(models), section.model) if models else "there is none"
        mend = f"no such model under models ({known}); define it there, or add `api_key: ${{NAME}}` and base_url here"
        reading.source.report((*loc, "model"), shown((), section.model), mend)
        return
    for key in _OF_THE_ENDPOINT:
        if key in section.model_fields_set:
            mend = f"belongs to the endpoint; write it under models.{section.model}"
            reading.source.report((*loc, key), shown((), getattr(section, key)), mend)


def _profile(reading: Reading, loc: Loc, section: ModelSection) -> ModelProfile:
    if section.api_key is None and section.base_url == OPENAI:
        reading.source.report((*loc, "api_key"), "missing", "add `api_key: ${NAME}`")
    _check_url(reading, (*loc, "base_url"), section.base_url, allow_private=section.allow_private)
    endpoint = ModelEndpoint(
        base_url=section.base_url,
        model=section.model,
        api_key=section.api_key or "",
        structured=section.structured,
        timeout_s=float(section.timeout or reading.root.manager.decision_timeout),
        allow_private=section.allow_private,
        extra_body=read_body(reading, (*loc, "extra_body"), section.extra_body),
    )
    return ModelProfile(
        name=str(loc[-1]),
        endpoint=endpoint,
        max_concurrency=section.max_concurrency,
        requests_per_minute=section.requests_per_minute,
        prices=_prices(section.price_per_mtok),
        budget_usd_per_day=section.budget_usd_per_day,
    )


def _prices(section: PricesSection | None) -> TokenPrices | None:
    if section is None:
        return None
    cached = section.input if section.cached_input is None else section.cached_input
    return TokenPrices(input=section.input, cached_input=cached, output=section.output)


def _check_url(reading: Reading, loc: Loc, base_url: str, *, allow_private: bool) -> None:
    try:
        check_base_url(base_url, allow_private=allow_private)
    except ExecutorConfigError as error:
        reading.source.report(loc, shown((), shown_url(base_url)), str(error))

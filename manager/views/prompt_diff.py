"""Compare two templates on the same contexts: what each decides, what it costs, how far they agree."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from exchanges.types import ZERO
from executor.contract import PASSIVE, Context, Decision, Executor, FullDecision, Outcome
from traders.spec import TraderId

AT_ONCE: Final = 4
NOTHING: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sum what one template did on all contexts; `tokens` are those its endpoint counted, prices in USD.

    `reasons` say why a decision failed, the same one once.
    """

    template: str
    outcomes: Mapping[str, int]
    actions: Mapping[str, int]
    prompt_tokens: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: Decimal
    latency_s: float
    cut_prompts: int
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, template: str, decisions: Sequence[FullDecision]) -> "Totals":
        """Return the sums over what one template decided."""
        prompts = [full.prompt for full in decisions if full.prompt is not None]
        return cls(
            template=template,
            outcomes=dict(Counter(full.outcome for full in decisions)),
            actions=dict(Counter(item.action for full in decisions for item in full.decisions)),
            prompt_tokens=sum(prompt.tokens for prompt in prompts),
            input_tokens=sum(full.usage.input_tokens for full in decisions),
            cached_tokens=sum(full.usage.cached_tokens for full in decisions),
            output_tokens=sum(full.usage.output_tokens for full in decisions),
            cost_usd=sum((full.usage.cost_usd for full in decisions), ZERO),
            latency_s=sum(full.latency_s for full in decisions) / len(decisions),
            cut_prompts=sum(bool(prompt.cuts) for prompt in prompts),
            reasons=tuple(dict.fromkeys(_reason(full) for full in decisions if full.outcome is not Outcome.DECIDED)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Show what both templates want for one symbol of one context; NOTHING stands for no action."""

    context: int
    trader_id: TraderId
    at: datetime
    symbol: str
    first: str
    second: str

    @classmethod
    def of(cls, number: int, context: Context, one: FullDecision, other: FullDecision) -> list["Difference"]:
        """Return what both want in one context, for each of its symbols."""
        symbols = dict.fromkeys([*context.symbols, *(position.symbol for position in context.positions)])
        return [
            cls(
                context=number,
                trader_id=TraderId(context.trader_id),
                at=context.now,
                symbol=symbol,
                first=_intended(one, symbol),
                second=_intended(other, symbol),
            )
            for symbol in symbols
        ]

    @property
    def same(self) -> bool:
        """Tell whether both take the same action, whatever its size."""
        return self.first.split(" ")[0] == self.second.split(" ")[0]

    @property
    def verdict(self) -> str:
        """Say how the two compare: same, differs, or failed where one did not decide."""
        failed = "(" in (self.first[:1], self.second[:1])
        return "failed" if failed else "same" if self.same else "differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Hold the whole comparison; agreement is the share of (context, symbol) with the same action, 0-100.

    Only pairs that both templates decided count; `agreement_pct` is None without any. `prompts_read` says whether
    any decision was made on a prompt: rules read none, so their agreement says nothing of the templates.
    """

    contexts: int
    first: Totals
    second: Totals
    rows: tuple[Difference, ...]
    compared: int
    agreement_pct: float | None
    prompts_read: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Name one template and the executor that decides by it."""

    template: str
    executor: Executor


async def compare(
    contexts: Sequence[Context], first: Side, second: Side, progress: Callable[[float | None], None]
) -> Comparison:
    """Return what both decide on every context, a few at a time; nothing is traded."""
    gate = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def decide(side: Side, context: Context) -> FullDecision:
        nonlocal done
        async with gate:
            full = await side.executor.decide(context)
        done += 1
        progress(done / (2 * len(contexts)))
        return full

    async with asyncio.TaskGroup() as group:
        tasks = [[group.create_task(decide(side, context)) for context in contexts] for side in (first, second)]
    ones, others = ([task.result() for task in column] for column in tasks)
    pairs = list(zip(contexts, ones, others, strict=True))
    rows = [row for number, pair in enumerate(pairs, start=1) for row in Difference.of(number, *pair)]
    compared = [row for row in rows if row.verdict != "failed"]
    return Comparison(
        contexts=len(contexts),
        first=Totals.of(first.template, ones),
        second=Totals.of(second.template, others),
        rows=tuple(rows),
        compared=len(compared),
        agreement_pct=100 * sum(row.same for row in compared) / len(compared) if compared else None,
        prompts_read=any(full.prompt is not None for full in (*ones, *others)),
    )


def _intended(full: FullDecision, symbol: str) -> str:
    if full.outcome is not Outcome.DECIDED:
        return f"({full.outcome})"
    items = [item for item in full.decisions if item.symbol == symbol and item.action not in PASSIVE]
    return ", ".join(map(_said, items)) or NOTHING


def _said(item: Decision) -> str:
    parts: list[str] = [str(item.action)]
    if item.position_size_usd is not None:
        parts.append(f"{item.position_size_usd:f} USD x{item.leverage}")
    if item.stop_loss is not None:
        parts.append(f"stop {item.stop_loss:f}")
    if item.take_profit is not None:
        parts.append(f"take profit {item.take_profit:f}")
    if item.fraction != 1:
        parts.append(f"fraction {item.fraction:f}")
    return " ".join(parts)


def _reason(full: FullDecision) -> str:
    told = "; ".join(error.message for error in full.errors) or full.reasoning or "no reason is known"
    return f"{full.outcome}: {told}"

"""`propdesk why`: the story of an order, from the fill back to the words of the model."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

import typer

from executor.contract import Decision, Outcome, Usage
from manager.cli.connect import DeskOptions
from manager.cli.guard import Refused
from manager.cli.options import taking
from manager.cli.render import instant, price, print_json, say, show_table, usd
from manager.state.records import OrderRow
from manager.views.why import ExplainedIntent, SeenMarket, Story, read_story

_LONGEST_REPLY: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyOptions(DeskOptions):
    """Hold what `propdesk why` is given."""

    order: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An order, by its own or the venue's id; a trade, intent or decision; a trader: its newest.",
        ),
    ]


@taking(WhyOptions)
def why(options: WhyOptions) -> None:
    """Explain an order, trade, intent or decision: intents, the model's words, the market it saw, checks, fills.

    Of a trader it explains the newest decision.
    """
    story = options.on_store(lambda store: read_story(store, options.owner, options.order))
    if story is None:
        raise Refused(
            f"there is no order, trade, intent or decision {options.order!r} in tenant {options.tenant}, nor a trader"
            " that has decided; `propdesk operations` lists orders and denied intents,"
            " with `--kind decision` all decisions"
        )
    if options.as_json:
        print_json(story)
    else:
        StoryText(story).show()


class StoryText:
    """Tell a story in text, from the order back to the market, then what came of it."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def show(self) -> None:
        """Print it."""
        story = self._story
        if story.order is not None:
            self._show_order(story.order)
            if story.other_orders:
                say(f"Other orders of this intent: {', '.join(story.other_orders)}")
        else:
            say(self._without_order(), "bold")
        if story.round is not None:
            one, counts = (
                story.round,
                ", ".join(f"{name} {count}" for name, count in story.round.counts.items() if count),
            )
            say(f"Round {one.round_id} at {instant(one.at)} UTC, account equity {usd(one.equity)}")
            say(f"  {counts or 'nothing else happened in it'}")
        if not story.intents and story.order is not None:
            say(f"No intent is known behind it: the desk itself sent this {story.order.purpose} order.")
        for intent in story.intents:
            IntentText(intent).show()
        self._show_checks()
        self._show_fills()

    def _without_order(self) -> str:
        story = self._story
        if story.kind == "intent":
            return "An intent that led to no order."
        if story.kind == "decision":
            return f"A decision with {len(story.intents) - 1} intent(s)."
        gone = next((fill.order_id for fill in story.fills if fill.order_id), "")
        if gone:
            return f"A trade of order {gone}, which is no longer kept."
        if story.fills:
            return "A trade that belongs to no order of this desk."
        return "An exchange between traders inside the desk, at the mark and without a fee; the venue saw no order."

    def _show_order(self, order: OrderRow) -> None:
        say(f"Order {order.order_id} on {order.account_id}: {order.state}", "bold")
        trigger = "" if order.trigger_price is None else f", triggers at {order.trigger_price:f}"
        reduce = ", reduce-only" if order.reduce_only else ""
        say(f"  {order.purpose}: {order.type} {order.side} {order.quantity:f} {order.symbol}{trigger}{reduce}")
        venue_id = order.venue_order_id or "-"
        say(f"  filled {order.filled:f}; created {instant(order.created_at)} UTC; venue id {venue_id}")
        if order.reason:
            say(f"  reason: {order.reason}")
        leverages = {origin.trader_id: origin.leverage for origin in self._story.origins}
        rows = [
            [
                *(one.trader_id, price(one.quantity), str(leverages.get(one.trader_id, one.leverage) or "-")),
                *(price(one.stop_loss), price(one.take_profit), one.intent_id or "-"),
            ]
            for one in order.shares
        ]
        show_table("For", ["trader", "quantity>", "leverage>", "stop>", "take profit>", "intent"], rows)

    def _show_checks(self) -> None:
        story, whole = self._story, self._story.kind == "decision"
        symbol = "" if whole else self._symbol()
        if story.round is None and not story.verdicts:
            return
        rows = [
            [one.kind, one.code, one.trader_id, one.detail, ", ".join(f"{name} {n}" for name, n in one.numbers.items())]
            for one in story.verdicts
            if whole or one.symbol == symbol
        ]
        title = "Denied or cut of it" if whole else f"Denied or cut in that round on {symbol}"
        show_table(title, ["kind", "code", "trader", "detail", "numbers"], rows)
        if whole:
            return
        conflicts = [
            [one.type, one.severity, ", ".join(one.traders), ", ".join(one.confidences), one.outcome]
            for one in story.conflicts
            if one.symbol == symbol
        ]
        columns = ["type", "severity", "traders", "confidences", "outcome"]
        show_table(f"Conflicts of that round on {symbol}", columns, conflicts)

    def _symbol(self) -> str:
        story = self._story
        if story.order is not None:
            return story.order.symbol
        asked = [intent.asked.symbol for intent in story.intents if intent.asked is not None]
        return next(iter([*asked, *(part.symbol for part in story.parts), *(fill.symbol for fill in story.fills)]), "")

    def _show_fills(self) -> None:
        columns = ["at (UTC)", "trade", "side", "quantity>", "price>", "fee>", "liquidity"]
        fills = [
            [instant(f.at), f.trade_id, f.side, price(f.quantity), price(f.price), price(f.fee), f.liquidity]
            for f in self._story.fills
        ]
        show_table("Fills", columns, fills)
        columns = ["trader", "trade", "purpose", "quantity>", "price>", "fee>", "realized>"]
        parts = [
            [p.trader_id, p.trade_id, p.purpose, price(p.quantity), price(p.price), price(p.fee), usd(p.realized)]
            for p in self._story.parts
        ]
        show_table("Whose they are", columns, parts)


class IntentText:
    """Tell in text what was asked for, by which decision, and what that was made of."""

    def __init__(self, intent: ExplainedIntent) -> None:
        self._intent = intent

    def show(self) -> None:
        """Print it."""
        one = self._intent
        in_round = f" in round {one.round_id}" if one.round_id else ""
        role = f" {one.role}" if one.role else ""
        owner = one.trader_id or "an unknown trader"
        status = f"{one.status or 'no longer kept'} {one.code}".strip()
        if one.intent_id:
            say(f"Intent {one.intent_id} of {owner}{role}: {status}{in_round}", "bold")
        if one.asked is not None:
            say(f"  asked: {self._asked(one.asked)}")
            if one.asked.reasoning:
                say(f"  because: {one.asked.reasoning}")
        self._show_decision(owner)
        if one.reasoning:
            say(f"  reasoning: {one.reasoning}")
        if one.reply:
            long = f"\n  ... ({len(one.reply)} characters; --json has them all)"
            say(f"  reply: {one.reply[:_LONGEST_REPLY]}{long if len(one.reply) > _LONGEST_REPLY else ''}")
        for error in one.errors:
            say(f"  {'invalid' if one.outcome == Outcome.DECIDED else 'failed'}: {error.path}: {error.message}")
        if one.market:
            show_table(
                "  It saw", ["symbol", "mark>", "age s>", "indicators"], [self._seen(seen) for seen in one.market]
            )

    def _show_decision(self, owner: str) -> None:
        one = self._intent
        if one.decided_at is None:
            return
        asked_at = one.decided_at - timedelta(seconds=one.latency_s)
        times = f"asked {instant(asked_at)}, ended {instant(one.decided_at)} UTC"
        say(f"  decision {one.decision_id} of {owner}: {one.outcome}; {times}")
        used = one.usage or Usage()
        tokens = f"{used.input_tokens} tokens in ({used.cached_tokens} cached), {used.output_tokens} out"
        cost = f"{tokens}, {price(used.cost_usd)} USD"
        cost += f" and up to {price(used.unknown_usd)} USD of unknown cost" if used.unknown_usd else ""
        say(f"  model {one.model or '-'}: {one.attempts} attempt(s), {one.latency_s:.2f} s, {cost}")
        text = f"{one.prompt_hash}; its text: propdesk prompts sent {one.decision_id}"
        say(f"  prompt hash: {text if one.prompt_hash else '- (no prompt: rules in code)'}")

    def _asked(self, asked: Decision) -> str:
        parts = [f"{asked.action} {asked.symbol}"]
        if asked.position_size_usd is not None:
            parts.append(f"{usd(asked.position_size_usd)} USD")
        if asked.leverage is not None:
            parts.append(f"{asked.leverage}x")
        if asked.risk_usd is not None:
            parts.append(f"risk {usd(asked.risk_usd)} USD")
        if asked.fraction != 1:
            parts.append(f"fraction {price(asked.fraction)}")
        levels = {
            "quantity": asked.target_quantity,
            "stop": asked.stop_loss,
            "take profit": asked.take_profit,
            "entry at most": asked.max_entry_price,
            "entry at least": asked.min_entry_price,
            "confidence": asked.confidence,
        }
        parts += [f"{name} {price(value)}" for name, value in levels.items() if value is not None]
        if asked.invalidation:
            parts.append(f"invalid if {asked.invalidation}")
        return ", ".join(parts)

    def _seen(self, seen: SeenMarket) -> list[str]:
        known = (f"{name} {value:.6g}" for name, value in seen.indicators.items() if value is not None)
        return [seen.symbol, price(seen.mark), f"{seen.age_s:.1f}", ", ".join(known)]

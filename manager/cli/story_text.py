"""Tell an order's story in text."""

from collections.abc import Sequence
from datetime import timedelta

from executor.contract import Decision, Outcome, Usage
from manager.cli.render import instant, price, say, show_table, usd
from manager.state.records import OrderRow, VerdictRow
from manager.views.story import OrderStory, SeenMarket, Wish
from manager.views.story_origin import Origin

_LONGEST_REPLY = 4_000


def show_story(story: OrderStory) -> None:
    """Print the story from the order back to the market, then what came of it."""
    if story.order is not None:
        _show_order(story.order, story.origins)
        if story.other_orders:
            say(f"Other orders of this intent: {', '.join(story.other_orders)}")
    else:
        say(_without_order(story), "bold")
    if story.round is not None:
        counts = ", ".join(f"{name} {count}" for name, count in story.round.counts.items() if count)
        say(f"Round {story.round.round_id} at {instant(story.round.at)} UTC, account equity {usd(story.round.equity)}")
        say(f"  {counts or 'nothing else happened in it'}")
    if not story.wishes and story.order is not None:
        say(f"No intent is known behind it: the desk itself sent this {story.order.purpose} order.")
    for wish in story.wishes:
        _show_wish(wish)
    _show_checks(story)
    show_table(
        "Fills",
        ["at (UTC)", "trade", "side", "quantity>", "price>", "fee>", "liquidity"],
        [
            [instant(f.at), f.trade_id, f.side, price(f.quantity), price(f.price), price(f.fee), f.liquidity]
            for f in story.fills
        ],
    )
    show_table(
        "Whose they are",
        ["trader", "trade", "purpose", "quantity>", "price>", "fee>", "realized>"],
        [
            [p.trader_id, p.trade_id, p.purpose, price(p.quantity), price(p.price), price(p.fee), usd(p.realized)]
            for p in story.parts
        ],
    )


def _without_order(story: OrderStory) -> str:
    if story.kind == "intent":
        return "An intent that led to no order."
    if story.kind == "decision":
        return f"A decision with {len(story.wishes) - 1} intent(s)."
    gone = next((fill.order_id for fill in story.fills if fill.order_id), "")
    if gone:
        return f"A trade of order {gone}, which is no longer kept."
    if story.fills:
        return "A trade that belongs to no order of this desk."
    return "An exchange between traders inside the desk, at the mark and without a fee; the venue saw no order."


def _show_order(order: OrderRow, origins: Sequence[Origin]) -> None:
    say(f"Order {order.order_id} on {order.account_id}: {order.state}", "bold")
    trigger = "" if order.trigger_price is None else f", triggers at {order.trigger_price:f}"
    reduce = ", reduce-only" if order.reduce_only else ""
    say(f"  {order.purpose}: {order.type} {order.side} {order.quantity:f} {order.symbol}{trigger}{reduce}")
    say(f"  filled {order.filled:f}; created {instant(order.created_at)} UTC; venue id {order.venue_order_id or '-'}")
    if order.reason:
        say(f"  reason: {order.reason}")
    leverages = {origin.trader_id: origin.leverage for origin in origins}
    show_table(
        "For",
        ["trader", "quantity>", "leverage>", "stop>", "target>", "intent"],
        [
            [
                s.trader_id,
                price(s.quantity),
                str(leverages.get(s.trader_id, s.leverage) or "-"),
                price(s.stop_loss),
                price(s.take_profit),
                s.intent_id or "-",
            ]
            for s in order.shares
        ],
    )


def _show_wish(wish: Wish) -> None:
    in_round = f" in round {wish.round_id}" if wish.round_id else ""
    role = f" {wish.role}" if wish.role else ""
    owner = wish.trader_id or "an unknown trader"
    status = f"{wish.status or 'no longer kept'} {wish.code}".strip()
    if wish.intent_id:
        say(f"Intent {wish.intent_id} of {owner}{role}: {status}{in_round}", "bold")
    if wish.asked is not None:
        say(f"  asked: {_asked(wish.asked)}")
        if wish.asked.reasoning:
            say(f"  because: {wish.asked.reasoning}")
    if wish.decided_at is not None:
        asked_at = wish.decided_at - timedelta(seconds=wish.latency_s)
        times = f"asked {instant(asked_at)}, ended {instant(wish.decided_at)} UTC"
        say(f"  decision {wish.decision_id} of {owner}: {wish.outcome}; {times}")
        used = wish.usage or Usage()
        tokens = f"{used.input_tokens} tokens in ({used.cached_tokens} cached), {used.output_tokens} out"
        cost = f"{tokens}, {price(used.cost_usd)} USD"
        cost += f" and up to {price(used.unknown_usd)} USD that nobody told" if used.unknown_usd else ""
        say(f"  model {wish.model or '-'}: {wish.attempts} attempt(s), {wish.latency_s:.2f} s, {cost}")
        say(f"  prompt hash: {_prompt(wish)}")
    if wish.reasoning:
        say(f"  reasoning: {wish.reasoning}")
    if wish.reply:
        cut = f"\n  ... ({len(wish.reply)} characters; --json has them all)" if len(wish.reply) > _LONGEST_REPLY else ""
        say(f"  reply: {wish.reply[:_LONGEST_REPLY]}{cut}")
    for error in wish.errors:
        say(f"  {'dropped' if wish.outcome == Outcome.DECIDED else 'failed'}: {error.path}: {error.message}")
    if wish.market:
        show_table("  It saw", ["symbol", "mark>", "age s>", "indicators"], [_market_row(seen) for seen in wish.market])


def _prompt(wish: Wish) -> str:
    if not wish.prompt_hash:
        return "- (no prompt: rules in code)"
    return f"{wish.prompt_hash}; its text: propdesk prompts sent {wish.decision_id}"


def _asked(asked: Decision) -> str:
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
        "target": asked.take_profit,
        "entry at most": asked.max_entry_price,
        "entry at least": asked.min_entry_price,
        "confidence": asked.confidence,
    }
    parts += [f"{name} {price(value)}" for name, value in levels.items() if value is not None]
    if asked.invalidation:
        parts.append(f"invalid if {asked.invalidation}")
    return ", ".join(parts)


def _market_row(seen: SeenMarket) -> list[str]:
    known = (f"{name} {value:.6g}" for name, value in seen.indicators.items() if value is not None)
    return [seen.symbol, price(seen.mark), f"{seen.age_s:.1f}", ", ".join(known)]


def _symbol(story: OrderStory) -> str:
    if story.order is not None:
        return story.order.symbol
    asked = [wish.asked.symbol for wish in story.wishes if wish.asked is not None]
    named = [*asked, *(part.symbol for part in story.parts), *(fill.symbol for fill in story.fills)]
    return named[0] if named else ""


def _show_checks(story: OrderStory) -> None:
    whole = story.kind == "decision"
    symbol = "" if whole else _symbol(story)
    if story.round is None and not story.verdicts:
        return
    verdicts: Sequence[VerdictRow] = [verdict for verdict in story.verdicts if whole or verdict.symbol == symbol]
    show_table(
        "Refused or cut of it" if whole else f"Refused or cut in that round on {symbol}",
        ["kind", "code", "trader", "detail", "numbers"],
        [
            [v.kind, v.code, v.trader_id, v.detail, ", ".join(f"{name} {n}" for name, n in v.numbers.items())]
            for v in verdicts
        ],
    )
    if whole:
        return
    show_table(
        f"Conflicts of that round on {symbol}",
        ["type", "severity", "traders", "confidences", "outcome"],
        [
            [c.type, c.severity, ", ".join(c.traders), ", ".join(c.confidences), c.outcome]
            for c in story.conflicts
            if c.symbol == symbol
        ],
    )

"""A deterministic executor that needs no model: indicators in, at most one entry out."""

from decimal import Decimal
from math import floor, log10
from typing import Final

from executor.baseline.styles import TEMPERAMENTS, Style
from executor.contract import Action, Context, Decision, FullDecision, MarketView

NEAREST_STOP: Final = 0.004
FARTHEST_STOP: Final = 0.08
REWARD_MARGIN: Final = 1.1
SMALLEST_SIZE_USD: Final = 10.0
_CAPITAL_SHARE: Final = 0.9
_PRICE_DIGITS: Final = 7
_FARTHEST_PROFIT: Final = 0.9


class BaselineExecutor:
    """Decide by the rules of one style; a pure function of the context, alike in every process and run.

    It closes what lost its reason and opens at most the strongest signal, sized from the trader's own available
    capital within its limits, with a stop and a take-profit that meet the demanded reward to risk with a tenth to
    spare. Signals are floats; every price and size that leaves is a Decimal of few digits.
    """

    def __init__(self, style: Style) -> None:
        rules = TEMPERAMENTS[style]
        self._entry = rules.entry
        self._exit = rules.exit
        self._leverage = rules.leverage
        self._stop_atr = rules.stop_atr
        self._trades = style is not Style.HOLD
        self._model = f"baseline:{style}"
        self._nothing = FullDecision(model=self._model)

    async def decide(self, context: Context) -> FullDecision:
        """Return the decision for `context`."""
        return self.plan(context)

    async def ping(self) -> None:
        """Do nothing: there is nothing to reach."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""

    def plan(self, context: Context) -> FullDecision:
        """Return the decision for `context` without awaiting."""
        if not self._trades:
            return self._nothing
        positions = context.positions
        decisions = self._closes(context) if positions else []
        if len(positions) - len(decisions) < context.limits.max_positions:
            opened = self._open(context)
            if opened is not None:
                decisions.append(opened)
        return FullDecision(decisions=tuple(decisions), model=self._model) if decisions else self._nothing

    def _closes(self, context: Context) -> list[Decision]:
        decisions = []
        for position in context.positions:
            view = context.market.get(position.symbol)
            if view is None or not position.quantity:
                continue
            long = position.quantity > 0
            if self._exit(view.indicators, float(view.mark), long):
                action = Action.CLOSE_LONG if long else Action.CLOSE_SHORT
                decisions.append(Decision(symbol=position.symbol, action=action, reasoning="the signal turned"))
        return decisions

    def _open(self, context: Context) -> Decision | None:
        market, entry = context.market, self._entry
        held = {position.symbol for position in context.positions} if context.positions else ()
        best: MarketView | None = None
        strongest = 0.0
        for symbol in context.symbols:
            view = market.get(symbol)
            if view is None or symbol in held:
                continue
            strength = entry(view.indicators, float(view.mark))
            if strength and abs(strength) > abs(strongest):
                best, strongest = view, strength
        return None if best is None else self._sized(context, best, strongest)

    def _sized(self, context: Context, view: MarketView, strength: float) -> Decision | None:
        limits, account = context.limits, context.account
        leverage = max(1, min(self._leverage, limits.max_leverage(view.symbol)))
        # What is free is shared equally among the positions still allowed, within the trader's margin limit.
        slots = max(1, limits.max_positions - len(context.positions))
        cap = float(account.allocated) * float(limits.max_margin_usage_pct) / 100.0 - float(account.margin_used)
        free = min(float(account.available), cap) * _CAPITAL_SHARE / slots
        size = min(free * leverage, float(limits.max_position_size_usd))
        price = float(view.mark)
        atr = view.indicators.atr_14
        reward = float(limits.min_risk_reward_ratio) * REWARD_MARGIN
        if size < SMALLEST_SIZE_USD or price <= 0.0 or atr is None or not atr > 0.0:
            return None
        risk = min(max(self._stop_atr * atr, NEAREST_STOP * price), FARTHEST_STOP * price)
        if reward > 0.0:
            risk = min(risk, _FARTHEST_PROFIT * price / reward)
        side = 1.0 if strength > 0.0 else -1.0
        digits = _PRICE_DIGITS - floor(log10(price))
        lowest = float(limits.min_confidence)
        confidence = round(lowest + (100.0 - lowest) * abs(strength), 1)
        return Decision(
            symbol=view.symbol,
            action=Action.OPEN_LONG if strength > 0.0 else Action.OPEN_SHORT,
            leverage=leverage,
            position_size_usd=min(Decimal(floor(size * 100.0)).scaleb(-2), limits.max_position_size_usd),
            stop_loss=Decimal(repr(round(price - side * risk, digits))),
            take_profit=Decimal(repr(round(price + side * risk * max(reward, 1.0), digits))),
            confidence=max(Decimal(repr(confidence)), limits.min_confidence),
            reasoning=self._model,
        )

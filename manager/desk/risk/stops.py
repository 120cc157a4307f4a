"""Confidence, stop and target of an open, and of a change to a standing stop."""

from manager.desk.plan.liquidation import nearer
from manager.desk.plan.values import ZERO
from manager.desk.risk.rule import Finding, refuse
from manager.desk.risk.standing import Wish
from traders.book import liquidation_estimate


def confidence_too_low(wish: Wish) -> Finding | None:
    """Refuse a confidence below the trader's minimum; a missing one passes."""
    confidence, limit = wish.intent.decision.confidence, wish.trader.spec.limits.min_confidence
    if confidence is None or confidence >= limit:
        return None
    return refuse("confidence is below the trader's minimum", confidence=confidence, limit=limit)


def stop_loss_missing(wish: Wish) -> Finding | None:
    """Refuse an open without a stop where stops are required; a standing stop of the same position will do."""
    if wish.stop is not None or not wish.trader.spec.limits.stop_loss_enabled:
        return None
    return refuse("the open has no stop_loss and the trader requires one")


def take_profit_missing(wish: Wish) -> Finding | None:
    """Refuse an open without a target where targets are required; a standing target of the same position will do."""
    if wish.target is not None or not wish.trader.spec.limits.take_profit_enabled:
        return None
    return refuse("the open has no take_profit and the trader requires one")


def stop_loss_wrong_side(wish: Wish) -> Finding | None:
    """Refuse a stop that is not strictly on the losing side of the mark."""
    if wish.stop is None or (wish.price - wish.stop) * wish.direction > ZERO:
        return None
    side = "below" if wish.direction > 0 else "above"
    return refuse(f"the stop must be {side} the mark", stop_loss=wish.stop, mark=wish.price)


def take_profit_wrong_side(wish: Wish) -> Finding | None:
    """Refuse a target that is not strictly on the winning side of the mark."""
    if wish.target is None or (wish.target - wish.price) * wish.direction > ZERO:
        return None
    side = "above" if wish.direction > 0 else "below"
    return refuse(f"the target must be {side} the mark", take_profit=wish.target, mark=wish.price)


def risk_reward_too_low(wish: Wish) -> Finding | None:
    """Refuse when (target - mark) / (mark - stop) is below the trader's minimum."""
    if wish.stop is None or wish.target is None:
        return None
    reward = (wish.target - wish.price) * wish.direction
    risk = (wish.price - wish.stop) * wish.direction
    limit = wish.trader.spec.limits.min_risk_reward_ratio
    if reward >= limit * risk:
        return None
    return refuse(
        "the reward is too small for the risk", ratio=reward / risk, limit=limit,
        mark=wish.price, stop_loss=wish.stop, take_profit=wish.target,
    )  # fmt: skip


def stop_beyond_liquidation(wish: Wish) -> Finding | None:
    """Refuse a stop that lies at or behind the price of liquidation, where it could never help."""
    if wish.stop is None:
        return None
    own = liquidation_estimate(wish.direction, wish.entry, wish.leverage, wish.instrument.maintenance_rate)
    price = nearer(wish.direction, wish.entry, own, wish.view.liquidation_prices.get(wish.symbol))
    if (wish.stop - price) * wish.direction > ZERO:
        return None
    return refuse(
        "the position would be liquidated before its stop",
        stop_loss=wish.stop, liquidation=price, entry=wish.entry, leverage=wish.leverage,
    )  # fmt: skip

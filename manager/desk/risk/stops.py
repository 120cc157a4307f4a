"""Confidence, stop and take-profit of an entry, and of a change to a standing stop."""

from manager.desk.plan.liquidation import nearer
from manager.desk.plan.values import ZERO
from manager.desk.risk.rule import Finding, deny
from manager.desk.risk.standing import OpenCase
from traders.book import liquidation_estimate


def confidence_too_low(case: OpenCase) -> Finding | None:
    """Deny a confidence below the trader's minimum; a missing one passes."""
    confidence, limit = case.intent.decision.confidence, case.trader.spec.limits.min_confidence
    if confidence is None or confidence >= limit:
        return None
    return deny("confidence is below the trader's minimum", confidence=confidence, limit=limit)


def stop_loss_missing(case: OpenCase) -> Finding | None:
    """Deny an entry without a stop where stops are required; a standing stop of the same position will do."""
    if case.stop_loss is not None or not case.trader.spec.limits.stop_loss_enabled:
        return None
    return deny("the open has no stop_loss and the trader requires one")


def take_profit_missing(case: OpenCase) -> Finding | None:
    """Deny an entry without a take-profit where they are required; a standing one of the same position will do."""
    if case.take_profit is not None or not case.trader.spec.limits.take_profit_enabled:
        return None
    return deny("the open has no take_profit and the trader requires one")


def stop_loss_wrong_side(case: OpenCase) -> Finding | None:
    """Deny a stop that is not strictly on the losing side of the mark."""
    if case.stop_loss is None or (case.price - case.stop_loss) * case.direction > ZERO:
        return None
    side = "below" if case.direction > 0 else "above"
    return deny(f"the stop must be {side} the mark", stop_loss=case.stop_loss, mark=case.price)


def take_profit_wrong_side(case: OpenCase) -> Finding | None:
    """Deny a take-profit that is not strictly on the winning side of the mark."""
    if case.take_profit is None or (case.take_profit - case.price) * case.direction > ZERO:
        return None
    side = "above" if case.direction > 0 else "below"
    return deny(f"the take-profit must be {side} the mark", take_profit=case.take_profit, mark=case.price)


def risk_reward_too_low(case: OpenCase) -> Finding | None:
    """Deny when (take_profit - mark) / (mark - stop_loss) is below the trader's minimum."""
    if case.stop_loss is None or case.take_profit is None:
        return None
    reward = (case.take_profit - case.price) * case.direction
    risk = (case.price - case.stop_loss) * case.direction
    limit = case.trader.spec.limits.min_risk_reward_ratio
    if reward >= limit * risk:
        return None
    return deny(
        "the reward is too small for the risk", ratio=reward / risk, limit=limit,
        mark=case.price, stop_loss=case.stop_loss, take_profit=case.take_profit,
    )  # fmt: skip


def stop_beyond_liquidation(case: OpenCase) -> Finding | None:
    """Deny a stop that lies at or behind the price of liquidation, where it could never help."""
    if case.stop_loss is None:
        return None
    own = liquidation_estimate(case.direction, case.entry_price, case.leverage, case.instrument.maintenance_rate)
    price = nearer(case.direction, case.entry_price, own, case.view.liquidation_prices.get(case.symbol))
    if (case.stop_loss - price) * case.direction > ZERO:
        return None
    return deny(
        "the position would be liquidated before its stop",
        stop_loss=case.stop_loss, liquidation=price, entry=case.entry_price, leverage=case.leverage,
    )  # fmt: skip

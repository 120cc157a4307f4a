"""Every risk code, in the order of the checks; docs/risk-codes.md is written from these rows.

To add a rule, write one function and one row here. Rules that cut a size stand after BELOW_MIN_NOTIONAL.
"""

from manager.desk.risk import account, trader
from manager.desk.risk.exposures import Entry
from manager.desk.risk.rule import Code, Reach, Rule, Stage
from manager.desk.risk.standing import OpenCase

LOCAL, ACCOUNT = Stage.LOCAL, Stage.ACCOUNT

LOCAL_RULES: tuple[Rule[OpenCase], ...] = (
    Rule(
        code="TRADING_DISABLED", stage=LOCAL, function=trader.trading_disabled, reach=Reach.WIDENING,
        doc="The service's switch `manager.trading_enabled` is off.",
    ),
    Rule(
        code="HALTED", stage=LOCAL, function=trader.halted, reach=Reach.WIDENING,
        doc="The service, the tenant, the account or the trader is halted.",
    ),
    Rule(
        code="REDUCING", stage=LOCAL, function=trader.reducing, reach=Reach.WIDENING,
        doc="The service, the tenant, the account or the trader may only reduce.",
    ),
    Rule(
        code="BEING_CLOSED", stage=LOCAL, function=trader.being_closed, reach=Reach.WIDENING,
        doc="An operator's close of the position, or a flatten of the trader, its account or its tenant, is under way.",
    ),
    Rule(
        code="TRADER_ISOLATED", stage=LOCAL, function=trader.trader_isolated, reach=Reach.WIDENING,
        doc="The trader is isolated.",
    ),
    Rule(
        code="TRADER_NOT_RUNNING", stage=LOCAL, function=trader.trader_not_running, reach=Reach.WIDENING,
        doc="The trader is stopped, paused, in error or not known to the account.",
    ),
    Rule(
        code="SAFE_MODE", stage=LOCAL, function=trader.safe_mode, reach=Reach.WIDENING,
        doc=f"The trader's last {trader.SAFE_MODE_FAILURES} decisions, or more, failed.",
    ),
    Rule(
        code="MAX_DRAWDOWN", stage=LOCAL, function=trader.max_drawdown, reach=Reach.WIDENING,
        doc="The trader's fall from its equity peak, flows excluded, is above max_drawdown_pct.",
    ),
    Rule(
        code="COOLDOWN", stage=LOCAL, function=trader.cooldown, reach=Reach.WIDENING,
        doc="A stop of the trader was hit less than cooldown_after_stop ago.",
    ),
    Rule(
        code="ENTRY_RATE", stage=LOCAL, function=trader.entry_rate, reach=Reach.WIDENING,
        doc="The trader has made max_entries_per_hour entries within the hour; each that filled counts once, as do "
        "those that may still fill and those of this round.",
    ),
    Rule(
        code="INTENT_STALE", stage=LOCAL, function=trader.intent_stale, reach=Reach.WIDENING,
        doc="The trader's next decision is due.",
    ),
    Rule(
        code="ACCOUNT_STALE", stage=LOCAL, function=trader.account_stale, reach=Reach.WIDENING,
        doc="The account was not read from the venue in this round.",
    ),
    Rule(
        code="SYMBOL_NOT_ALLOWED", stage=LOCAL, function=trader.symbol_not_allowed, reach=Reach.WIDENING,
        doc="The symbol is not among the trader's.",
    ),
    Rule(
        code="INSTRUMENT_HALTED", stage=LOCAL, function=trader.instrument_halted, reach=Reach.WIDENING,
        doc="The venue does not list the symbol or does not trade it now.",
    ),
    Rule(
        code="MARKET_STALE", stage=LOCAL, function=trader.market_stale, reach=Reach.WIDENING,
        doc="There is no mark, or it is older than max_data_age (live) or data_age_intervals candles (replay).",
    ),
    Rule(
        code="SYMBOL_UNRESOLVED", stage=LOCAL, function=trader.symbol_unresolved, reach=Reach.WIDENING,
        doc="An order on the symbol has no known outcome, or EXTERNAL opposes the books or the entry itself.",
    ),
    Rule(
        code="ENTRY_PRICE_MOVED", stage=LOCAL, function=trader.entry_price_moved,
        doc="The mark is outside min_entry_price and max_entry_price, at the ticks within them.",
    ),
    Rule(
        code="OPPOSITE_OWN_POSITION", stage=LOCAL, function=trader.opposite_own_position,
        doc="The trader holds or opens the other side, and the batch does not close all of it first.",
    ),
    Rule(
        code="MAX_POSITIONS_TRADER", stage=LOCAL, function=trader.max_positions_trader,
        doc="The trader holds max_positions; adding to one of them is no new position, unless it is dust.",
    ),
    Rule(
        code="CONFIDENCE_TOO_LOW", stage=LOCAL, function=trader.confidence_too_low,
        doc="Confidence is below min_confidence; a missing one passes.",
    ),
    Rule(
        code="LEVERAGE", stage=LOCAL, function=trader.leverage,
        doc="Lowers leverage to the smaller of the trader's cap for the symbol and the venue's; never denies.",
    ),
    Rule(
        code="STOP_LOSS_MISSING", stage=LOCAL, function=trader.stop_loss_missing,
        doc="stop_loss_enabled, and neither the entry nor the position it adds to has a stop.",
    ),
    Rule(
        code="TAKE_PROFIT_MISSING", stage=LOCAL, function=trader.take_profit_missing,
        doc="take_profit_enabled, and neither the entry nor the position it adds to has a take-profit.",
    ),
    Rule(
        code="STOP_LOSS_WRONG_SIDE", stage=LOCAL, function=trader.stop_loss_wrong_side, reach=Reach.ADJUST,
        doc="The stop, at the tick towards the mark where it would rest, is not strictly on its losing side.",
    ),
    Rule(
        code="TAKE_PROFIT_WRONG_SIDE", stage=LOCAL, function=trader.take_profit_wrong_side, reach=Reach.ADJUST,
        doc="The take-profit, at the tick towards the mark where it would rest, is not strictly on its winning side.",
    ),
    Rule(
        code="RISK_REWARD_TOO_LOW", stage=LOCAL, function=trader.risk_reward_too_low, of_result=True,
        doc="(take_profit - entry) / (entry - stop_loss), each at its tick, is below min_risk_reward_ratio; the entry "
        "is the mark, for an add the average of the position that results, judged last.",
    ),
    Rule(
        code="STOP_BEYOND_LIQUIDATION", stage=LOCAL, function=trader.stop_beyond_liquidation, reach=Reach.WIDENING,
        of_result=True,
        doc="The stop is at or behind the nearer of the account's estimated liquidation price and "
        "entry x (1 -/+ (1/leverage - maintenance)); for an add of the position that results, at its average entry and "
        "the add's leverage, judged last.",
    ),
    Rule(
        code="BELOW_MIN_NOTIONAL", stage=LOCAL, function=trader.below_min_notional,
        doc="The size, floored to the lot, is below the venue's minimum.",
    ),
    Rule(
        code="MAX_POSITION_SIZE", stage=LOCAL, function=trader.max_position_size,
        doc="Cuts an entry so that the resulting position is within max_position_size_usd; "
        "denies when the rest is below the minimum.",
    ),
    Rule(
        code="POSITION_EXPOSURE", stage=LOCAL, function=trader.position_exposure,
        doc="Cuts an entry so that the resulting position is within max_single_position_exposure_pct of the trader's "
        "allocation, where that is set; denies when the rest is below the minimum.",
    ),
    Rule(
        code="MARGIN_USAGE_TRADER", stage=LOCAL, function=trader.margin_usage_trader,
        doc="Cuts an entry so that the trader's margin is within max_margin_usage_pct of its equity; "
        "denies when the rest is below the minimum.",
    ),
    Rule(
        code="ALLOCATION_EXCEEDED", stage=LOCAL, function=trader.allocation_exceeded,
        doc="Cuts an entry to min(allocated, equity) - margin in use and reserved; "
        "denies when the rest is below the minimum.",
    ),
)  # fmt: skip

ACCOUNT_RULES: tuple[Rule[Entry], ...] = (
    Rule(
        code="UNREALIZED_LOSS", stage=ACCOUNT, function=account.unrealized_loss,
        doc="The account's net unrealized loss, EXTERNAL included, is above max_unrealized_loss_pct of its equity.",
    ),
    Rule(
        code="MAX_POSITIONS_GLOBAL", stage=ACCOUNT, function=account.max_positions_global,
        doc="The books hold max_positions; EXTERNAL and dust do not count, reserved entries do.",
    ),
    Rule(
        code="OPEN_ORDERS_LIMIT", stage=ACCOUNT, function=account.open_orders_limit,
        doc="The entry and the stop and take-profit of a new position could exceed the venue's number of open orders.",
    ),
    Rule(
        code="BELOW_MIN_NOTIONAL", stage=ACCOUNT, function=account.below_min_notional,
        doc="The quantity is below the venue's minimum.",
    ),
    Rule(
        code="SYMBOL_EXPOSURE", stage=ACCOUNT, function=account.symbol_exposure,
        doc="Cuts an entry so that the larger of longs and shorts on the symbol is within max_symbol_exposure_pct of "
        "account equity; denies when the rest is below the minimum.",
    ),
    Rule(
        code="MARGIN_USAGE_GLOBAL", stage=ACCOUNT, function=account.margin_usage_global,
        doc="Cuts an entry so that the account's margin is within max_margin_usage_pct of its equity; "
        "denies when the rest is below the minimum.",
    ),
    Rule(
        code="INSUFFICIENT_MARGIN", stage=ACCOUNT, function=account.insufficient_margin,
        doc="Cuts an entry so that the account's margin is within its equity; "
        "denies when the rest is below the minimum.",
    ),
    Rule(
        code="RISK_REWARD_TOO_LOW", stage=ACCOUNT, function=trader.risk_reward_too_low,
        doc="Of an add, when the account's limits have cut it: as for the trader alone.",
    ),
    Rule(
        code="STOP_BEYOND_LIQUIDATION", stage=ACCOUNT, function=trader.stop_beyond_liquidation,
        doc="Of an add, when the account's limits have cut it: as for the trader alone.",
    ),
)  # fmt: skip

NO_POSITION = Code(
    code="NO_POSITION",
    stage=LOCAL,
    doc="A close or adjust_stop of a position that the trader does not hold on that side.",
)
BOOK_LIQUIDATED = Code(
    code="BOOK_LIQUIDATED",
    stage=Stage.ROUND,
    doc="The book's equity is below its maintenance margin; it is closed whole.",
)
OTHER_CODES: tuple[Code, ...] = (
    NO_POSITION,
    BOOK_LIQUIDATED,
    Code(code="DIRECTION", stage=Stage.ROUND, doc="Denied in a conflict: another trader's side stands."),
    Code(code="DUPLICATE", stage=Stage.ROUND, doc="Denied in a conflict: another trader was first on this side."),
    Code(
        code="REDUCE_INCOMPLETE", stage=Stage.ROUND, doc="The reduces that the entry waits for did not all fill."
    ),
    Code(code="OUTSIDE_HOURS", stage=Stage.LATER, doc="The venue's trading hours."),
    Code(code="FX_SIZE", stage=Stage.LATER, doc="The size of a cash conversion."),
    Code(code="FX_DAILY_COUNT", stage=Stage.LATER, doc="The number of cash conversions in a day."),
    Code(
        code="LIQUIDATION_BLOCKED", stage=Stage.LATER,
        doc="A portfolio-wide close_all under extraordinary conditions; an operator may override it with a reason.",
    ),
)  # fmt: skip

WIDENING_RULES = tuple(rule for rule in LOCAL_RULES if rule.reach is not Reach.ENTRY)
ADJUST_RULES = tuple(rule for rule in LOCAL_RULES if rule.reach is Reach.ADJUST)

"""Judge opens and stop moves of a replay by docs/rules.md 5, beside the oracle and without the code it judges.

Known here: ENTRY_RATE, ENTRY_PRICE_MOVED, OPPOSITE_OWN_POSITION, MAX_POSITIONS_TRADER, LEVERAGE, sides of stop and
take-profit, risk/reward, the stop's distance from liquidation, minimum and the two limits on the size of a position.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from replay_oracle import MAINTENANCE, ZERO, Asked, Oracle, Pos, number
from replay_scenario import Item, Scenario, close_ms

HOUR_MS = 3_600_000
ORDER = {"close": 0, "adjust": 1, "open": 2}


@dataclass
class Batch:
    """Follow one trader through the items of one instant: what it will hold and how many entries passed."""

    who: str
    risk: dict[str, Any]
    held: dict[str, Pos]
    entries: int = 0
    opened: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Judged:
    """Say what became of one item: the code of its denial, or the size and leverage that were left, or what it took."""

    code: str = ""
    taken: Decimal | None = None
    size: Decimal | None = None
    lev: int | None = None


class CheckingOracle(Oracle):
    """Deny and cut by itself; `denied` and `cut` count the codes."""

    def __init__(self, s: Scenario) -> None:
        self.entered: dict[str, dict[tuple[int, int], int]] = {who: {} for who in s.traders}
        self.denied: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.now = 0
        super().__init__(s)

    def trade(self, k: int, items: list[tuple[str, Item]]) -> None:
        self.now = close_ms(k)
        passed: list[tuple[str, Item]] = []
        for who in sorted({name for name, _ in items}):
            held = {sym: replace(p) for sym, p in self.books[who].pos.items()}
            batch = Batch(who, self.s.traders[who]["risk_params"], held)
            mine = [item for name, item in items if name == who]
            for item in sorted(mine, key=lambda item: ORDER[item["action"].split("_")[0]]):
                verdict = self.judge(batch, item)
                if verdict.code:
                    self.denied[verdict.code] += 1
                    continue
                left = {"size": verdict.size, "lev": verdict.lev} if verdict.lev else {"taken": verdict.taken}
                passed.append((who, {**item, **left, "place": (k, id(item))}))
        super().trade(k, passed)

    def asked(self, who: str, item: Item) -> list[Asked]:
        if item["action"].startswith("close"):
            return [Asked(who, item["symbol"], item["taken"], "reduce", item)]
        return super().asked(who, item)

    def fill(self, k: int, w: Asked, price: Decimal, rate: Decimal) -> None:
        if w.purpose == "entry":
            self.entered[w.who].setdefault(w.item["place"], self.now)
        super().fill(k, w, price, rate)

    def judge(self, batch: Batch, item: Item) -> Judged:
        sym, kind = item["symbol"], item["action"]
        p = batch.held.get(sym)
        if kind.startswith("close"):
            if p is None or (p.q > 0) is not (kind == "close_long"):
                return Judged("NO_POSITION")
            lot, part = self.term(sym, "lot"), Decimal(item.get("fraction", 1))
            taken = abs(p.q) if part == 1 else abs(p.q) * part // lot * lot
            whole, sold = p.q, taken.copy_sign(p.q)
            p.q, p.cost = p.q - sold, p.cost * (p.q - sold) / whole
            if not p.q:
                del batch.held[sym]
            return Judged(taken=-sold)
        return self.moved(batch, item, p) if kind == "adjust_stop" else self.opened(batch, item, p)

    def moved(self, batch: Batch, item: Item, p: Pos | None) -> Judged:
        if p is None:
            return Judged("NO_POSITION")
        sym, long = item["symbol"], p.q > 0
        old, new = self.rests(sym, p.stop, up=long), self.rests(sym, number(item, "stop_loss"), up=long)
        wider = old is not None and new is not None and (new < old if long else new > old)
        if wider and self.too_many(batch):
            return Judged("ENTRY_RATE")
        if wrong := self.wrong_side(sym, new, self.rests(sym, number(item, "take_profit"), up=not long), long=long):
            return Judged(wrong)
        entry = p.cost / p.q / self.term(sym, "contract_size")
        if wider and new is not None and self.dead(new, entry, p.lev, long=long):
            return Judged("STOP_BEYOND_LIQUIDATION")
        return Judged()

    def opened(self, batch: Batch, item: Item, p: Pos | None) -> Judged:
        sym, long = item["symbol"], item["action"] == "open_long"
        if code := self.shut(batch, item, p):
            return Judged(code)
        kept = p if p and sym not in batch.opened else Pos()
        plan = replace(p) if p else Pos()
        plan.stop = self.rests(sym, number(item, "stop_loss") or kept.stop, up=long)
        plan.take_profit = self.rests(sym, number(item, "take_profit") or kept.take_profit, up=not long)
        cap = batch.risk["major_coin_leverage" if sym[:3] in ("BTC", "ETH") else "altcoin_leverage"]
        plan.lev, cuts = min(item["leverage"], cap), Counter({"LEVERAGE": int(item["leverage"] > cap)})
        if plan.stop is None:
            return Judged("STOP_LOSS_MISSING")
        if wrong := self.wrong_side(sym, plan.stop, plan.take_profit, long=long):
            return Judged(wrong)
        if p is None and (bad := self.bad_price(batch, sym, plan, self.mark[sym], long=long)):
            return Judged(bad)
        size = Decimal(item["position_size_usd"])
        if not self.sendable(sym, size):
            return Judged("BELOW_MIN_NOTIONAL")
        for code, most in self.caps(batch):
            room = most - abs(self.worth(sym, plan.q))
            if size > room:
                size, cuts[code] = room, 1
                if not self.sendable(sym, size):
                    return Judged(code)
        q = self.lots(sym, size) * (1 if long else -1)
        plan.q, plan.cost = plan.q + q, plan.cost + self.worth(sym, q)
        average = plan.cost / plan.q / self.term(sym, "contract_size")
        if p and (bad := self.bad_price(batch, sym, plan, average, long=long)):
            return Judged(bad)
        batch.held[sym], batch.entries = plan, batch.entries + 1
        batch.opened.add(sym)
        self.cut += cuts
        return Judged(size=size, lev=plan.lev)

    def shut(self, batch: Batch, item: Item, p: Pos | None) -> str:
        """Return what denies an entry whatever its size and its stop."""
        sym, long, mark = item["symbol"], item["action"] == "open_long", self.mark[item["symbol"]]
        if self.too_many(batch):
            return "ENTRY_RATE"
        highest = self.rests(sym, number(item, "max_entry_price"), up=False)
        lowest = self.rests(sym, number(item, "min_entry_price"), up=True)
        if (highest is not None and mark > highest) or (lowest is not None and mark < lowest):
            return "ENTRY_PRICE_MOVED"
        if p is not None and (p.q > 0) is not long:
            return "OPPOSITE_OWN_POSITION"
        full = p is None and len(batch.held) >= batch.risk.get("max_positions", 3)
        return "MAX_POSITIONS_TRADER" if full else ""

    def too_many(self, batch: Batch) -> bool:
        late = sum(at > self.now - HOUR_MS for at in self.entered[batch.who].values())
        return late + batch.entries >= batch.risk["max_entries_per_hour"]

    def wrong_side(self, sym: str, stop: Decimal | None, take_profit: Decimal | None, *, long: bool) -> str:
        mark = self.mark[sym]
        if stop is not None and (stop >= mark if long else stop <= mark):
            return "STOP_LOSS_WRONG_SIDE"
        if take_profit is not None and (take_profit <= mark if long else take_profit >= mark):
            return "TAKE_PROFIT_WRONG_SIDE"
        return ""

    def bad_price(self, batch: Batch, sym: str, plan: Pos, entry: Decimal, *, long: bool) -> str:
        """Return what denies the stop and the take_profit of the position that will result, with its average entry."""
        if plan.stop is None:
            return ""
        if plan.take_profit is not None:
            reward, risk = (
                (plan.take_profit - entry, entry - plan.stop) if long else (entry - plan.take_profit, plan.stop - entry)
            )
            if reward < risk * Decimal(str(batch.risk["min_risk_reward_ratio"])):
                return "RISK_REWARD_TOO_LOW"
        return "STOP_BEYOND_LIQUIDATION" if self.dead(plan.stop, entry, plan.lev, long=long) else ""

    def dead(self, stop: Decimal, entry: Decimal, lev: int, *, long: bool) -> bool:
        """Tell whether the position alone would be liquidated before its stop."""
        away = Decimal(1) / lev - MAINTENANCE
        return stop <= entry * (1 - away) if long else stop >= entry * (1 + away)

    def caps(self, batch: Batch) -> list[tuple[str, Decimal]]:
        """Return the limits on the notional of a position; capital is dealt once, in equal parts."""
        most = [("MAX_POSITION_SIZE", Decimal(batch.risk["max_position_size_usd"]))]
        if pct := batch.risk.get("max_single_position_exposure_pct"):
            most.append(("POSITION_EXPOSURE", self.books[batch.who].capital * pct / 100))
        return most

    def lots(self, sym: str, size: Decimal) -> Decimal:
        lot = self.term(sym, "lot")
        return max(ZERO, size) / self.worth(sym, Decimal(1)) // lot * lot

    def sendable(self, sym: str, size: Decimal) -> bool:
        q = self.lots(sym, size)
        return q > 0 and self.worth(sym, q) >= self.term(sym, "min_notional")

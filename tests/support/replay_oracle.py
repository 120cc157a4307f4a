"""Recompute a replay from docs/rules.md alone, candle by candle, in Decimal; it shares no code with what it judges.

Fills, fees, funding, realized PnL, capital, equity and curves are computed here. Which item is refused and to what
size one is cut is written by hand in the scenario.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from math import sqrt
from typing import Any

from replay_scenario import Item, Scenario, close_ms

ZERO, MAINTENANCE, HOUR_MS = Decimal(0), Decimal("0.005"), 3_600_000
HANDLED = {"expect", "bad", "skipped"}
FEES = {"fee_bps": "4.5", "maker_fee_bps": "1.5", "slippage_bps": "1"}
TERMS = {"lot": "0.000001", "contract_size": "1", "min_notional": "5"}


@dataclass
class Pos:
    q: Decimal = ZERO
    cost: Decimal = ZERO
    lev: int = 1
    stop: Decimal | None = None
    take_profit: Decimal | None = None
    gain: Decimal = ZERO


@dataclass
class Book:
    """Hold one trader's money, positions and curve: nav is equity per unit, so flows move nothing."""

    capital: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    pos: dict[str, Pos] = field(default_factory=dict)
    trades: int = 0
    wins: int = 0
    units: float = 0.0
    peak: float = 1.0
    nav: float = 1.0
    fall: float = 0.0
    hours: dict[int, float] = field(default_factory=dict)

    def sharpe(self) -> float | None:
        navs = list(self.hours.values())
        returns = [b / a - 1 for a, b in pairwise(navs)]
        if len(returns) < 24:
            return None
        mean = sum(returns) / len(returns)
        deviation = sqrt(sum((r - mean) ** 2 for r in returns) / (len(returns) - 1))
        return mean / deviation * sqrt(8760) if deviation else 0.0


@dataclass
class Asked:
    who: str
    sym: str
    q: Decimal
    purpose: str
    item: Item


class Oracle:
    """Run one scenario; the books, fills (`fills`) and market orders (`orders`) are there to be compared."""

    def __init__(self, s: Scenario) -> None:
        self.s, self.given = s, {**FEES, **s.paper}
        self.taker, self.maker, self.slip = (Decimal(self.given[n]) / 10_000 for n in FEES)
        self.books = {who: Book() for who in sorted(s.traders)}
        self.unallocated = Decimal(s.manager.get("total_equity_usd", "10000"))
        self.mark: dict[str, Decimal] = {}
        self.fills: list[tuple[Any, ...]] = []
        self.orders: list[tuple[Any, ...]] = []
        self.waiting: list[tuple[int, list[Asked]]] = []
        self.rebalanced = -HOUR_MS * 10**6
        for k in range(max(map(len, s.bars.values()))):
            self.instant(k)
        self.orders += [self.order(*wait, "expired") for wait in self.waiting]

    def bar(self, sym: str, k: int) -> list[Decimal] | None:
        row = self.s.bars[sym][k] if k < len(self.s.bars[sym]) else None
        return [Decimal(x) for x in row.split()] if row else None

    def term(self, sym: str, name: str) -> Decimal:
        return Decimal(self.s.instruments.get(sym, {}).get(name, TERMS[name]))

    def worth(self, sym: str, q: Decimal) -> Decimal:
        return q * self.mark[sym] * self.term(sym, "contract_size")

    def equity(self, b: Book) -> Decimal:
        return b.capital + b.realized - b.fees + b.funding + sum(self.worth(s, p.q) - p.cost for s, p in b.pos.items())

    def account(self) -> Decimal:
        return self.unallocated + sum((self.equity(b) for b in self.books.values()), ZERO)

    def slipped(self, price: Decimal, q: Decimal) -> Decimal:
        return price * (1 + self.slip if q > 0 else 1 - self.slip)

    def instant(self, k: int) -> None:
        for sym in sorted(self.s.bars):
            self.touch(sym, k)
        self.mark |= {sym: bar[3] for sym in self.s.bars if (bar := self.bar(sym, k))}
        for stamp, sym, rate in self.s.funding:
            for b in self.books.values():
                if (stamp + 500) // 1000 * 1000 == close_ms(k) and sym in b.pos:
                    b.funding -= self.worth(sym, b.pos[sym].q) * Decimal(rate)
        self.liquidate(k)
        for b in self.books.values():
            if b.units:
                b.nav = max(0.0, float(self.equity(b)) / b.units)
                b.peak = max(b.peak, b.nav)
                b.fall = max(b.fall, 1 - b.nav / b.peak)
                b.hours.setdefault(close_ms(k) // HOUR_MS, b.nav)
        if close_ms(k) - self.rebalanced >= int(self.s.manager.get("rebalance_interval", "3600s")[:-1]) * 1000:
            self.rebalanced = close_ms(k)
            self.rebalance()
        self.trade(k, [(who, item) for at, who, items in self.s.batches if at == k for item in items])

    def touch(self, sym: str, k: int) -> None:
        for who, b in self.books.items():
            bar, p = self.bar(sym, k), b.pos.get(sym)
            if bar is None or p is None:
                continue
            (o, h, low, _), long = bar, p.q > 0
            if p.stop and (low <= p.stop if long else h >= p.stop):
                price = self.slipped((min if long else max)(p.stop, o), -p.q)
                self.fill(k, Asked(who, sym, -p.q, "stop", {}), price, self.taker)
            elif p.take_profit and (h >= p.take_profit if long else low <= p.take_profit):
                self.fill(
                    k, Asked(who, sym, -p.q, "take_profit", {}), (max if long else min)(p.take_profit, o), self.maker
                )

    def liquidate(self, k: int) -> None:
        for who, b in self.books.items():
            if self.equity(b) < sum(abs(self.worth(sym, p.q)) for sym, p in b.pos.items()) * MAINTENANCE:
                for sym, p in sorted(b.pos.items()):
                    asked = Asked(who, sym, -p.q, "liquidation", {})
                    self.fill(k, asked, self.slipped(self.mark[sym], -p.q), self.taker)
        net = {sym: sum((b.pos[sym].q for b in self.books.values() if sym in b.pos), ZERO) for sym in sorted(self.mark)}
        if self.account() < sum(abs(self.worth(sym, q)) for sym, q in net.items()) * MAINTENANCE:
            for sym, q in net.items():
                held = {who: b.pos[sym].q for who, b in self.books.items() if sym in b.pos and b.pos[sym].q * q > 0}
                for who, mine in held.items():
                    asked = Asked(who, sym, -mine * q / sum(held.values(), ZERO), "liquidation", {})
                    self.fill(k, asked, self.slipped(self.mark[sym], -q), self.taker)

    def rebalance(self) -> None:
        equity = max(ZERO, self.account())
        reserve = equity * Decimal(self.s.manager.get("reserve_equity_pct", "10")) / 100
        moves = {}
        for who, b in self.books.items():
            pct = self.s.traders[who].get("allocation_pct")
            gap = (equity - reserve) * (Decimal(pct) / 100 if pct else Decimal(1) / len(self.books)) - self.equity(b)
            margin = sum((abs(self.worth(sym, p.q)) / p.lev for sym, p in b.pos.items()), ZERO)
            moves[who] = gap if gap > 0 else -min(-gap, max(ZERO, self.equity(b) - margin))
        asked = sum((m for m in moves.values() if m > 0), ZERO)
        purse = max(ZERO, self.unallocated - sum(m for m in moves.values() if m < 0) - reserve)
        for who, b in self.books.items():
            amount = moves[who] * min(Decimal(1), purse / asked) if moves[who] > 0 else moves[who]
            before = self.equity(b)
            b.capital, self.unallocated = b.capital + amount, self.unallocated - amount
            b.units = b.units * float((before + amount) / before) if b.units else float(amount) / b.nav

    def trade(self, k: int, items: list[tuple[str, Item]]) -> None:
        all_asked = [w for who, item in items if not item.keys() & HANDLED for w in self.asked(who, item)]
        all_asked.sort(key=lambda w: (w.purpose == "entry", -w.item.get("confidence", 0), w.who))
        for sym in sorted(self.s.bars):
            both = [[w for w in all_asked if w.sym == sym and w.q * side > 0] for side in (1, -1)]
            crossed = min(sum((abs(w.q) for w in side), ZERO) for side in both)
            for side in both:
                done = ZERO
                for w in side:
                    q = min(abs(w.q), crossed - done).copy_sign(w.q)
                    done, w.q = done + abs(q), w.q - q
                    if q:
                        self.fill(k, Asked(w.who, sym, q, w.purpose, w.item), self.mark[sym], ZERO)
        groups: dict[tuple[Any, ...], list[Asked]] = {}
        for w in all_asked:
            if w.q:
                groups.setdefault((w.purpose, w.sym, w.q > 0), []).append(w)
        due, self.waiting = [*self.waiting, *((k, group) for group in groups.values())], []
        for placed, group in due:
            sym = group[0].sym
            worth = abs(self.worth(sym, sum((w.q for w in group), ZERO)))
            late = any(at == k and reduces[0].sym == sym for at, reduces in self.waiting)
            if group[0].purpose == "entry" and (late or worth < self.term(sym, "min_notional")):
                continue
            bar = self.bar(sym, k + 1)
            if bar is None and group[0].purpose == "reduce":
                self.waiting.append((placed, group))
                continue
            self.orders.append(self.order(placed, group, "filled" if bar else "expired"))
            for w in group if bar else []:
                self.fill(k, w, self.slipped(bar[0] if bar else ZERO, w.q), self.taker)

    def asked(self, who: str, item: Item) -> list[Asked]:
        sym, lot = item["symbol"], self.term(item["symbol"], "lot")
        if item["action"].startswith("open"):
            size: Any = item.get("size", item["position_size_usd"])
            q = Decimal(size) / self.worth(sym, Decimal(1)) // lot * lot
            return [Asked(who, sym, q if item["action"] == "open_long" else -q, "entry", item)]
        p = self.books[who].pos[sym]
        if item["action"] == "adjust_stop":
            p.stop, p.take_profit = number(item, "stop_loss") or p.stop, number(item, "take_profit") or p.take_profit
            return []
        q = p.q * Decimal(item.get("fraction", 1))
        return [Asked(who, sym, -(q if q == p.q else q // lot * lot), "reduce", item)]

    def order(self, placed: int, group: list[Asked], state: str) -> tuple[Any, ...]:
        side, total = "buy" if group[0].q > 0 else "sell", sum((abs(w.q) for w in group), ZERO)
        names = ",".join(w.who for w in group)
        return close_ms(placed), group[0].sym, side, group[0].purpose, total, names, state

    def fill(self, k: int, w: Asked, price: Decimal, rate: Decimal) -> None:
        b, size = self.books[w.who], self.term(w.sym, "contract_size")
        p, realized, fee = b.pos.setdefault(w.sym, Pos()), ZERO, abs(w.q) * price * size * rate
        cost = w.q * price * size if p.q * w.q >= 0 else p.cost * w.q / p.q
        if p.q * w.q < 0:
            realized = -w.q * price * size + cost
        p.q, p.cost, p.gain = p.q + w.q, p.cost + cost, p.gain + realized
        b.realized, b.fees = b.realized + realized, b.fees + fee
        if w.purpose == "entry":
            lev: Any = w.item.get("lev", w.item["leverage"])
            p.lev = lev
            p.stop, p.take_profit = (
                number(w.item, "stop_loss") or p.stop,
                number(w.item, "take_profit") or p.take_profit,
            )
        if not p.q:
            del b.pos[w.sym]
            b.trades, b.wins = b.trades + 1, b.wins + (p.gain > 0)
        self.fills.append((close_ms(k), w.who, w.sym, w.q, price, fee, realized, w.purpose))


def number(item: Item, name: str) -> Decimal | None:
    return Decimal(item[name]) if item.get(name) is not None else None

"""Recompute a replay from docs/rules.md alone, candle by candle, in Decimal; it shares no code with what it judges.

Fills, fees, funding, realized PnL, capital, equity, curves, bankruptcy and isolation are computed here. Which item is
refused and to what size one is cut is written by hand in the scenario.
"""

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from math import sqrt
from typing import Any

from replay_scenario import Item, Scenario, close_ms

ZERO, MAINTENANCE, HOUR_MS = Decimal(0), Decimal("0.005"), 3_600_000
HANDLED = {"expect", "bad", "skipped"}
DAY_MS = 24 * HOUR_MS
OWN_FAULTS = ("SYMBOL_NOT_ALLOWED", "CONFIDENCE_TOO_LOW", "RISK_REWARD_TOO_LOW", "OPPOSITE_OWN_POSITION")
ISOLATION = {"sharpe_below": "-1.0", "min_trades": 20, "violations_per_day": 30, "flatten": False}
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
    """Hold one trader's money, positions and curve: nav is equity per unit, so flows move nothing.

    `code` says why it is isolated; `gone` is what left it while it holds, which its curve is still measured against.
    """

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
    allocated: Decimal = ZERO
    code: str = ""
    gone: Decimal = ZERO
    faults: list[int] = field(default_factory=list)
    entered: int = -DAY_MS * 10**6

    @property
    def cash(self) -> Decimal:
        return self.capital + self.realized - self.fees + self.funding

    def sharpe(self) -> float | None:
        navs = list(self.hours.values())
        returns = [b / a - 1 for a, b in pairwise(navs) if a > 0]
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
        self.members: set[str] | None = None
        self.halted = False
        self.taken: set[tuple[int, str]] = set()
        self.desk_closes: list[Asked] = []
        self.cuts = False
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
        return b.cash + sum(self.worth(s, p.q) - p.cost for s, p in b.pos.items())

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
                b.nav = max(0.0, float(self.equity(b) + b.gone) / b.units)
                b.peak = max(b.peak, b.nav)
                b.fall = max(b.fall, 1 - b.nav / b.peak)
                b.hours.setdefault(close_ms(k) // HOUR_MS, b.nav)
        self.halted = self.halted or self.account() <= 0
        self.desk_closes, self.cuts = [], False
        self.judge(k)
        self.deal(k)
        self.close_worst()
        if self.cuts:
            self.close_excess()
        given = [(who, items) for at, who, items in self.s.batches if at == k and self.asks(who)]
        self.taken |= {(k, who) for who, _ in given}
        self.send_closes(k)
        self.trade(k, [(who, item) for who, items in given for item in items if self.may(who, item)])
        self.count_faults(k, given)

    def asks(self, who: str) -> bool:
        return not self.books[who].code or bool(self.books[who].pos)

    def may(self, who: str, item: Item) -> bool:
        return not (self.books[who].code and item["action"].startswith("open"))

    def isolation(self, who: str) -> dict[str, Any]:
        return {**ISOLATION, **self.s.manager.get("isolation", {}), **self.s.traders[who].get("isolation", {})}

    def judge(self, k: int) -> None:
        """Isolate: below zero by its own results first, then by Sharpe, then by what it asked for in vain."""
        for who, b in self.books.items():
            rule, sharpe = self.isolation(who), b.sharpe()
            if self.equity(b) < 0 or (self.equity(b) == 0 and b.units and b.allocated):
                b.code = "BANKRUPT"
            elif not b.code and rule["sharpe_below"] is not None and sharpe is not None:
                low = sharpe < float(rule["sharpe_below"]) and b.trades >= rule["min_trades"]
                b.code = "SHARPE" if low else ""
            recent = [at for at in b.faults if at > close_ms(k) - DAY_MS]
            limit = rule["violations_per_day"]
            if not b.code and limit and len(recent) >= limit and b.entered <= close_ms(k) - DAY_MS:
                b.code = "VIOLATIONS"
            for sym, p in sorted(b.pos.items()) if b.code and rule["flatten"] else ():
                self.close(Asked(who, sym, -p.q, "reduce", {}))

    def count_faults(self, k: int, given: list[tuple[str, list[Item]]]) -> None:
        for who, items in given:
            codes = [item.get("expect", "") for item in items]
            own = [code for code in codes if code in OWN_FAULTS or code.startswith(("STOP_", "TAKE_PROFIT_"))]
            self.books[who].faults += [close_ms(k)] * len(own)

    def deal(self, k: int) -> None:
        """Rebalance when it is due: by the interval but for fixed, and when a trader was isolated or is gone flat."""
        fixed, members = self.strategy == "fixed", {who for who, b in self.books.items() if not b.code}
        left = any(b.code and not b.pos and self.spare(b) >= Decimal("1E-8") for b in self.books.values())
        every = int(self.s.manager.get("rebalance_interval", "3600s")[:-1]) * 1000
        timed = close_ms(k) - self.rebalanced >= every and not fixed
        if not self.halted and (self.members != members or timed or (fixed and left)):
            self.rebalanced, self.members = close_ms(k), members
            self.rebalance()
            self.cuts = bool(self.s.manager.get("rebalance_closes"))

    @property
    def strategy(self) -> str:
        given = any("allocation_pct" in trader for trader in self.s.traders.values())
        return str(self.s.manager.get("allocation_strategy", "custom" if given else "equal"))

    def close(self, asked: "Asked") -> None:
        if all((one.who, one.sym) != (asked.who, asked.sym) for one in self.desk_closes):
            self.desk_closes.append(asked)

    def loss(self, who: str, sym: str) -> Decimal:
        return self.books[who].pos[sym].cost - self.worth(sym, self.books[who].pos[sym].q)

    def send_closes(self, k: int) -> None:
        """Fill the desk's own closes, which cross with nothing, at the next open, or let them wait for it."""
        for w in self.desk_closes:
            bar = self.bar(w.sym, k + 1)
            if bar is None:
                self.waiting.append((k, [w]))
            else:
                self.orders.append(self.order(k, [w], "filled"))
                self.fill(k, w, self.slipped(bar[0], w.q), self.taker)

    def close_excess(self) -> None:
        """Cut who holds more margin than it is allocated, the worst position first, up to the next lot."""
        going = {(one.who, one.sym) for one in self.desk_closes}
        for who, b in self.books.items():
            left = {sym: p for sym, p in b.pos.items() if (who, sym) not in going}
            used = {sym: abs(self.worth(sym, p.q)) / p.lev for sym, p in left.items()}
            excess = sum(used.values(), ZERO) - b.allocated
            for sym in sorted(used, key=lambda sym: (-self.loss(who, sym), sym)):
                if excess <= 0 or b.code:
                    break
                q, lot = b.pos[sym].q, self.term(sym, "lot")
                lots = (abs(q) * min(Decimal(1), excess / used[sym]) / lot).to_integral_value(ROUND_CEILING)
                cut = min(abs(q), lots * lot)
                excess -= used[sym] * cut / abs(q)
                self.close(Asked(who, sym, -cut.copy_sign(q), "reduce", {}))

    def close_worst(self) -> None:
        """Close the worst loser while the account has lost more than it may, one an instant."""
        if self.s.limits.get("on_unrealized_loss") != "close_losers":
            return
        going = [*self.desk_closes, *(w for _, group in self.waiting for w in group)]
        held = []
        for who, b in self.books.items():
            for sym, p in b.pos.items():
                waits = sum((abs(w.q) for w in going if (w.who, w.sym) == (who, sym)), ZERO)
                held.append((self.loss(who, sym) * (1 - waits / abs(p.q)), who, sym))
        limit = max(ZERO, self.account()) * Decimal(str(self.s.limits.get("max_unrealized_loss_pct", 20))) / 100
        losing = sorted((one for one in held if one[0] > 0), key=lambda one: (-one[0], one[1], one[2]))
        if sum((loss for loss, *_ in held), ZERO) > limit and losing:
            _, who, sym = losing[0]
            self.close(Asked(who, sym, -self.books[who].pos[sym].q, "reduce", {}))

    def touch(self, sym: str, k: int) -> None:
        for who, b in self.books.items():
            bar, p = self.bar(sym, k), b.pos.get(sym)
            if bar is None or p is None:
                continue
            (o, h, low, _), long = bar, p.q > 0
            stop, aim = self.rests(sym, p.stop, up=long), self.rests(sym, p.take_profit, up=not long)
            if stop and (low <= stop if long else h >= stop):
                price = self.slipped((min if long else max)(stop, o), -p.q)
                self.fill(k, Asked(who, sym, -p.q, "stop", {}), price, self.taker)
            elif aim and (h >= aim if long else low <= aim):
                self.fill(k, Asked(who, sym, -p.q, "take_profit", {}), (max if long else min)(aim, o), self.maker)

    def rests(self, sym: str, price: Decimal | None, *, up: bool) -> Decimal | None:
        """Move a stop or take-profit to the venue's tick, towards the mark."""
        tick = self.s.instruments.get(sym, {}).get("tick")
        if price is None or tick is None:
            return price
        below = price // Decimal(tick) * Decimal(tick)
        return below + Decimal(tick) if up and below != price else below

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
                    self.halted = True

    def spare(self, b: Book) -> Decimal:
        """Return what may leave a book: no gain on paper, no margin, and nothing that it needs to live to its stops."""
        at_mark = sum((abs(self.worth(sym, p.q)) / p.lev for sym, p in b.pos.items()), ZERO)
        at_entry = sum((abs(p.cost) / p.lev for p in b.pos.values()), ZERO)
        needed = ZERO
        for sym, p in b.pos.items():
            size, mark = p.q * self.term(sym, "contract_size"), self.mark[sym]
            if p.stop is None:
                needed += max(abs(size) * mark, abs(p.cost)) / p.lev + max(ZERO, p.cost - size * mark)
            else:
                price = (min if p.q > 0 else max)(p.stop, mark)
                needed += abs(size) * price * MAINTENANCE + p.cost - size * price
        return max(ZERO, min(min(self.equity(b), b.cash) - max(at_mark, at_entry), b.cash - needed))

    def shares_usd(self, money: Decimal) -> dict[str, Decimal]:
        """Return what each is to have; under fixed only who was dealt nothing yet is dealt to."""
        solvent = [who for who, b in self.books.items() if not b.code]
        shares = {who: Decimal(str(self.s.traders[who].get("allocation_pct", 0))) / 100 for who in solvent}
        if self.strategy == "custom":
            found = {who: money * share for who, share in shares.items()}
        else:
            shares = shares if self.strategy == "fixed" else dict.fromkeys(solvent, ZERO)
            rest, others = 1 - sum(shares.values(), ZERO), [who for who in solvent if not shares[who]]
            found = {who: money * (shares[who] or rest / len(others)) for who in solvent}
        if self.strategy == "fixed":
            found = {who: amount for who, amount in found.items() if not self.books[who].allocated}
        return {**dict.fromkeys((who for who, b in self.books.items() if b.code), ZERO), **found}

    def rebalance(self) -> None:
        equity = max(ZERO, self.account())
        reserve = equity * Decimal(self.s.manager.get("reserve_equity_pct", "10")) / 100
        deficit = sum((max(ZERO, -self.equity(b)) for b in self.books.values()), ZERO)
        moves = {}
        shares_usd = self.shares_usd(self.account() - reserve)
        for who, share_usd in shares_usd.items():
            gap = share_usd - self.equity(self.books[who])
            moves[who] = -min(-gap, self.spare(self.books[who])) if gap < 0 else ZERO if self.books[who].code else gap
        asked = sum((m for m in moves.values() if m > 0), ZERO)
        purse = max(ZERO, self.unallocated - deficit - sum(m for m in moves.values() if m < 0) - reserve)
        for who, share_usd in shares_usd.items():
            b = self.books[who]
            amount = moves[who] * min(Decimal(1), purse / asked) if moves[who] > 0 else moves[who]
            before = self.equity(b) + b.gone
            b.allocated = min(share_usd, self.equity(b) + amount) if self.strategy == "fixed" else share_usd
            b.capital, self.unallocated = b.capital + amount, self.unallocated - amount
            b.gone = max(ZERO, b.gone - amount) if b.pos and not share_usd else ZERO
            after = self.equity(b) + b.gone
            b.units = b.units * float(after / before) if b.units and before else float(after) / b.nav if b.nav else 0

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
        q = q if q == p.q else q // lot * lot
        waits = sum((abs(w.q) for _, group in self.waiting for w in group if (w.who, w.sym) == (who, sym)), ZERO)
        q = min(abs(q), abs(p.q) - waits).copy_sign(q)
        return [Asked(who, sym, -q, "reduce", item)] if q else []

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
            b.entered = close_ms(k)
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

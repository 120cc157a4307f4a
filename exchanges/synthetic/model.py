"""The synthetic price: a pure function of (seed, symbol, time), evaluated in blocks of whole seconds.

log price = level + volatility x (common x market noise + own noise) + jumps that fade. Noise is summed over octaves
from one second to weeks, each as large as a random walk moves in its period; a slow regime scales the short ones. In an
outage the price stands still and nothing trades; afterwards it is where it would have been.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exchanges.synthetic.config import SyntheticConfig
from exchanges.synthetic.noise import Floats, lattice, smooth, stream, uniform
from exchanges.types import Symbol

BLOCK_S = 256
KEPT_BLOCKS = 512
YEAR_S = 31_536_000
OCTAVES = np.array([4**power for power in range(12)], dtype=np.uint64)
REGIME_PERIODS = np.array([3_600, 14_400, 57_600], dtype=np.uint64)
REGIME_OCTAVES = 6
OCTAVE_SCALE = 0.29
JUMP_BUCKET_S = 3_600
JUMP_FADE_S = 2_400.0
JUMP_LIFE_S = 25_200
OUTAGE_BUCKET_S = 21_600
OUTAGE_SECONDS = (20, 150)

INTEREST_PERIODS = np.array([3_600, 43_200], dtype=np.uint64)
INTEREST_S = 43_200

NOISE, REGIME, JUMP, OUTAGE, VOLUME, FUNDING, INTEREST = range(7)


@dataclass(frozen=True, slots=True)
class Block:
    """Hold all symbols from second `begin` on: BLOCK_S + 1 prices each, and whether each second traded."""

    begin: int
    prices: Floats
    traded: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Range:
    """Hold, per symbol, the lowest and highest price traded in a block, and of all its prices."""

    low: Floats
    high: Floats
    floor: Floats
    ceiling: Floats


class SyntheticModel:
    """Evaluate the market; blocks are cached, what they hold depends on nothing but the config."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.row = {one.symbol: index for index, one in enumerate(config.symbols)}
        count = len(config.symbols)
        self._noise = np.array(
            [[stream(config.seed, NOISE, one, octave) for octave in range(len(OCTAVES))] for one in range(count + 1)],
            dtype=np.uint64,
        )
        self._regime = np.array(
            [[stream(config.seed, REGIME, period) for period in range(len(REGIME_PERIODS))]], dtype=np.uint64
        )
        self._volume = np.array([[stream(config.seed, VOLUME, one)] for one in range(count)], dtype=np.uint64)
        per_second = config.annual_volatility / YEAR_S**0.5
        self._amplitude = OCTAVE_SCALE * per_second * np.sqrt(OCTAVES.astype(np.float64))
        self._common = np.array([one.common for one in config.symbols])[:, None]
        self._scale = np.array([one.volatility for one in config.symbols])[:, None]
        self._level = np.log(np.array([one.level for one in config.symbols]))[:, None]
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._ranges: dict[int, Range] = {}

    def block(self, number: int) -> Block:
        """Return the block that begins at second `number` x BLOCK_S."""
        found = self._blocks.get(number)
        if found is None:
            found = self._blocks[number] = self._evaluate(number)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return found

    def range(self, number: int) -> Range:
        """Return the extremes of a block; they are kept for as long as the process lives."""
        found = self._ranges.get(number)
        if found is None:
            block = self.block(number)
            left, right = block.prices[:, :-1], block.prices[:, 1:]
            low = np.where(block.traded, np.minimum(left, right), np.inf).min(axis=1)
            high = np.where(block.traded, np.maximum(left, right), -np.inf).max(axis=1)
            found = Range(low, high, block.prices.min(axis=1), block.prices.max(axis=1))
            self._ranges[number] = found
        return found

    def price(self, symbol: Symbol, second: int) -> float:
        """Return the price at a whole second since the epoch, rounded to the symbol's digits."""
        number, offset = divmod(second, BLOCK_S)
        return float(self.block(number).prices[self.row[symbol], offset])

    def outage(self, symbol: Symbol, second: int) -> tuple[int, int] | None:
        """Return begin and end (seconds) of the outage that covers `second`."""
        found = self._outage_in(self.row[symbol], second // OUTAGE_BUCKET_S)
        return found if found is not None and found[0] <= second < found[1] else None

    def volumes(self, begin: int, end: int) -> Floats:
        """Return the volume in contracts of each symbol and second in [begin, end)."""
        seconds = np.arange(begin, end, dtype=np.uint64)[None, :]
        base = np.array([[one.volume_per_s] for one in self.config.symbols])
        return np.round(base * np.exp(0.6 * lattice(self._volume, seconds)), 3)

    def funding_rate(self, symbol: Symbol, instant: int) -> float:
        """Return the rate at a funding instant (seconds): mostly a small positive one, as perpetuals have."""
        start = stream(self.config.seed, FUNDING, self.row[symbol])
        period = instant // self.config.funding_interval_s
        drawn = uniform(start, period) + uniform(start, period + (1 << 32)) - 1
        per_8h = 0.0001 + 0.0003 * drawn
        return round(per_8h * min(1.0, self.config.funding_interval_s / 28_800), 7)

    def open_interest(self, symbol: Symbol, second: int) -> float:
        """Return the contracts open at a whole second: about half a day's volume, moving over hours."""
        row = self.row[symbol]
        starts = np.array([[stream(self.config.seed, INTEREST, row, one) for one in range(len(INTEREST_PERIODS))]])
        moved = smooth(starts.astype(np.uint64), INTEREST_PERIODS, np.array([second], dtype=np.uint64)).sum()
        base = self.config.symbols[row].volume_per_s * INTEREST_S
        return round(float(base * np.exp(0.1 * moved)), 3)

    def _evaluate(self, number: int) -> Block:
        begin = number * BLOCK_S
        prices = self._raw(begin, begin + BLOCK_S + 1)
        traded = np.ones((len(self.row), BLOCK_S), dtype=np.bool_)
        for index in self.row.values():
            for bucket in {begin // OUTAGE_BUCKET_S, (begin + BLOCK_S) // OUTAGE_BUCKET_S}:
                outage = self._outage_in(index, bucket)
                if outage is None or outage[1] <= begin or outage[0] > begin + BLOCK_S:
                    continue
                first, last = max(outage[0] - begin, 0), outage[1] - begin
                prices[index, first:last] = self._raw(outage[0], outage[0] + 1)[index, 0]
                traded[index, first:last] = False
        return Block(begin, prices, traded)

    def _raw(self, begin: int, end: int) -> Floats:
        seconds = np.arange(begin, end, dtype=np.uint64)
        regime = np.exp(0.45 * smooth(self._regime, REGIME_PERIODS, seconds).sum(axis=1))
        noise = smooth(self._noise, OCTAVES, seconds) * self._amplitude[None, :, None]
        series = noise[:, :REGIME_OCTAVES].sum(axis=1) * regime + noise[:, REGIME_OCTAVES:].sum(axis=1)
        mixed = self._common * series[:1] + np.sqrt(1 - self._common**2) * series[1:]
        log_price = self._level + self._scale * mixed + self._jumps(begin, end)
        prices = np.exp(log_price)
        return np.stack([np.round(row, one.digits) for row, one in zip(prices, self.config.symbols, strict=True)])

    def _jumps(self, begin: int, end: int) -> Floats:
        """A jump is alone in its hour; after JUMP_LIFE_S what is left of it is dropped."""
        total = np.zeros((len(self.row), end - begin))
        chance = self.config.jumps_per_day * JUMP_BUCKET_S / 86_400
        first = (begin - JUMP_LIFE_S) // JUMP_BUCKET_S
        for index, one in enumerate(self.config.symbols):
            start = stream(self.config.seed, JUMP, index)
            for bucket in range(max(first, 0), (end - 1) // JUMP_BUCKET_S + 1):
                if uniform(start, 4 * bucket) >= chance:
                    continue
                at = (bucket + uniform(start, 4 * bucket + 1)) * JUMP_BUCKET_S
                size = (uniform(start, 4 * bucket + 2) + uniform(start, 4 * bucket + 3) - 1) * 0.02 * one.volatility
                age = np.arange(begin, end) - at
                alive = (age >= 0) & (age < JUMP_LIFE_S)
                total[index] += np.where(alive, size * np.exp(-np.maximum(age, 0.0) / JUMP_FADE_S), 0.0)
        return total

    def _outage_in(self, index: int, bucket: int) -> tuple[int, int] | None:
        """An outage lies wholly in its bucket."""
        start = stream(self.config.seed, OUTAGE, index)
        if uniform(start, 3 * bucket) >= self.config.outages_per_day * OUTAGE_BUCKET_S / 86_400:
            return None
        shortest, longest = OUTAGE_SECONDS
        length = shortest + int(uniform(start, 3 * bucket + 1) * (longest - shortest))
        begin = bucket * OUTAGE_BUCKET_S + int(uniform(start, 3 * bucket + 2) * (OUTAGE_BUCKET_S - length))
        return begin, begin + length

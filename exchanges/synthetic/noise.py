"""Noise without state: hashed lattice values, smoothly joined, at any time."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def mix(word: int) -> int:
    """Return the splitmix64 finaliser of a 64-bit word (Steele, Lea, Flood: Fast splittable PRNGs, 2014)."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


def stream(*parts: int) -> int:
    """Return the 64-bit start of an independent stream, named by integers."""
    word = 0
    for part in parts:
        word = mix((word + GOLDEN + part) & MASK)
    return word


def uniform(start: int, index: int) -> float:
    """Return the stream's value at `index`, in [0, 1)."""
    return (mix((start + index * GOLDEN) & MASK) >> 11) / (1 << 53)


def lattice(starts: Words, index: Words) -> Floats:
    """Return the streams' values at `index` (broadcast together), of mean 0 and variance 1."""
    word = starts + index * np.uint64(GOLDEN)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    unit: Floats = (word >> np.uint64(11)).astype(np.float64) * (2.0 / (1 << 53)) - 1.0
    unit *= 3.0**0.5
    return unit


def smooth(starts: Words, periods_s: Words, seconds: Words) -> Floats:
    """Return value noise of shape (streams, periods, seconds); `starts` has shape (streams, periods)."""
    periods = periods_s[:, None]
    index = seconds[None, :] // periods
    part = (seconds[None, :] - index * periods) / periods.astype(np.float64)
    blend = part * part * (3.0 - 2.0 * part)
    left = lattice(starts[:, :, None], index[None, :, :])
    right = lattice(starts[:, :, None], index[None, :, :] + np.uint64(1))
    joined: Floats = left + (right - left) * blend
    return joined

"""Judge what follows a batch: whether it may take the batch back.

Models explain their answer after it, and some take it back there. So a line must be silent or explain: each sentence
speaks English about the market, none doubts, refuses or decides anew, and a clause about a trade says what speaks for
it. A sentence that speaks only of symbols which the batch leaves alone cannot take an order back; a batch without any
order can only be taken back by words that trade.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from executor import loose_words as words
from executor.contract import PASSIVE
from executor.loose_place import END_TAG

_LONGEST: Final = 10_000
_NO_WORD: Final = re.compile(r"[\s\-.,!;)\]}\"'#]*")
_EMPHASIS: Final = re.compile(r"[*_`~]+")
_POINT: Final = re.compile(r"^\s*(?:>|#{1,6}|[-*•+]|\d{1,2}[.)])\s+")
_SENTENCES: Final = re.compile(r"[.!;](?=\s|$)")
_CLAUSES: Final = re.compile(r",\s|[()]|\s[-\u2013\u2014]\s|\u2014")
_COMPARISON: Final = re.compile(r"(?<=\w) [<>]=? (?=[\w$])")
_SYMBOL: Final = re.compile(r"[A-Z0-9]{2,20}", re.ASCII)
_DONE: Final[Mapping[str, str]] = {
    "open": "(?:open|enter)",
    "close": "(?:clos|exit)",
    "adjust": "(?:adjust|mov|rais|tighten)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Find in a clause what a batch does, the symbols that it trades, and those that it leaves alone."""

    done: re.Pattern[str]
    traded: re.Pattern[str]
    left_alone: re.Pattern[str]
    names: frozenset[str]
    keeps: bool
    trades: bool

    def is_untouched_by(self, sentence: str) -> bool:
        about_trades = self.traded.search(sentence) or words.PASSES_OVER.search(sentence)
        return about_trades is None and self.left_alone.search(sentence) is not None

    def is_supported_by(self, clause: str) -> bool:
        keeps = self.keeps and words.SUPPORTS_HOLDINGS.search(clause) is not None
        return keeps or words.SUPPORTS.search(clause) is not None or self.done.search(clause) is not None

    def stands_beside(self, clause: str) -> bool:
        """A clause about the market alone may say what it likes."""
        acts = words.ACTS.search(clause) is not None
        if clause.strip() in self.names or (not acts and self.traded.search(clause) is None):
            return True
        if words.DOUBTS.search(clause) is not None:
            return False
        return self.is_supported_by(clause) or (not acts and words.REASONS.search(clause) is not None)


def may_be_taken_back(text: str, end: int, value: Mapping[str, Any]) -> bool:
    """Tell whether what follows the batch `value`, which ends at `end`, may take it back.

    Fences, closing tags and courtesies cannot, nor can an explanation on lines of its own. What cannot be judged,
    another language or a long text too, may.
    """
    if len(text) - end > _LONGEST:
        return bool(text[end:].strip())
    same_line, *below = (_EMPHASIS.sub("", line) for line in END_TAG.sub("\n", text[end:]).split("\n"))
    if not all(map(_silent, _SENTENCES.split(same_line))):
        return True
    batch = _batch(value)
    points = (_COMPARISON.sub(" to ", _POINT.sub("", line, count=1)) for line in below)
    return not all(_silent(one) or _explains(one, batch) for point in points for one in _SENTENCES.split(point))


def _silent(sentence: str) -> bool:
    said = sentence.strip(" \t\r-,\"'")
    return _NO_WORD.fullmatch(said) is not None or words.COURTESY.fullmatch(said) is not None


def _explains(sentence: str, batch: _Batch) -> bool:
    said = sentence.strip(" \t\r-,:\"'")
    if said in batch.names or words.HEADING.fullmatch(said) is not None:
        return True
    if words.NOT_PLAIN.search(said) is not None:
        return False
    decides_anew = words.TAKES_BACK.search(said) is not None
    if not batch.trades:
        return not (decides_anew and words.TRADES.search(said) is not None)
    return not decides_anew and (batch.is_untouched_by(said) or _speaks_for(said, batch))


def _speaks_for(said: str, batch: _Batch) -> bool:
    if words.KEEPS_STILL.search(said) is not None or words.STARTS_ANEW.match(said) is not None:
        return False
    clauses = _CLAUSES.split(said)
    if " " not in said or not all(batch.stands_beside(clause) for clause in clauses):
        return False
    reasons = [words.REASONS.search(clause) is not None or batch.is_supported_by(clause) for clause in clauses]
    return all(reasons) or (any(reasons) and words.ENGLISH.search(said) is not None)


def _batch(value: Mapping[str, Any]) -> _Batch:
    found = value.get("decisions")
    items = [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
    actions = {str(item.get("action")) for item in items}
    traded = {str(item.get("symbol")) for item in items if str(item.get("action")) not in PASSIVE}
    named = {str(item.get("symbol")) for item in items}
    return _Batch(
        done=_done([stem for verb, stem in _DONE.items() if any(action.startswith(verb) for action in actions)]),
        traded=_bases(traded),
        left_alone=_bases(named),
        names=frozenset({*named, *map(_base, named)}),
        keeps=any(action.startswith(("open", "adjust")) for action in actions),
        trades=bool(traded),
    )


def _done(stems: list[str]) -> re.Pattern[str]:
    """Match "am closing", "to close", "closes", "closed" and "Closing the long because"; nothing without a stem."""
    stem = "|".join(stems) or "(?!)"
    helped = rf"(?:(?:am|are|is|was|be|been|will|to|have|has)\b|['\u2019](?:m|re|ve|ll)) (?:{stem})(?:e|ing|ed)?"
    reasoned = rf"^\W*(?:\S+: )?(?:{stem})ing\b.*\b(?:because|since|due to|after)"
    return re.compile(rf"(?:{helped}|\b(?:{stem})e?[sd]|{reasoned})\b", re.IGNORECASE)


def _bases(symbols: set[str]) -> re.Pattern[str]:
    """Match the base of any of the symbols, nothing where there is none."""
    named = [base for base in map(_base, sorted(symbols)) if _SYMBOL.fullmatch(base)]
    return words.any_of(" ".join(named) or "(?!)")


def _base(symbol: str) -> str:
    return symbol.partition("/")[0]

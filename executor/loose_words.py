"""The words by which what follows a batch is judged: those that take back, that doubt, that act and that explain.

Each list holds patterns of whole words, in any case, between white space; `_` stands for a space.
"""

import re
from typing import Final


def any_of(words: str) -> re.Pattern[str]:
    """Return a pattern for any of the words."""
    return re.compile(rf"\b(?:{'|'.join(words.split())})\b".replace("_", " "), re.IGNORECASE)


COURTESY: Final = re.compile(
    r"(?:please )?let me know if (?:you|there)[\w ,'/]{0,80}|(?:please )?feel free to ask[\w ]{0,60}"
    r"|good luck(?: with[\w ]{0,40})?|happy trading|thanks|thank you|(?:i )?hope (?:this|that|it) helps"
    r"|this is (?:my |the )?(?:final )?(?:answer|decision)|(?:disclaimer: )?(?:this is )?not financial advice|done",
    re.IGNORECASE,
)
HEADING: Final = re.compile(
    r"(?:the |my |key )?(?:why|reasons?|reasoning|rationale|explanation|justification|analysis|notes?|summary"
    r"|points|context|market|technicals?|risk|risk management|setup)",
    re.IGNORECASE,
)
NOT_PLAIN: Final = re.compile(
    r"[?<>{}\[\]]|[^\x00-\u024f\u2010-\u2027\u202f\u20ac\u2190-\u2193\u2212\u2248\u2264\u2265\u2705\U0001f4c8-\U0001f4ca]"
)
STARTS_ANEW: Final = re.compile(r"\W*(?:no|not|never|but|do|don['\u2019]t)\b", re.IGNORECASE)
TAKES_BACK: Final = any_of(
    r"""
    instead rather(?!_than) cancel\w* scrap\w* discard\w* disregard\w* ignor\w* drop\w*_in withdr[ae]w\w* retract\w*
    revis\w+ re-?consider\w* re-?think\w* reflection correct(?:ion|ed) mistake\w* wrong error actually second_thoughts?
    never_?mind mind final answer forget changed?_my void moot supersed\w+ overrid\w+ overrul\w+ veto abandon\w*
    und[oi]\w* delet\w+ strike (?:is|are|be|called?|it)_off scratch aside patien\w+ nothing
    postpon\w+ paus\w+ delay\w* invalid invalidated
    no_trad(?:e|es|ing) take\w*_(?:this|that|it|all|them)\b.{0,20}\bback
    example draft sample template illustrat\w+ hypothetical\w* placeholder\w* simulat\w+ a_test made_up stale yesterday
    previous
    maybe perhaps alternativ\w+ options? better oops sorry hmm prefer\w* assum\w+ subject_to pending
    premature early unwise unnecessary dangerous pointless too_\w+ bad
    please(?!_note) let treat nicht kein\w* pas nunca
    """
)
KEEPS_STILL: Final = any_of(r"wait\w* hold(?:s|ing)? held flat stay\w* keep\w* kept skip\w* sit inaction")
DOUBTS: Final = any_of(
    r"""
    no not never nothing none neither nor cannot without avoid\w* refrain\w* \w+n['’]t \w+['’]d
    would could might may but however al?though if unless until provided except only
    remain\w* leav(?:e|es|ing) left continu(?:e|ed|ing)
    """  # noqa: RUF001 - the apostrophe of models
)
PASSES_OVER: Final = any_of(r"all any\w* every\w* nothing both whole either neither trad\w+ batch")
ACTS: Final = any_of(
    r"""
    i we trad(?:e|es|ed|ing) clos(?:e|es|ed|ing) open(?:s|ed|ing)?(?!_interest) exit\w* enter\w* buy\w* bought
    sell\w* sold longs? shorts? reduc\w+ positions?(?!_siz) decisions? orders? actions? act execut\w+ this
    the_above batch json plan
    """
)
TRADES: Final = any_of(r"clos\w+ open\w* exit\w* enter\w* buy\w* sell\w* longs? shorts? reduc\w+")
SUPPORTS: Final = any_of(
    r"""
    lock(?:s|ed|ing)? secur\w+ captur\w+ reach(?:es|ed|ing) hits? approach(?:es|ed|ing) align\w* based_on justif\w+
    driven reflect(?:s|ing)? compl(?:y|ies) follow(?:s|ed) been_open t(?:ak\w+|ook)_profits? limits limiting
    """
)
SUPPORTS_HOLDINGS: Final = any_of(
    r"protect\w* risks risking targets target(?:ing|ed) support(?:s|ed) offers? gives? set(?!_aside) placed sized"
)
REASONS: Final = any_of(
    r"""
    rsi macd [es]mas?\d* atr adx vwap bollinger volume funding (?:up|down)?trend\w* momentum prices? market support\w*
    resistance stop(?:[-_]loss)? targets? take[-_]profit profit\w* loss(?:es)? risks? reward r/r ratio minimum leverage
    confidence equity margin drawdown exposure size entry signals? breakout break(?:s|ing)? rang(?:e|es|ing) highs?
    higher lows? lower swing candles? levels? zone bullish bearish overbought oversold divergence cross\w*
    reversal pullback volatil\w+ r[io]s(?:e|es|ing) f[ae]ll(?:s|ing|en)? strong\w* strength weak\w* fad(?:es|ing)
    """
)
ENGLISH: Final = any_of(
    r"the is are was has have of and this with to at its by from for as because due since above below it"
)

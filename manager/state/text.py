"""Text from models and venues, made fit for a database: PostgreSQL stores neither NUL nor lone surrogates."""

from dataclasses import replace

from executor.contract import Decision, FullDecision

UNSTORABLE = "\ufffd"


def storable(text: str) -> str:
    """Return `text` with what no database can store replaced by U+FFFD."""
    if "\x00" not in text and text.isascii():
        return text
    return text.replace("\x00", UNSTORABLE).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable_decision(full: FullDecision) -> FullDecision:
    """Return a decision whose free text can be stored; numbers and symbols were checked when it was parsed."""
    if not full.reply and not full.reasoning and not full.errors:
        return full
    return replace(
        full,
        reply=storable(full.reply),
        reasoning=storable(full.reasoning),
        model=storable(full.model),
        errors=tuple(replace(e, path=storable(e.path), message=storable(e.message)) for e in full.errors),
        decisions=tuple(_item(item) for item in full.decisions),
    )


def _item(item: Decision) -> Decision:
    return replace(item, reasoning=storable(item.reasoning), invalidation=storable(item.invalidation))

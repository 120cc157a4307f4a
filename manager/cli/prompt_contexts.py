"""The contexts that `propdesk prompts` works on: stored with decisions, recorded in a file, or made up."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from executor.contract import Context
from executor.prompts.sample import sample_context
from manager.cli.connect import with_store
from manager.cli.guard import Refused
from manager.cli.options import DATA_DEFAULT
from manager.state.errors import InvalidRow
from manager.state.recorded import context_json, context_of_json
from manager.state.records import DEFAULT_TENANT, DecisionRow, TenantId, TraderRow
from manager.state.store import Store

TraderIdOption = Annotated[str, typer.Option("--trader", metavar="ID", help="Use the stored contexts of this trader.")]
ContextsOption = Annotated[
    Path | None, typer.Option("--contexts", metavar="FILE", help="Use recorded contexts, one JSON object a line.")
]
SaveOption = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Write the contexts that were used, one a line.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSource:
    """Say where contexts come from; with neither trader nor file a made-up one is used."""

    trader: str = ""
    file: Path | None = None
    last: int = 1
    tenant: str = DEFAULT_TENANT
    data_dir: Path = DATA_DEFAULT


def read_contexts(source: ContextSource) -> Sequence[Context]:
    """Return the contexts, oldest first; raise Refused where there are none or both sources are named."""
    if source.trader and source.file is not None:
        raise Refused("--trader and --contexts name two sources; give one of them")
    if source.file is not None:
        return _of_file(source.file)[-source.last :]
    if not source.trader:
        return (sample_context(),)
    return with_store(source.data_dir, lambda store: _of_trader(store, source))


def save_contexts(contexts: Sequence[Context], file: Path) -> None:
    """Write contexts as lines that `read_contexts` takes; raise Refused where that cannot be."""
    try:
        file.write_text("".join(f"{context_json(context)}\n" for context in contexts), encoding="utf-8")
    except OSError as error:
        raise Refused(f"--save {file} cannot be written ({error.strerror}); name another file") from error


def _of_file(file: Path) -> list[Context]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"--contexts {file} cannot be read ({error}); name a file that --save wrote") from error
    contexts = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                contexts.append(context_of_json(line))
            except InvalidRow as error:
                raise Refused(f"{file}, line {number}: {error}; name a file that --save wrote") from error
    if not contexts:
        raise Refused(f"--contexts {file} is empty; name a file that --save wrote")
    return contexts


async def _of_trader(store: Store, source: ContextSource) -> Sequence[Context]:
    async with store.transaction(TenantId(source.tenant)) as tx:
        known = await tx.get(TraderRow, source.trader)
        rows = await tx.find(
            DecisionRow, {"trader_id": source.trader}, newest_first="decided_at", limit=10 * source.last
        )
    found = [row.context for row in rows if row.context is not None][: source.last]
    if found:
        return found[::-1]
    if known is None:
        raise Refused(f"there is no trader {source.trader!r} in tenant {source.tenant}; `propdesk status` lists them")
    raise Refused(f"trader {source.trader} has no stored context yet; let it decide once, or pass --contexts FILE")

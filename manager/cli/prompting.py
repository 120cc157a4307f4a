"""`propdesk prompts`: which templates there are, what a model is sent, and what another template would decide."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from exchanges.clock import SystemClock
from executor.contract import Context
from executor.errors import PromptError
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.prompts.tokens import sections
from executor.prompts.values import duration
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, ModelClients, build_executor
from manager.cli.connect import DeskOptions
from manager.cli.guard import Failed, Refused
from manager.cli.options import CONFIG_DEFAULT, ConfigOption, JsonOption, read_config, taking
from manager.cli.progress import progress
from manager.cli.render import instant, print_json, say, show_table, write
from manager.config import Config
from manager.resources import resource
from manager.state.errors import InvalidRow
from manager.state.recorded import context_json, context_of_json, prompt_text
from manager.state.records import DEFAULT_TENANT, DecisionRow, PromptRow, TraderRow
from manager.state.store import Store
from manager.views.prompt_diff import Comparison, Side, Totals, compare

app = typer.Typer(no_args_is_help=True, help="Look at prompt templates and try them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions(DeskOptions):
    """Hold what every command on prompts is given."""

    config: ConfigOption = CONFIG_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions(PromptOptions):
    """Say where contexts come from; with neither trader nor file a made-up one is used."""

    trader: Annotated[str, typer.Option("--trader", metavar="ID", help="Use the stored contexts of this trader.")] = ""
    contexts: Annotated[
        Path | None, typer.Option("--contexts", metavar="FILE", help="Use recorded contexts, one JSON object a line.")
    ] = None
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the contexts that were used, one a line.")
    ] = None

    def read_contexts(self, last: int) -> Sequence[Context]:
        """Return the last contexts, oldest first; raise Refused where there are none or both sources are named."""
        if self.trader and self.contexts is not None:
            raise Refused("--trader and --contexts name two sources; give one of them")
        if self.contexts is not None:
            return self._of_file(self.contexts)[-last:]
        return self.on_store(lambda store: self._of_trader(store, last)) if self.trader else (sample_context(),)

    def save_contexts(self, contexts: Sequence[Context]) -> None:
        """Write contexts, if that is asked for, as lines that `read_contexts` takes; raise Refused if it cannot be."""
        try:
            if self.save is not None:
                self.save.write_text("".join(f"{context_json(one)}\n" for one in contexts), encoding="utf-8")
        except OSError as error:
            raise Refused(f"--save {self.save} cannot be written ({error.strerror}); name another file") from error

    def _of_file(self, file: Path) -> list[Context]:
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

    async def _of_trader(self, store: Store, last: int) -> Sequence[Context]:
        async with store.transaction(self.owner) as tx:
            known = await tx.get(TraderRow, self.trader)
            where = {"trader_id": self.trader}
            rows = await tx.find(DecisionRow, where, newest_first="decided_at", limit=10 * last)
        found = [row.context for row in rows if row.context is not None][:last]
        if found:
            return found[::-1]
        if known is None:
            raise Refused(f"there is no trader {self.trader!r} in tenant {self.tenant}; `propdesk status` lists them")
        raise Refused(f"trader {self.trader} has no stored context yet; let it decide once, or pass --contexts FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions(ContextOptions):
    """Hold what `propdesk prompts render` is given."""

    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="Such as prompts/general.md.")]
    token_budget: Annotated[
        int | None, typer.Option("--token-budget", metavar="N", min=1, help="Instead of the template's own.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentOptions(PromptOptions):
    """Hold what `propdesk prompts sent` is given."""

    decision: Annotated[str, typer.Argument(metavar="DECISION", help="A decision id, as `propdesk why` names it.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions(ContextOptions):
    """Hold what `propdesk prompts diff` is given."""

    first: Annotated[str, typer.Argument(metavar="FIRST", help="A template, such as prompts/general.md.")]
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another template.")]
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="Use so many contexts, the newest.")] = 10
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Ask this model of the config; else the trader's own.")
    ] = ""
    style: Annotated[
        str, typer.Option("--style", metavar="NAME", help="Ask this baseline, which reads no prompt: a free trial run.")
    ] = ""

    def decider(self, config: Config) -> ExecutorSpec:
        """Return who decides: the model or the baseline that is named, else the trader's own executor."""
        if self.model and self.style:
            raise Refused("--model and --style name two deciders; give one of them")
        if self.tenant != DEFAULT_TENANT and self.owner not in config.tenants:
            raise Refused(f"--tenant {self.tenant} is no tenant of {config.path}; it has {', '.join(config.tenants)}")
        if self.style:
            return ExecutorSpec(style=self.style)
        if self.model:
            timeout_s = float(config.manager.decision_timeout_s)
            return ExecutorSpec(type=ExecutorType.LLM, model=self.model, timeout_s=timeout_s)
        tenant = config.tenants.get(self.owner)
        specs = tenant.traders if tenant is not None else ()
        spec = next((one for one in specs if one.id == self.trader), None)
        if spec is None:
            known = ", ".join(sorted(tenant.models)) if tenant is not None and tenant.models else "none"
            raise Refused(f"nobody is named to decide; pass --model NAME (in the config: {known}) or --style NAME")
        return config.with_key(spec.executor)


@app.command("list")
def list_templates(config: ConfigOption = CONFIG_DEFAULT, as_json: JsonOption = False) -> None:
    """List the templates beside the config and the shipped ones, with their length on a made-up context.

    One that cannot be used is listed with the reason.
    """
    known = _known(config)
    library = _library(known)
    users: dict[str, list[str]] = {}
    for tenant in known.tenants.values() if known is not None else ():
        for spec in tenant.traders:
            users.setdefault(spec.executor.prompt_template, []).append(spec.id)
    names = sorted({*library.templates(), *users} - {""})
    found = [{"template": name, **_described(library, name), "traders": users.get(name, [])} for name in names]
    if as_json:
        print_json({"templates": found})
        return
    rows = [
        [str(one["template"]), *(str(one[name] or "-") for name in ("version", "tokens", "token_budget")),
         ", ".join(one["traders"]), str(one["description"] or f"cannot be used: {one['error']}")]
        for one in found
    ]  # fmt: skip
    show_table("Prompt templates", ["template", "version>", "tokens>", "budget>", "traders", "description"], rows)


@app.command("render")
@taking(RenderOptions)
def render(options: RenderOptions) -> None:
    """Render a template for a trader's last context, a recorded or a made-up one, with the tokens of each section."""
    library = _library(_known(options.config))
    contexts = options.read_contexts(1)
    prompt = library.render(options.template, contexts[-1], token_budget=options.token_budget)
    options.save_contexts(contexts)
    counted = {"system": sections(prompt.system), "user": sections(prompt.user)}
    budget = options.token_budget or library.header(options.template).token_budget
    if options.as_json:
        print_json({**asdict(prompt), "token_budget": budget, "at": contexts[-1].now, "sections": counted})
        return
    write(f"{prompt.system}\n\n{prompt.user}\n")
    rows = [
        [part, section.name, f"{section.tokens:,}", f"{section.characters:,}"]
        for part, parts in counted.items()
        for section in parts
    ]
    show_table("Sections", ["part", "section", "tokens>", "characters>"], rows)
    cuts = f"; cut: {', '.join(prompt.cuts)}" if prompt.cuts else ""
    say(f"About {prompt.tokens:,} tokens of {budget:,}{cuts}")
    say(f"{prompt.template} version {prompt.version}, sha256 {prompt.sha256}")


@app.command("sent")
@taking(SentOptions)
def sent(options: SentOptions) -> None:
    """Show the prompt that a decision was made on, to the letter; of one asked twice, the first question."""
    decision = options.decision

    async def find(store: Store) -> tuple[DecisionRow | None, PromptRow | None]:
        async with store.transaction(options.owner) as tx:
            return await tx.get(DecisionRow, decision), await tx.get(PromptRow, decision)

    made, row = options.on_store(find)
    if made is None:
        raise Refused(f"there is no decision {decision!r} in tenant {options.tenant}; `propdesk why` names them")
    if row is None:
        raise Refused(f"no prompt is kept for decision {decision!r}: {_why_not_kept(made, _known(options.config))}")
    text = prompt_text(row)
    if options.as_json:
        told = {name: getattr(row, name) for name in ("decision_id", "at", "template", "version", "sha256")}
        print_json({**told, "attempts": made.attempts, "system": text.system, "user": text.user})
        return
    write(f"{text.system}\n\n{text.user}\n")
    say(f"Sent {instant(row.at)} UTC by {row.trader_id}: {row.template} version {row.version}, sha256 {row.sha256}")
    if made.attempts > 1:
        say("The reply was not valid: this prompt was sent again, with that reply and what was wrong with it added.")


@app.command("diff")
@taking(DiffOptions)
def diff(options: DiffOptions) -> None:
    """Let two templates decide on the same contexts: decisions side by side, costs, agreement. Nothing is traded."""
    config = read_config(options.config)
    library = _library(config)
    for template in (options.first, options.second):
        library.check(template)
    contexts = options.read_contexts(options.last)
    spec = options.decider(config)
    options.save_contexts(contexts)

    async def run() -> Comparison:
        clients, monotonic = ModelClients(), SystemClock().boot_s
        models = config.models(options.owner)
        parts = ExecutorParts(prompts=library, clients=clients, monotonic=monotonic, models=models)
        try:
            first, second = (
                Side(template=name, executor=build_executor(replace(spec, prompt_template=name), parts))
                for name in (options.first, options.second)
            )
            with progress("deciding") as meter:
                return await compare(contexts, first, second, meter)
        finally:
            await clients.close()

    found = asyncio.run(run())
    if options.as_json:
        print_json({**asdict(found), "rows": [{**asdict(row), "verdict": row.verdict} for row in found.rows]})
    else:
        ComparisonText(found).show()
    if found.compared == 0:
        raise Failed("there is no context on which both templates decided; the reasons are listed above")


class ComparisonText:
    """Tell in text how two templates compare."""

    def __init__(self, found: Comparison) -> None:
        self._found = found

    def show(self) -> None:
        """Print it."""
        found = self._found
        columns = ["context>", "trader", "at (UTC)", "symbol", found.first.template, found.second.template, "verdict"]
        rows = [
            [str(row.context), row.trader_id, instant(row.at), row.symbol, row.first, row.second, row.verdict]
            for row in found.rows
        ]
        show_table("Decisions", columns, rows)
        show_table(
            "Templates",
            ["template", "outcomes", "actions", "prompt tokens>", "in>", "cached>", "out>", "USD>", "latency>", "cut>"],
            [self._totals(totals) for totals in (found.first, found.second)],
        )
        for totals in (found.first, found.second):
            for reason in totals.reasons:
                say(f"{totals.template}: {reason}")
        agreement = "not known" if found.agreement_pct is None else f"{found.agreement_pct:.1f} %"
        counted = f"{found.compared} symbols in {found.contexts} context(s), counted where both decided"
        say(f"Agreement: {agreement} of {counted}")
        if found.compared and not found.prompts_read:
            say("A baseline reads no prompt: this tried the contexts, and says nothing of the templates.")

    def _totals(self, totals: Totals) -> list[str]:
        return [
            totals.template,
            ", ".join(f"{name} {count}" for name, count in sorted(totals.outcomes.items())),
            ", ".join(f"{name} {count}" for name, count in sorted(totals.actions.items())) or "-",
            f"{totals.prompt_tokens:,}",
            f"{totals.input_tokens:,}",
            f"{totals.cached_tokens:,}",
            f"{totals.output_tokens:,}",
            f"{totals.cost_usd:f}",
            f"{totals.latency_s:.2f} s",
            str(totals.cut_prompts),
        ]


def _why_not_kept(made: DecisionRow, config: Config | None) -> str:
    if not made.prompt_hash:
        return "none was made here, because no model was asked"
    kept_s = config.manager.prompt_retention_s if config is not None else None
    kept = "data.prompt_retention" if kept_s is None else f"data.prompt_retention ({duration(kept_s)})"
    return f"it is older than {kept} of the config, or that was 0 at the time"


def _known(path: Path) -> Config | None:
    return None if path == CONFIG_DEFAULT and not path.exists() else read_config(path)


def _library(config: Config | None) -> PromptLibrary:
    return PromptLibrary(resource("prompts")) if config is None else config.prompt_library()


def _described(library: PromptLibrary, template: str) -> dict[str, Any]:
    try:
        header = library.check(template)
        prompt = library.render(template, sample_context())
    except PromptError as error:
        return {"tokens": None, "version": None, "description": "", "token_budget": None, "error": str(error)}
    return {"tokens": prompt.tokens, **asdict(header), "error": None}

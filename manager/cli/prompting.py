"""`propdesk prompts`: which templates there are, what a model is sent, and what another template would decide."""

import asyncio
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from exchanges.clock import SystemClock
from executor.errors import PromptError
from executor.prompts.library import PromptLibrary
from executor.prompts.sample import sample_context
from executor.prompts.tokens import Section, sections
from executor.prompts.values import duration
from executor.registry import ExecutorParts, ExecutorSpec, ExecutorType, ModelClients, build_executor
from manager.cli.connect import with_store
from manager.cli.guard import Failed, Refused
from manager.cli.options import (
    CONFIG_DEFAULT,
    DATA_DEFAULT,
    ConfigOption,
    DataDirOption,
    JsonOption,
    TenantOption,
    read_config,
    taking,
)
from manager.cli.progress import progress
from manager.cli.prompt_contexts import (
    ContextsOption,
    ContextSource,
    SaveOption,
    TraderIdOption,
    read_contexts,
    save_contexts,
)
from manager.cli.render import instant, print_json, say, show_table, write
from manager.config import Config
from manager.resources import resource
from manager.state.recorded import prompt_text
from manager.state.records import DEFAULT_TENANT, DecisionRow, PromptRow, TenantId
from manager.state.store import Store
from manager.views.prompt_diff import Comparison, Side, Totals, compare

TemplateArgument = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Such as prompts/general.md.")]
DecisionArgument = Annotated[str, typer.Argument(metavar="DECISION", help="A decision id, as `propdesk why` names it.")]

app = typer.Typer(no_args_is_help=True, help="Look at prompt templates and try them.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """Hold what `propdesk prompts render` is given."""

    template: TemplateArgument
    trader: TraderIdOption = ""
    contexts: ContextsOption = None
    save: SaveOption = None
    token_budget: Annotated[
        int | None, typer.Option("--token-budget", metavar="N", min=1, help="Instead of the template's own.")
    ] = None
    config: ConfigOption = CONFIG_DEFAULT
    data_dir: DataDirOption = DATA_DEFAULT
    tenant: TenantOption = DEFAULT_TENANT
    as_json: JsonOption = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """Hold what `propdesk prompts diff` is given."""

    first: Annotated[str, typer.Argument(metavar="FIRST", help="A template, such as prompts/general.md.")]
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another template.")]
    trader: TraderIdOption = ""
    contexts: ContextsOption = None
    save: SaveOption = None
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="Use so many contexts, the newest.")] = 10
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Ask this model of the config; else the trader's own.")
    ] = ""
    style: Annotated[
        str, typer.Option("--style", metavar="NAME", help="Ask this baseline, which reads no prompt: a free trial run.")
    ] = ""
    config: ConfigOption = CONFIG_DEFAULT
    data_dir: DataDirOption = DATA_DEFAULT
    tenant: TenantOption = DEFAULT_TENANT
    as_json: JsonOption = False


@app.command("list")
def list_templates(config: ConfigOption = CONFIG_DEFAULT, as_json: JsonOption = False) -> None:
    """List the templates beside the config and the shipped ones, with their length on a made-up context.

    One that cannot be used is listed with the reason.
    """
    known = _config(config)
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
    library = _library(_config(options.config))
    contexts = read_contexts(_source(options.trader, options.contexts, options.tenant, options.data_dir))
    prompt = library.render(options.template, contexts[-1], token_budget=options.token_budget)
    if options.save is not None:
        save_contexts(contexts, options.save)
    counted = {"system": sections(prompt.system), "user": sections(prompt.user)}
    budget = options.token_budget or library.header(options.template).token_budget
    if options.as_json:
        print_json({**asdict(prompt), "token_budget": budget, "at": contexts[-1].now, "sections": counted})
        return
    write(f"{prompt.system}\n\n{prompt.user}\n")
    _show_sections(counted)
    cuts = f"; cut: {', '.join(prompt.cuts)}" if prompt.cuts else ""
    say(f"About {prompt.tokens:,} tokens of {budget:,}{cuts}")
    say(f"{prompt.template} version {prompt.version}, sha256 {prompt.sha256}")


@app.command("sent")
def sent(
    decision: DecisionArgument,
    config: ConfigOption = CONFIG_DEFAULT,
    data_dir: DataDirOption = DATA_DEFAULT,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
) -> None:
    """Show the prompt that a decision was made on, to the letter; of one asked twice, the first question."""

    async def find(store: Store) -> tuple[DecisionRow | None, PromptRow | None]:
        async with store.transaction(TenantId(tenant)) as tx:
            return await tx.get(DecisionRow, decision), await tx.get(PromptRow, decision)

    made, row = with_store(data_dir, find)
    if made is None:
        raise Refused(f"there is no decision {decision!r} in tenant {tenant}; `propdesk why` names them")
    if row is None:
        raise Refused(f"no prompt is kept for decision {decision!r}: {_why_not_kept(made, _config(config))}")
    text = prompt_text(row)
    if as_json:
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
    source = _source(options.trader, options.contexts, options.tenant, options.data_dir)
    contexts = read_contexts(replace(source, last=options.last))
    spec = _decider(config, options)
    if options.save is not None:
        save_contexts(contexts, options.save)

    async def run() -> Comparison:
        clients = ModelClients()
        parts = ExecutorParts(
            prompts=library,
            clients=clients,
            monotonic=SystemClock().boot_s,
            models=config.models(TenantId(options.tenant)),
        )
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
        print_json({**_plain(found), "rows": [{**asdict(row), "verdict": row.verdict} for row in found.rows]})
    else:
        _show_comparison(found)
    if found.compared == 0:
        raise Failed("there is no context on which both templates decided; the reasons are listed above")


def _why_not_kept(made: DecisionRow, config: Config | None) -> str:
    if not made.prompt_hash:
        return "none was made here, because no model was asked"
    kept_s = config.manager.prompt_retention_s if config is not None else None
    kept = "data.prompt_retention" if kept_s is None else f"data.prompt_retention ({duration(kept_s)})"
    return f"it is older than {kept} of the config, or that was 0 at the time"


def _config(path: Path) -> Config | None:
    return None if path == CONFIG_DEFAULT and not path.exists() else read_config(path)


def _library(config: Config | None) -> PromptLibrary:
    return PromptLibrary(resource("prompts")) if config is None else config.prompt_library()


def _source(trader: str, file: Path | None, tenant: str, data_dir: Path) -> ContextSource:
    return ContextSource(trader=trader, file=file, tenant=tenant, data_dir=data_dir)


def _described(library: PromptLibrary, template: str) -> dict[str, Any]:
    try:
        header = library.check(template)
        prompt = library.render(template, sample_context())
    except PromptError as error:
        return {"tokens": None, "version": None, "description": "", "token_budget": None, "error": str(error)}
    return {"tokens": prompt.tokens, **asdict(header), "error": None}


def _decider(config: Config, options: DiffOptions) -> ExecutorSpec:
    """Return who decides: the model or the baseline that is named, else the trader's own executor."""
    timeout_s = float(config.manager.decision_timeout_s)
    if options.model and options.style:
        raise Refused("--model and --style name two deciders; give one of them")
    if options.style:
        return ExecutorSpec(style=options.style)
    if options.model:
        return ExecutorSpec(type=ExecutorType.LLM, model=options.model, timeout_s=timeout_s)
    tenant = config.tenants.get(TenantId(options.tenant))
    specs = tenant.traders if tenant is not None else ()
    spec = next((one for one in specs if one.id == options.trader), None)
    if spec is None:
        known = ", ".join(sorted(tenant.models)) if tenant is not None and tenant.models else "none"
        raise Refused(f"nobody is named to decide; pass --model NAME (in the config: {known}) or --style NAME")
    return config.with_key(spec.executor)


def _plain(found: Comparison) -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if name != "rows"}


def _show_sections(counted: dict[str, tuple[Section, ...]]) -> None:
    rows = [
        [part, section.name, f"{section.tokens:,}", f"{section.characters:,}"]
        for part, parts in counted.items()
        for section in parts
    ]
    show_table("Sections", ["part", "section", "tokens>", "characters>"], rows)


def _show_comparison(found: Comparison) -> None:
    rows = [
        [
            str(row.context),
            row.trader_id,
            instant(row.at),
            row.symbol,
            row.first,
            row.second,
            row.verdict,
        ]
        for row in found.rows
    ]
    columns = ["context>", "trader", "at (UTC)", "symbol", found.first.template, found.second.template, "verdict"]
    show_table("Decisions", columns, rows)
    show_table(
        "Templates",
        ["template", "outcomes", "actions", "prompt tokens>", "in>", "cached>", "out>", "USD>", "latency>", "cut>"],
        [_totals_row(totals) for totals in (found.first, found.second)],
    )
    for totals in (found.first, found.second):
        for reason in totals.reasons:
            say(f"{totals.template}: {reason}")
    agreement = "not known" if found.agreement_pct is None else f"{found.agreement_pct:.1f} %"
    say(
        f"Agreement: {agreement} of {found.compared} symbols in {found.contexts} context(s), counted where both decided"
    )
    if found.compared and not found.prompts_read:
        say("A baseline reads no prompt: this tried the contexts, and says nothing of the templates.")


def _totals_row(totals: Totals) -> list[str]:
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

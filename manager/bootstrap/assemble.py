"""Put one desk together: the same for live, paper, replay and tests, which differ in what they pass in."""

from dataclasses import dataclass

from exchanges.clock import Clock
from executor.registry import ExecutorParts
from manager.bootstrap.accounts import Runtimes
from manager.bootstrap.executors import ConfiguredExecutors, Recorded
from manager.config.values import Config
from manager.desk.sampling import EquitySampler
from manager.jobs.handlers import DeskParts
from manager.jobs.runner import JobRunner
from manager.spending.meter import Spending
from manager.state.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Hold what a desk is given from outside; nothing below knows whether it is live, paper or replay.

    Each of `accounts` has its exchange and its market feed, `deciding` the models. A replay has `recorded` decisions,
    none perhaps; anything else has None.
    """

    store: Store
    clock: Clock
    runner: JobRunner
    accounts: Runtimes
    sampler: EquitySampler
    deciding: ExecutorParts
    recorded: Recorded | None = None


def assemble(config: Config, outside: Outside, *, holder: str, keep_prompts: bool = True) -> DeskParts:
    """Return the parts of the desk that `config` describes; `holder` names who holds its accounts."""
    spending = Spending(outside.store, outside.clock, config)
    return DeskParts(
        store=outside.store,
        clock=outside.clock,
        runner=outside.runner,
        executors=ConfiguredExecutors(config, outside.deciding, spending, outside.recorded),
        sampler=outside.sampler,
        accounts=outside.accounts,
        holder=holder,
        keep_prompts=keep_prompts,
        maintain_fires=outside.recorded is None,
    )

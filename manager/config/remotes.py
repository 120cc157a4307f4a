"""Read `executor: {type: remote}`: where a trader's executor is, the key of its server, and what it may cost."""

from executor.errors import ExecutorConfigError
from executor.models.addresses import shown_url
from executor.registry import ExecutorSpec, ExecutorType
from executor.remote.endpoint import MAX_SYMBOLS, check_ca_file, check_remote_url
from manager.config.accounts import Reading
from manager.config.schema import RemoteSection
from manager.config.source import Loc, shown


def read_remote(reading: Reading, loc: Loc, section: RemoteSection) -> ExecutorSpec:
    """Return an executor elsewhere; an address that may not be called and an unfit `ca_file` are noted.

    `ca_file` is relative to the config file.
    """
    source = reading.source
    try:
        check_remote_url(section.url, allow_private=section.allow_private, allow_unencrypted=section.allow_unencrypted)
    except ExecutorConfigError as error:
        source.report((*loc, "url"), shown((), shown_url(section.url)), str(error))
    ca_file = str(source.path.parent / section.ca_file) if section.ca_file else ""
    try:
        check_ca_file(section.url, ca_file)
    except ExecutorConfigError as error:
        source.report((*loc, "ca_file"), shown((), section.ca_file), str(error))
    return ExecutorSpec(
        type=ExecutorType.REMOTE,
        base_url=section.url,
        api_key=section.key,
        timeout_s=float(section.timeout or reading.root.manager.decision_timeout),
        allow_private=section.allow_private,
        allow_unencrypted=section.allow_unencrypted,
        ca_file=ca_file,
        max_usd_per_decision=section.max_usd_per_decision,
    )


def check_symbols(reading: Reading, loc: Loc, count: int) -> None:
    """Note more symbols than an executor elsewhere takes at once."""
    if count > MAX_SYMBOLS:
        mend = f"an executor of type remote takes at most {MAX_SYMBOLS} at once; spread them over several traders"
        reading.source.report((*loc, "symbols"), f"{count} symbols", mend)

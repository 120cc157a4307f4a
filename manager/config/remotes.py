"""Read `executor: {type: remote}`: where a trader's executor is, and the key of its server."""

from executor.errors import ExecutorConfigError
from executor.models.addresses import shown_url
from executor.registry import ExecutorSpec, ExecutorType
from executor.remote.connections import check_remote_url
from manager.config.accounts import Reading
from manager.config.schema import RemoteSection
from manager.config.source import Loc, shown


def read_remote(reading: Reading, loc: Loc, section: RemoteSection) -> ExecutorSpec:
    """Return an executor elsewhere; an address that may not be called is noted."""
    try:
        check_remote_url(section.url, allow_private=section.allow_private)
    except ExecutorConfigError as error:
        reading.source.report((*loc, "url"), shown((), shown_url(section.url)), str(error))
    return ExecutorSpec(
        type=ExecutorType.REMOTE,
        base_url=section.url,
        api_key=section.key,
        timeout_s=float(section.timeout or reading.root.manager.decision_timeout),
        allow_private=section.allow_private,
    )

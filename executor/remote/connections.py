"""The connections of one process to remote executors, which their traders share."""

from executor.remote.endpoint import Asking, RemoteEndpoint, RemoteSource


class RemoteConnections:
    """Keep one set of connections to each remote executor, whoever asks it. Belongs to one event loop.

    Proxies of the environment are not used: the way to an executor is the one that the config names.
    """

    def __init__(self) -> None:
        self._sources: dict[bool, RemoteSource] = {}

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what asks the endpoint over these connections."""
        source = self._sources.get(endpoint.is_grpc)
        if source is None:
            source = self._sources[endpoint.is_grpc] = self._source(endpoint.is_grpc)
        return source.asking(endpoint)

    async def close(self) -> None:
        """Close every connection; later calls open new ones."""
        for source in self._sources.values():
            await source.close()

    @staticmethod
    def _source(is_grpc: bool) -> RemoteSource:
        """Load the library of a protocol only where an endpoint speaks it."""
        if is_grpc:
            from executor.remote.grpc_client import GrpcChannels

            return GrpcChannels()
        from executor.remote.http_client import HttpClients

        return HttpClients()

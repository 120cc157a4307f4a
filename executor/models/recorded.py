"""Models whose calls are kept, and models that answer from what was kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from executor.budget import Meter, MeteredModel, Unmetered
from executor.errors import CallNotMade, ModelError
from executor.models.chat import ChatModel, Completion, Message, ModelEndpoint
from executor.models.clients import ModelSource
from executor.models.profile import ModelProfile
from executor.recording import CallKey, RecordedCall, RecordingFile, Recordings


class RecordedModel:
    """Answer from recordings, whatever the endpoint would say now; it is never called."""

    def __init__(self, endpoint: ModelEndpoint, recordings: Recordings) -> None:
        self._endpoint = endpoint
        self._recordings = recordings

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._endpoint.model

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return the recorded reply or raise the recorded failure; RecordingMissing if there is neither."""
        return self._recordings.take(CallKey.of(self._endpoint, messages, schema)).again()

    async def ping(self) -> None:
        """Do nothing: the recordings are in memory."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class RecordingModel:
    """Call a model and keep how the call ended; one that no budget was left for is no call."""

    def __init__(self, model: ChatModel, endpoint: ModelEndpoint, file: RecordingFile) -> None:
        self._model = model
        self._endpoint = endpoint
        self._file = file

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._model.name

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return one completion."""
        key = CallKey.of(self._endpoint, messages, schema)
        try:
            completion = await self._model.complete(messages, schema)
        except CallNotMade:
            raise
        except ModelError as error:
            self._file.keep(RecordedCall.failed(key, error))
            raise
        except anyio.get_cancelled_exc_class():
            self._file.keep(RecordedCall.cut_off(key))
            raise
        self._file.keep(RecordedCall.replied(key, completion))
        return completion

    async def ping(self) -> None:
        """Ask the endpoint whether it is there."""
        await self._model.ping()

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()


class RecordedModels:
    """Give models that answer from recordings and cost what the recorded calls would cost now."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self.turn = anyio.Lock()

    def model(self, profile: ModelProfile, meter: Meter | None = None) -> ChatModel:
        """Return the model of `profile`."""
        return MeteredModel(RecordedModel(profile.endpoint, self._recordings), profile, meter or Unmetered())

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class RecordingModels:
    """Give the models of another source, each call of which is kept."""

    def __init__(self, models: ModelSource, file: RecordingFile) -> None:
        self._models = models
        self._file = file

    @property
    def turn(self) -> anyio.Lock:
        """Return the lock under which prompts are rendered one by one."""
        return self._models.turn

    def model(self, profile: ModelProfile, meter: Meter | None = None) -> ChatModel:
        """Return the model of `profile`."""
        return RecordingModel(self._models.model(profile, meter), profile.endpoint, self._file)

    async def close(self) -> None:
        """Close the other source."""
        await self._models.close()

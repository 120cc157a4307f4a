"""Models and remote executors that keep their calls, and others that answer from what was kept.

A question to a remote executor is recorded as a call of a model is, in the same files: the question is the context as
it travels and the URL it goes to, the reply is the decision as JSON, without its prompt.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio

from executor.contract import Context, FullDecision
from executor.errors import CallNotMade, ModelError
from executor.models.chat import ChatModel, Completion, Finish, Message, ModelEndpoint
from executor.models.clients import ModelSource
from executor.models.metering import Charge, Meter, MeteredModel, Unmetered, charges
from executor.models.profile import ModelProfile
from executor.recordings.calls import Bill, CallKey, RecordedCall
from executor.recordings.files import RecordingFile, Recordings
from executor.remote.endpoint import Asking, RemoteEndpoint, RemoteSource
from executor.remote.wire import context_json, decision_json, read_answer


class RecordedModel:
    """Answer from recordings, whatever the endpoint would say now; it is never called.

    Each attempt that was billed is billed again, at the prices of today and within the budgets of `meter`.
    """

    def __init__(self, profile: ModelProfile, recordings: Recordings, meter: Meter) -> None:
        self._profile = profile
        self._recordings = recordings
        self._meter = meter

    @property
    def name(self) -> str:
        """Return the model's name as the endpoint knows it."""
        return self._profile.endpoint.model

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        """Return the recorded reply or raise the recorded failure; RecordingMissing if there is neither."""
        attempts = _Attempts(self._profile.endpoint, self._recordings)
        metered = MeteredModel(attempts, self._profile, self._meter)
        while not attempts.over:
            try:
                return await metered.complete(messages, schema)
            except CallNotMade:
                raise
            except ModelError:
                continue
        return attempts.taken.again()

    async def ping(self) -> None:
        """Do nothing: the recordings are in memory."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class _Attempts:
    """Give the attempts of one recorded call, one a call; it is looked up by the first."""

    def __init__(self, endpoint: ModelEndpoint, recordings: Recordings) -> None:
        self._endpoint = endpoint
        self._recordings = recordings
        self._left: list[Completion | ModelError] | None = None
        self.taken: RecordedCall

    @property
    def name(self) -> str:
        return self._endpoint.model

    @property
    def over(self) -> bool:
        return self._left == []

    async def complete(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> Completion:
        if self._left is None:
            self.taken = self._recordings.take(CallKey.of(self._endpoint, messages, schema))
            self._left = list(self.taken.attempts())
        attempt = self._left.pop(0)
        if isinstance(attempt, ModelError):
            raise attempt
        return attempt

    async def ping(self) -> None:
        pass

    async def close(self) -> None:
        pass


class RecordingModel:
    """Call a model and keep how the call ended.

    What no budget was left for is no call, nor is what was broken off before its deadline, as a run is with Ctrl-C.
    """

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
        deadline = anyio.current_effective_deadline()
        with charges() as made:
            try:
                completion = await self._model.complete(messages, schema)
            except ModelError as error:
                if made or not isinstance(error, CallNotMade):
                    self._file.keep(RecordedCall.failed(key, error, self._bills(made)))
                raise
            except anyio.get_cancelled_exc_class():
                if anyio.current_time() >= deadline:
                    self._file.keep(RecordedCall.cut_off(key, self._bills(made)))
                raise
        self._file.keep(RecordedCall.replied(key, completion, self._bills(made)))
        return completion

    async def ping(self) -> None:
        """Ask the endpoint whether it is there."""
        await self._model.ping()

    async def close(self) -> None:
        """Close the model."""
        await self._model.close()

    @staticmethod
    def _bills(made: Sequence[Charge]) -> list[Bill | None]:
        return [Bill.of(charge.usage) if charge.calls else None for charge in made]


class RecordedModels:
    """Give models that answer from recordings and cost what the recorded calls would cost now."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self.turn = anyio.Lock()

    def model(self, profile: ModelProfile, meter: Meter | None = None) -> ChatModel:
        """Return the model of `profile`."""
        return RecordedModel(profile, self._recordings, meter or Unmetered())

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

    def finish(self) -> None:
        """Make the recording that of a whole run."""
        self._file.finish()

    async def close(self) -> None:
        """Close the other source."""
        await self._models.close()


def question_key(endpoint: RemoteEndpoint, context: Context) -> CallKey:
    """Return the key of one question; the context holds the trader. ValueError if it cannot travel."""
    # Recordings from before denials had this name are found by the old one.
    body = context_json(context).replace(b'"denials":', b'"refusals":', 1)
    return CallKey(
        digest=hashlib.sha256(endpoint.url.encode() + b"\n" + body).hexdigest(),
        prompt_hash=hashlib.sha256(body).hexdigest(),
        model=endpoint.name,
    )


class RecordedAsking:
    """Answer from recordings, whatever the server would say now; it is never asked."""

    def __init__(self, endpoint: RemoteEndpoint, recordings: Recordings) -> None:
        self._endpoint = endpoint
        self._recordings = recordings

    async def ask(self, context: Context) -> FullDecision:
        """Return the recorded decision or raise the recorded failure; RecordingMissing if there is neither."""
        call = self._recordings.take(question_key(self._endpoint, context))
        try:
            kept = call.again()
        except ModelError as error:
            raise error.told(ran=bool(call.bills)) from None
        return read_answer(kept.text.encode(), context)

    async def greet(self, trader: str) -> None:
        """Do nothing: the recordings are in memory."""


class RecordingAsking:
    """Ask a remote executor and keep how that ended; what was broken off before its deadline is not kept."""

    def __init__(self, asking: Asking, endpoint: RemoteEndpoint, file: RecordingFile) -> None:
        self._asking = asking
        self._endpoint = endpoint
        self._file = file

    async def ask(self, context: Context) -> FullDecision:
        """Return the decision."""
        key = question_key(self._endpoint, context)
        deadline = anyio.current_effective_deadline()
        try:
            decision = await self._asking.ask(context)
        except ModelError as error:
            self._file.keep(RecordedCall.failed(key, error, [None] if error.ran else []))
            raise
        except anyio.get_cancelled_exc_class():
            if anyio.current_time() >= deadline:
                self._file.keep(RecordedCall.cut_off(key))
            raise
        text = decision_json(replace(decision, prompt=None)).decode()
        reply = Completion(text=text, finish=Finish.DONE, usage=decision.usage)
        self._file.keep(RecordedCall.replied(key, reply))
        return decision

    async def greet(self, trader: str) -> None:
        """Raise a ModelError unless the server takes the key and can decide for the trader."""
        await self._asking.greet(trader)


class RecordedRemotes:
    """Give remote executors that answer from recordings and open no connection."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what answers for the endpoint."""
        return RecordedAsking(endpoint, self._recordings)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class RecordingRemotes:
    """Give the remote executors of another source, each question to which is kept."""

    def __init__(self, remotes: RemoteSource, file: RecordingFile) -> None:
        self._remotes = remotes
        self._file = file

    def asking(self, endpoint: RemoteEndpoint) -> Asking:
        """Return what asks the endpoint."""
        return RecordingAsking(self._remotes.asking(endpoint), endpoint, self._file)

    async def close(self) -> None:
        """Close the other source."""
        await self._remotes.close()

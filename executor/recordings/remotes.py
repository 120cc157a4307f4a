"""Questions to remote executors that are kept, and answers from what was kept.

They are records of calls as those of models are, in the same files: the question is the context as it travels and the
URL it goes to, the reply is the decision as JSON, without its prompt.
"""

import hashlib
from dataclasses import replace

import anyio

from executor.contract import Context, FullDecision
from executor.errors import ModelError
from executor.models.chat import Completion, Finish
from executor.recordings.calls import CallKey, RecordedCall
from executor.recordings.files import RecordingFile, Recordings
from executor.remote.endpoint import Asking, RemoteEndpoint, RemoteSource
from executor.remote.wire import context_json, decision_json, read_answer


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
        """Greet."""
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

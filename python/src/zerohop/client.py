"""Clients of a Zerohop server: `Client`, and `AsyncClient` for asyncio.

    with zerohop.Client("127.0.0.1:50050") as client:
        rows = client.embed(["some text", "another text"])     # float32, (2, dim)

The two differ only in how they wait; _client_base.py and _job.py hold what they share.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import grpc

from . import _errors, _wire
from ._client_base import CONTROL_TIMEOUT_S, POLL_S, ClientBase, Health, ReplicaInfo, ServerInfo
from ._errors import (
    BadAnswer,
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    Unavailable,
    WrongModel,
    ZerohopError,
)
from ._job import (
    Deadline,
    Prompts,
    Rows,
    TokenIds,
    check_request,
    check_str,
    progress_bar,
    read_texts,
    read_token_ids,
)

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "Health",
    "InvalidInput",
    "Overloaded",
    "ReplicaInfo",
    "ServerInfo",
    "Unavailable",
    "WrongModel",
    "ZerohopError",
]


class Client(ClientBase):
    __doc__ = ClientBase.__doc__

    def embed(self, texts: str | Iterable[str], *, priority: int = 0, timeout: float | None = None,
              progress: bool | None = None, request_id: str = "") -> Rows:
        """Embeds texts.

        Args:
            texts: one text, which counts as a list of one, or several. A text longer than the model takes is cut off.
            priority: lower is served earlier; within one priority, older first.
            timeout: seconds for all of it, retries included; None waits for ever. What is late is not computed.
            progress: True shows a bar on stderr, False does not; None does on a terminal if the input is long.
            request_id: for `abort`, and for the server's log; several requests of one call share it.

        Returns:
            float32 of shape (number of texts, dim), row i for text i; (0, dim) if there are none.

        Raises:
            InvalidInput: with the index of the text at fault.
            WrongModel, Overloaded, Unavailable, DeadlineExceeded, Cancelled, BadAnswer: as they say.
            ZerohopError: the client is closed, or the server failed otherwise.
            ValueError, TypeError: for an argument that cannot be, such as a timeout below 0; nothing is sent.
            The first request that fails ends the others.
        """
        return self._embed(read_texts(texts), priority, Deadline(timeout), progress, request_id)

    def embed_tokens(self, prompts: Iterable[TokenIds], *, priority: int = 0, timeout: float | None = None,
                     progress: bool | None = None, request_id: str = "") -> Rows:
        """Embeds prompts that are token ids already: int32 arrays, or sequences of ints. Else as `embed`."""
        return self._embed(read_token_ids(prompts), priority, Deadline(timeout), progress, request_id)

    def info(self, *, timeout: float | None = CONTROL_TIMEOUT_S) -> ServerInfo:
        """What the server serves, and what each replica is doing now. Never retried."""
        return self._server_info(self._call("GetReplicaInfo", Deadline(timeout)))

    def health(self, *, timeout: float | None = CONTROL_TIMEOUT_S) -> Health:
        """Whether at least one replica serves now. Raises Unavailable if nobody listens. Never retried."""
        answer = self._call("HealthCheck", Deadline(timeout))
        return Health(answer.healthy, answer.message)

    def abort(self, request_id: str, *, timeout: float | None = CONTROL_TIMEOUT_S) -> bool:
        """Withdraws every request of this id, whoever sent it; their `embed` raises Cancelled.

        Returns:
            False if none of this id was waiting or running.
        """
        check_str("request_id", request_id)
        return bool(self._call("Abort", Deadline(timeout), request_id=request_id).success)

    def close(self) -> None:
        """Closes the connection; calls that wait raise Cancelled, later ones ZerohopError. May be called twice."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        self._channel = grpc.insecure_channel(self.address, _wire.channel_options(self._retry))
        self._methods = {name: _wire.bind(self._channel, name) for name in _wire.METHODS}

    def _call(self, method: str, deadline: Deadline, **fields: Any) -> Any:
        try:
            with self._while_open():
                return self._methods[method](self._message(method, **fields), timeout=deadline.left())
        except grpc.RpcError as error:
            raise _errors.from_rpc(error, self.address, timeout=deadline.seconds) from error

    def _contact(self, deadline: Deadline) -> None:
        wait = self._first_contact(deadline)
        while not wait.is_over():
            try:
                wait.saw(self.info(timeout=wait.seconds_for_one_look()))
            except (Unavailable, DeadlineExceeded) as error:
                wait.failed(error)
            if not wait.is_over():
                time.sleep(POLL_S)

    def _embed(self, prompts: Prompts, priority: int, deadline: Deadline, progress: bool | None,
               request_id: str) -> Rows:
        check_request(priority, request_id)
        self._contact(deadline)
        if len(prompts) == 0:
            return self._no_rows(self.info(timeout=deadline.at_most(CONTROL_TIMEOUT_S).left()))
        job = self._job(prompts, priority, request_id)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        running: dict[Any, range] = {}

        def send_one() -> None:
            for part in itertools.islice(job.unsent_parts(), 1):
                with self._while_open():
                    call = self._methods["Encode"].future(job.request(part), timeout=deadline.left())
                running[call] = part
                call.add_done_callback(ended.put)

        try:
            with progress_bar(job, self._in_flight, progress) as bar:
                for _ in range(min(self._in_flight, job.n_requests)):
                    send_one()
                while running:
                    call = ended.get()
                    part = running.pop(call)
                    if call.code() != grpc.StatusCode.OK:
                        raise job.failure(call, part, deadline) from call
                    job.accept(part, call.result())
                    send_one()
                    bar.update(len(part))
        finally:
            for call in running:  # after a failure, or an interrupt
                call.cancel()
        return job.rows()


class AsyncClient(ClientBase):
    __doc__ = ClientBase.__doc__

    async def embed(self, texts: str | Iterable[str], *, priority: int = 0, timeout: float | None = None,
                    progress: bool | None = None, request_id: str = "") -> Rows:
        """As `Client.embed`. Cancelling the task withdraws the requests."""
        return await self._embed(read_texts(texts), priority, Deadline(timeout), progress, request_id)

    async def embed_tokens(self, prompts: Iterable[TokenIds], *, priority: int = 0, timeout: float | None = None,
                           progress: bool | None = None, request_id: str = "") -> Rows:
        """As `Client.embed_tokens`. Cancelling the task withdraws the requests."""
        return await self._embed(read_token_ids(prompts), priority, Deadline(timeout), progress, request_id)

    async def info(self, *, timeout: float | None = CONTROL_TIMEOUT_S) -> ServerInfo:
        """As `Client.info`."""
        return self._server_info(await self._call("GetReplicaInfo", Deadline(timeout)))

    async def health(self, *, timeout: float | None = CONTROL_TIMEOUT_S) -> Health:
        """As `Client.health`."""
        answer = await self._call("HealthCheck", Deadline(timeout))
        return Health(answer.healthy, answer.message)

    async def abort(self, request_id: str, *, timeout: float | None = CONTROL_TIMEOUT_S) -> bool:
        """As `Client.abort`."""
        check_str("request_id", request_id)
        return bool((await self._call("Abort", Deadline(timeout), request_id=request_id)).success)

    async def close(self) -> None:
        """As `Client.close`."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    def _open(self) -> None:
        self._channel: Any = None  # a channel belongs to a loop, and here may be none yet

    def _method(self, name: str) -> Any:
        self._check_open()
        loop = asyncio.get_running_loop()
        if self._channel is None:
            self._loop = loop
            self._channel = grpc.aio.insecure_channel(self.address, _wire.channel_options(self._retry))
            self._methods = {name: _wire.bind(self._channel, name) for name in _wire.METHODS}
        if loop is not self._loop:
            raise ZerohopError(f"This AsyncClient of {self.address} was first used in another event loop: make one "
                               "for each loop", address=self.address)
        return self._methods[name]

    async def _call(self, method: str, deadline: Deadline, **fields: Any) -> Any:
        call = self._method(method)
        try:
            return await self._answer(call, self._message(method, **fields), deadline)
        except grpc.RpcError as error:
            raise _errors.from_rpc(error, self.address, timeout=deadline.seconds) from error

    async def _answer(self, call: Any, request: Any, deadline: Deadline) -> Any:
        with self._while_open():
            try:
                return await call(request, timeout=deadline.left())
            except asyncio.CancelledError:
                if self._closed:  # not the task was cancelled, but the call, by another task's close
                    raise Cancelled(f"The client of {self.address} was closed", address=self.address) from None
                raise

    async def _contact(self, deadline: Deadline) -> None:
        wait = self._first_contact(deadline)
        while not wait.is_over():
            try:
                wait.saw(await self.info(timeout=wait.seconds_for_one_look()))
            except (Unavailable, DeadlineExceeded) as error:
                wait.failed(error)
            if not wait.is_over():
                await asyncio.sleep(POLL_S)

    async def _embed(self, prompts: Prompts, priority: int, deadline: Deadline, progress: bool | None,
                     request_id: str) -> Rows:
        check_request(priority, request_id)
        await self._contact(deadline)
        if len(prompts) == 0:
            return self._no_rows(await self.info(timeout=deadline.at_most(CONTROL_TIMEOUT_S).left()))
        job = self._job(prompts, priority, request_id)
        encode = self._method("Encode")

        async def work(bar: Any) -> None:
            for part in job.unsent_parts():
                try:
                    response = await self._answer(encode, job.request(part), deadline)
                except grpc.RpcError as error:
                    raise job.failure(error, part, deadline) from error
                job.accept(part, response)
                bar.update(len(part))

        with progress_bar(job, self._in_flight, progress) as bar:
            workers = [asyncio.ensure_future(work(bar)) for _ in range(min(self._in_flight, job.n_requests))]
            try:
                await asyncio.gather(*workers)  # raises the first failure
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return job.rows()

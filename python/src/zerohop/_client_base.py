"""What both clients are, apart from waiting: their settings, what they know of the server, and what they tell of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from . import _wire
from ._errors import BadAnswer, DeadlineExceeded, Unavailable, ZerohopError
from ._job import MAX_PROMPT_BYTES, Deadline, Job, Prompts, Rows, check_int, check_seconds, check_str, cut

# Info, health and abort are answered from memory, so a server that takes longer is not there.
CONTROL_TIMEOUT_S = 30.0
# Between two looks at a server that is starting.
POLL_S = 0.1
# A host has no colon, but for an IPv6 address in brackets.
_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.%\w]+\]):([0-9]{1,5})")


@dataclass(frozen=True)
class Health:
    """True in a condition while at least one replica serves."""

    healthy: bool
    message: str

    def __bool__(self) -> bool:
        return self.healthy


@dataclass(frozen=True)
class ReplicaInfo:
    """One replica. `details` has the server's name=value pairs, as docs/operating.md explains them."""

    model: str
    task: str
    dtype: str
    ready: bool
    details: Mapping[str, str]


@dataclass(frozen=True)
class ServerInfo:
    """What a server serves, and its replicas in order. `dim` and `max_tokens` are 0 until a replica has started."""

    model: str
    dim: int
    max_tokens: int
    n_replicas: int
    n_healthy_replicas: int
    message: str
    replicas: tuple[ReplicaInfo, ...]


def _replica_info(replica: Any) -> ReplicaInfo:
    texts = " ".join((replica.parallel_config, replica.decoding_config, replica.scheduler_config))
    details = {name: value.strip('"') for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', texts)}
    return ReplicaInfo(replica.model_name, replica.task, replica.dtype, replica.ready, details)


def _first_number(replicas: tuple[ReplicaInfo, ...], name: str) -> int:
    numbers = (replica.details.get(name, "") for replica in replicas)
    return next((int(number) for number in numbers if number.isdecimal() and int(number) > 0), 0)


class ClientBase:
    """A client of one server; makes one connection, when it is first needed.

    Args:
        addr: "host:port"; an IPv6 address as "[::1]:port".
        model: name of the model that the server must serve; None asks the server once, at the first use.
        wait_ready: seconds that the first use waits for a server that is starting; None does not wait.
        retry: whether requests that the server could not take (UNAVAILABLE, RESOURCE_EXHAUSTED) are sent again, up
            to four times over about eight seconds.
        batch_prompts: most prompts in one request; a longer input is cut into several.
        batch_bytes: most bytes of prompts in one request, unless one prompt alone has more.
        in_flight: most requests of one call that are at the server at once.

    Closes its connection at the end of a `with` block, or by `close`. May be used for any number of calls at a time;
    not across a fork.

    Raises:
        ValueError, TypeError: for settings that cannot be.
    """

    def __init__(self, addr: str, *, model: str | None = None, wait_ready: float | None = None, retry: bool = True,
                 batch_prompts: int = 256, batch_bytes: int = 8 << 20, in_flight: int = 4) -> None:
        check_str("addr", addr)
        found = _ADDRESS.fullmatch(addr)
        if found is None or not 1 <= int(found.group(1)) <= 65535:
            raise ValueError(f"The address of a server is host:port, not {addr!r}")
        if model is not None:
            check_str("model", model)
        check_seconds("wait_ready", wait_ready)
        check_int("batch_prompts", batch_prompts, 1, 2**31 - 1)
        check_int("batch_bytes", batch_bytes, 1, MAX_PROMPT_BYTES)
        check_int("in_flight", in_flight, 1, 2**31 - 1)
        self.address = addr
        self._model = model
        self._wait_ready = wait_ready
        self._retry = retry
        self._batch_prompts = batch_prompts
        self._batch_bytes = batch_bytes
        self._in_flight = in_flight
        self._closed = False
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise ZerohopError(f"This client of {self.address} is closed", address=self.address)

    @contextlib.contextmanager
    def _while_open(self) -> Iterator[None]:
        """Around the use of a channel, which another thread or task may close meanwhile."""
        self._check_open()
        try:
            yield
        except (ValueError, grpc.aio.UsageError):  # gRPC's words for a channel that is closed
            self._check_open()
            raise

    def _message(self, method: str, **fields: Any) -> Any:
        return _wire.MESSAGES[_wire.METHODS[method][0]](**fields)

    def _server_info(self, answer: Any) -> ServerInfo:
        replicas = tuple(_replica_info(replica) for replica in answer.replica_infos)
        return ServerInfo(model=next((r.model for r in replicas if r.model), ""), dim=_first_number(replicas, "dim"),
                          max_tokens=_first_number(replicas, "max_tokens"), n_replicas=answer.n_replicas,
                          n_healthy_replicas=answer.n_healthy_replicas, message=answer.message, replicas=replicas)

    def _first_contact(self, deadline: Deadline) -> FirstContact:
        return FirstContact(self, deadline)

    def _job(self, prompts: Prompts, priority: int, request_id: str) -> Job:
        assert self._model is not None  # since the first contact
        return Job(prompts, cut(prompts.sizes, self._batch_prompts, self._batch_bytes), address=self.address,
                   model=self._model, priority=priority, request_id=request_id)

    def _no_rows(self, info: ServerInfo) -> Rows:
        if info.dim == 0:
            raise Unavailable(f"The server at {self.address} cannot say yet how many floats an embedding has: "
                              f"{info.message}", address=self.address)
        return np.empty((0, info.dim), np.float32)


class FirstContact:
    """What is learned before the first request: the model's name, and that a replica serves if that is waited for.

    Drive it so: while not is_over(), ask for the ServerInfo with a timeout of seconds_for_one_look(); give the answer
    to saw(), or the failure to failed(), which raise when waiting longer has no point.
    """

    def __init__(self, client: ClientBase, deadline: Deadline) -> None:
        self._client = client
        self._deadline = deadline
        self._patience = None if client._wait_ready is None else Deadline(client._wait_ready)
        self._said = ""  # by the server, or of it, at the last look that learned something

    def is_over(self) -> bool:
        return self._client._model is not None and self._patience is None

    def seconds_for_one_look(self) -> float | None:
        look = self._deadline.at_most(CONTROL_TIMEOUT_S)
        return look.left() if self._patience is None else look.at_most(self._patience.left() or 0).left()

    def saw(self, info: ServerInfo) -> None:
        client = self._client
        if self._patience is not None and info.n_healthy_replicas < 1:
            self._said = info.message
            return self._check_patience()
        if client._model is None:
            if not info.model:
                raise BadAnswer(f"The server at {client.address} does not name its model: give model= to the client",
                                address=client.address)
            client._model = info.model
        self._patience = client._wait_ready = None  # only a start is waited for

    def failed(self, error: ZerohopError) -> None:
        if self._patience is None:
            raise error
        if not self._said or not isinstance(error, DeadlineExceeded):
            self._said = str(error).partition(": ")[2]
        self._check_patience(error)

    def _check_patience(self, cause: ZerohopError | None = None) -> None:
        assert self._patience is not None
        address, said = self._client.address, self._said
        if self._deadline.passed():
            raise DeadlineExceeded(f"The server at {address} was not ready within {self._deadline.seconds:g} s: {said}",
                                   address=address, code=grpc.StatusCode.DEADLINE_EXCEEDED) from cause
        if self._patience.passed():
            raise Unavailable(f"The server at {address} was not ready within {self._patience.seconds:g} s: {said}",
                              address=address, code=grpc.StatusCode.UNAVAILABLE) from cause

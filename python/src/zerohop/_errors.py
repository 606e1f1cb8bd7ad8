"""What a client raises, and how an answer of gRPC becomes one of these."""

from __future__ import annotations

import re
from typing import Any

import grpc


class ZerohopError(Exception):
    """A call that failed; the message is one sentence with the server's address and what it said.

    Attributes:
        address: of the server, as given to the client.
        code: the gRPC status (`grpc.StatusCode`), or None where the call did not end with one.
    """

    def __init__(self, message: str, *, address: str = "", code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.address = address
        self.code = code


class InvalidInput(ZerohopError, ValueError):
    """The input cannot be embedded, and trying again will not help.

    Attributes:
        index: of the prompt at fault in the list that the caller gave, or None if it is not one of them.
    """

    def __init__(self, message: str, *, address: str = "", code: grpc.StatusCode | None = None,
                 index: int | None = None) -> None:
        super().__init__(message, address=address, code=code)
        self.index = index


class WrongModel(ZerohopError):
    """The server serves another model than the one that was asked for."""


class Overloaded(ZerohopError):
    """The server has too much to do, also after retries (RESOURCE_EXHAUSTED)."""


class Unavailable(ZerohopError):
    """Nobody listens, no replica serves, or the work failed on every replica, also after retries (UNAVAILABLE).

    Attributes:
        index: of the prompt that an engine failed with, in the list that the caller gave; None where it is not one prompt.
    """

    def __init__(self, message: str, *, address: str = "", code: grpc.StatusCode | None = None,
                 index: int | None = None) -> None:
        super().__init__(message, address=address, code=code)
        self.index = index


class DeadlineExceeded(ZerohopError, TimeoutError):
    """The time that the caller gave is over."""


class Cancelled(ZerohopError):
    """The request was withdrawn: by `abort`, or because the client was closed."""


class BadAnswer(ZerohopError):
    """The server answered, but not what the contract says: something else listens there, or it is broken."""


_PROMPT = re.compile(r"Prompt (\d+): (.*)", re.DOTALL)
_FAILED_PROMPT = re.compile(r"(Replica failure: .*?the last: prompt )(\d+)(: .*)", re.DOTALL)


def from_rpc(error: Any, address: str, *, timeout: float | None = None, first_prompt: int = 0) -> ZerohopError:
    """The exception for an RPC that failed.

    Args:
        error: a grpc.RpcError with code() and details().
        address: of the server.
        timeout: seconds that the caller gave.
        first_prompt: index in the caller's list of the request's prompt 0.
    """
    code, said = error.code(), (error.details() or "it gave no reason").strip()
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        found = _PROMPT.fullmatch(said)
        if found is None:
            return InvalidInput(f"The server at {address} refused the request: {said}", address=address, code=code)
        index = first_prompt + int(found.group(1))
        return InvalidInput(f"The server at {address} refused prompt {index}: {found.group(2)}", address=address,
                            code=code, index=index)
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded(f"The server at {address} is overloaded: {said}", address=address, code=code)
    if code == grpc.StatusCode.UNAVAILABLE:
        return _unavailable(said, address, first_prompt)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        within = "in time" if timeout is None else f"within {timeout:g} s"
        return DeadlineExceeded(f"The server at {address} did not answer {within}: {said}", address=address, code=code)
    if code == grpc.StatusCode.CANCELLED:
        return Cancelled(f"The request to {address} was withdrawn: {said}", address=address, code=code)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return BadAnswer(f"What listens at {address} is not an embedding server: {said}", address=address, code=code)
    return ZerohopError(f"The server at {address} failed with {code.name}: {said}", address=address, code=code)


def _unavailable(said: str, address: str, first_prompt: int) -> Unavailable:
    code = grpc.StatusCode.UNAVAILABLE
    if not said.startswith("Replica failure: "):
        return Unavailable(f"The server at {address} is not available: {said}", address=address, code=code)
    found = _FAILED_PROMPT.fullmatch(said)
    if found is None:
        return Unavailable(f"The server at {address} could not embed the prompts: {said}", address=address, code=code)
    index = first_prompt + int(found.group(2))
    return Unavailable(f"The server at {address} could not embed prompt {index}: {found.group(1)}{index}{found.group(3)}",
                       address=address, code=code, index=index)


def from_error_field(said: str, address: str) -> ZerohopError:
    """The exception for an EncodeResponse whose `error` is set."""
    if said.startswith("Expected model name "):
        return WrongModel(f"The server at {address} serves another model: {said}", address=address)
    return ZerohopError(f"The server at {address} did not embed the prompts: {said}", address=address)

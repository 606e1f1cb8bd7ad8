"""Everything about an embedding job but the waiting: reading input, cutting it into requests, putting answers together.

Both clients drive a Job; neither knows how requests are cut or answers checked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ._errors import BadAnswer, InvalidInput, ZerohopError, from_error_field, from_rpc
from ._wire import MAX_MESSAGE_BYTES, MESSAGES

TokenIds = Union[Sequence[int], npt.NDArray[np.integer[Any]]]
Rows = npt.NDArray[np.float32]

# A prompt's tag and length on the wire.
_FRAME_BYTES = 6
# What a request may hold: room is left for its id and the model's name.
MAX_PROMPT_BYTES = MAX_MESSAGE_BYTES - (1 << 20)
# gRPC takes what is much longer, and also infinity, for no time at all.
MAX_SECONDS = 10**9


def check_int(name: str, value: Any, least: int, most: int) -> None:
    """Raises what a caller's argument of this name deserves, as the other checks do: TypeError or ValueError."""
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int, not a {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {value}")


def check_seconds(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number of seconds or None, not a {type(value).__name__}")
    if not 0 <= value <= MAX_SECONDS:  # NaN is not, either
        raise ValueError(f"{name} must be from 0 to {MAX_SECONDS} seconds or None, not {value}")


def check_str(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not a {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} cannot be written as UTF-8: {error.reason} at character {error.start}") from None


def check_request(priority: Any, request_id: Any) -> None:
    check_int("priority", priority, -2**31, 2**31 - 1)
    check_str("request_id", request_id)


class Deadline:
    """The end of the caller's time. None is for ever."""

    def __init__(self, seconds: float | None) -> None:
        check_seconds("timeout", seconds)
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds; 0 when it has passed, which gRPC answers with DEADLINE_EXCEEDED."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def passed(self) -> bool:
        return self.left() == 0

    def at_most(self, seconds: float) -> Deadline:
        """The earlier of this and that many seconds from now."""
        left = self.left()
        return Deadline(seconds if left is None else min(left, seconds))


@dataclass(frozen=True)
class Prompts:
    """A caller's input, checked: `values` go into the field `field` of a request."""

    field: str
    values: Sequence[str | bytes]
    sizes: Sequence[int]  # in bytes on the wire

    def __len__(self) -> int:
        return len(self.values)


def read_texts(texts: str | Iterable[str]) -> Prompts:
    """Raises InvalidInput for what is no text, and TypeError for what cannot hold texts."""
    values = [texts] if isinstance(texts, str) else list(_iterate("texts", texts))
    return Prompts("prompts", values, [_size_of_text(i, text) for i, text in enumerate(values)])


def _iterate(name: str, values: Iterable[Any]) -> Iterator[Any]:
    try:
        return iter(values)
    except TypeError:
        raise TypeError(f"{name} must be an iterable, not a {type(values).__name__}") from None


def _size_of_text(index: int, text: Any) -> int:
    if not isinstance(text, str):
        raise InvalidInput(f"Prompt {index} is a {type(text).__name__}, not a str", index=index)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"Prompt {index} cannot be written as UTF-8: {error.reason} at character {error.start}",
                           index=index) from None
    return _checked_size(index, size)


def read_token_ids(prompts: Iterable[TokenIds]) -> Prompts:
    """Raises InvalidInput for what is no sequence of int32 ids, and TypeError for what cannot hold prompts."""
    values = [_token_blob(i, ids) for i, ids in enumerate(_iterate("prompts", prompts))]
    return Prompts("token_id_bytes_i32", values, [_checked_size(i, len(blob)) for i, blob in enumerate(values)])


def _token_blob(index: int, ids: Any) -> bytes:
    if isinstance(ids, (int, np.integer)):
        raise InvalidInput(f"Prompt {index} is a single integer, not a sequence of token ids: give a list of prompts, "
                           "each a list of ids", index=index)
    if isinstance(ids, (str, bytes)):
        raise InvalidInput(f"Prompt {index} is a {type(ids).__name__}, not a sequence of token ids", index=index)
    try:
        array = np.asarray(ids)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"Prompt {index} is not a sequence of token ids: {error}", index=index) from None
    if array.size == 0:
        return b""  # the server says how many it takes
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidInput(f"Prompt {index} is not a sequence of integers of 32 bits: it makes an array of "
                           f"{array.dtype} of shape {array.shape}", index=index)
    cast = array.astype("<i4")
    if array.dtype != cast.dtype and not np.array_equal(cast, array):
        at = int(np.flatnonzero(cast != array)[0])
        raise InvalidInput(f"Prompt {index} has token id {array[at]} at position {at}, which does not fit into 32 bits",
                           index=index)
    return cast.tobytes()


def _checked_size(index: int, size: int) -> int:
    if size + _FRAME_BYTES > MAX_PROMPT_BYTES:
        raise InvalidInput(f"Prompt {index} has {size} bytes, and a request may hold {MAX_PROMPT_BYTES}", index=index)
    return size


def cut(sizes: Sequence[int], most_prompts: int, most_bytes: int) -> list[range]:
    """Cuts prompts into requests of at most `most_prompts`, and `most_bytes` unless one prompt alone has more."""
    parts = []
    start = in_part = 0
    for i, size in enumerate(sizes):
        size += _FRAME_BYTES
        if i > start and (i - start == most_prompts or in_part + size > most_bytes):
            parts.append(range(start, i))
            start, in_part = i, 0
        in_part += size
    if len(sizes) > start:
        parts.append(range(start, len(sizes)))
    return parts


class Job:
    """One call of `embed`: its requests, and the array that their answers fill, in any order."""

    def __init__(self, prompts: Prompts, parts: Sequence[range], *, address: str, model: str, priority: int,
                 request_id: str) -> None:
        self._prompts = prompts
        self._address = address
        self._fields = {"model_name": model, "priority": priority, "request_id": request_id}
        self._rows: Rows | None = None
        self._unsent = iter(parts)
        self.n_prompts = len(prompts)
        self.n_requests = len(parts)

    def unsent_parts(self) -> Iterator[range]:
        """Every part comes out once, whoever iterates."""
        return self._unsent

    def request(self, part: range) -> Any:
        """The EncodeRequest of one part; made when it is sent, so that a long input is not held twice."""
        request = MESSAGES["EncodeRequest"](n_prompts=len(part), **self._fields)
        getattr(request, self._prompts.field).extend(self._prompts.values[part.start:part.stop])
        return request

    def accept(self, part: range, response: Any) -> None:
        """Takes the EncodeResponse of one part. Raises what it says, or BadAnswer if it is not an answer to it."""
        if response.error:
            raise from_error_field(response.error, self._address)
        dim, blobs = response.embedding_dim, response.embedding_bytes_fp32
        if len(blobs) != len(part):
            raise self._bad(f"{len(blobs)} embeddings for {len(part)} prompts")
        if dim <= 0:
            raise self._bad(f"embeddings of dimension {dim}")
        for i, blob in enumerate(blobs, part.start):
            if len(blob) != 4 * dim:
                raise self._bad(f"{len(blob)} bytes for prompt {i}, where dimension {dim} needs {4 * dim}")
        if self._rows is None:
            self._rows = np.empty((len(self._prompts), dim), np.float32)
        if self._rows.shape[1] != dim:
            raise self._bad(f"embeddings of dimension {dim} after others of {self._rows.shape[1]}")
        self._rows[part.start:part.stop] = np.frombuffer(b"".join(blobs), "<f4").reshape(-1, dim)

    def failure(self, error: Any, part: range, deadline: Deadline) -> ZerohopError:
        """The exception for the request of one part that failed with this grpc.RpcError."""
        return from_rpc(error, self._address, timeout=deadline.seconds, first_prompt=part.start)

    def rows(self) -> Rows:
        """The whole array, once every part has been accepted."""
        assert self._rows is not None
        return self._rows

    def _bad(self, what: str) -> BadAnswer:
        return BadAnswer(f"The server at {self._address} gave {what}", address=self._address)


def progress_bar(job: Job, at_once: int, progress: bool | None) -> Any:
    """A tqdm bar over prompts. If `progress` is None: for an input of more requests than go at once, on a terminal."""
    if progress is None:
        progress = job.n_requests > at_once and sys.stderr is not None and sys.stderr.isatty()
    return tqdm(total=job.n_prompts, unit="prompt", disable=not progress)

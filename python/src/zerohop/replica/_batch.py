"""The prompts that an engine gets, and the rows that it fills: views over shared memory, nothing is copied."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from zerohop._shim import DeviceBlock, NativeBatch


def one_line(text: str) -> str:
    """Fit for a log and a status message: no line breaks, no halves of characters."""
    return " ".join(text.split()).encode(errors="replace").decode()


class InvalidPrompt(Exception):
    """The caller's mistake: prompt `index` of the batch is not acceptable, because of `reason`.

    The caller gets INVALID_ARGUMENT, `Prompt I: reason`; nothing is retried.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = max(0, operator.index(index))
        self.reason = one_line(str(reason)) or "the engine does not accept it"

    def __str__(self) -> str:
        return f"prompt {self.index} of the batch: {self.reason}"


class Rows(Sequence[npt.NDArray[np.float32]]):
    """The n rows to fill, each a writable float32 view (dim,) over the response region.

    `rows[i][:] = vector`, `rows[i] = vector` or `rows[:] = matrix`, of shape (n, dim). Rows of one batch need not lie
    side by side, so there is no array of them all. Also good as `out=rows[i]`.
    """

    def __init__(self, native: NativeBatch, indices: Sequence[int]) -> None:
        self._native = native
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, dim)"""
        return len(self), self[0].shape[0]

    @overload
    def __getitem__(self, at: int) -> npt.NDArray[np.float32]: ...
    @overload
    def __getitem__(self, at: slice) -> list[npt.NDArray[np.float32]]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [self._native.row(i) for i in self._indices[at]]
        return self._native.row(self._indices[at])

    def __setitem__(self, at: int | slice, values: npt.ArrayLike) -> None:
        array = np.asarray(values, dtype=np.float32)
        if not isinstance(at, slice):
            _check_shape(array.shape, (self.shape[1],))
            self[at][:] = array
            return
        wanted = self._indices[at]
        _check_shape(array.shape, (len(wanted), self.shape[1]))
        if wanted == range(len(self._native)):
            self._native.fill(np.ascontiguousarray(array))
        else:
            for i, row in zip(wanted, array):
                self._native.row(i)[:] = row


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise ValueError(f"the rows take {expected} floats, got {shape}")


def _copy_on_device(native: NativeBatch, rows: Any, blocks: list[DeviceBlock]) -> None:
    torch: Any = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is None or not isinstance(rows, torch.Tensor):
        raise TypeError(f"the rows are on a GPU: expected a tensor of torch's, got {type(rows).__name__}; whatever else "
                        "can write there finds them in batch.device_blocks")
    _check_shape(tuple(rows.shape), (len(native), native.dim))
    _, ordinal = blocks[0].__dlpack_device__()
    current = torch.cuda.current_stream(ordinal).cuda_stream
    if current != native.stream:  # the copy could be late, and nobody would see it
        raise ValueError(f"the rows are filled on the stream {current:#x}, and info().stream is {native.stream:#x}")
    for block in blocks:
        torch.from_dlpack(block).copy_(rows[block.prompts].detach())


class Batch:
    """n prompts, all of them texts or all of them token ids, and n rows to fill.

    Everything here is for `embed` alone. The answer is sent when `embed` has ended and nobody holds a view of the
    batch any more, for the memory is then used for other requests; so do not keep views.
    """

    def __init__(self, native: NativeBatch, number: str, only: int | None = None) -> None:
        self._native = native
        self._indices: Sequence[int] = range(len(native)) if only is None else [only]
        self.id: str = number
        """Unique within this process; for engines that want a name for their requests."""

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def holds_token_ids(self) -> bool:
        return self._native.holds_token_ids

    @property
    def texts(self) -> list[str]:
        """The n texts. InvalidPrompt where the caller sent token ids."""
        self._expect(token_ids=False)
        return [self._native.text(i) for i in self._indices]

    @property
    def text_bytes(self) -> list[npt.NDArray[np.uint8]]:
        """The n texts as UTF-8, read-only views over the request region. InvalidPrompt where there are token ids."""
        self._expect(token_ids=False)
        return [self._native.text_bytes(i) for i in self._indices]

    @property
    def token_ids(self) -> list[npt.NDArray[np.int32]]:
        """n arrays of ids, read-only int32 views over the request region. InvalidPrompt where there are texts."""
        self._expect(token_ids=True)
        return [self._native.token_ids(i) for i in self._indices]

    @property
    def rows(self) -> Rows:
        """ValueError on use where info() names a device."""
        return Rows(self._native, self._indices)

    @property
    def device_blocks(self) -> list[DeviceBlock]:
        """All rows, where info() names a device: matrices in its memory, each of consecutive prompts. ValueError elsewhere.

        Rows of several submissions run together, and only those of one are sure to lie side by side. A block has
        `__dlpack__`, `__cuda_array_interface__`, `shape` (n, dim), all float32, and `prompts`, the slice of the batch
        that is its. Write to it by work on info().stream, which may be under way when `embed` ends. Nobody can look
        whether every row was written: what was not is some earlier memory.
        """
        return self._native.device_blocks()

    def fill(self, rows: Any) -> None:
        """All rows at once, of shape (n, dim): an array where they are on the host, where info() names a device a tensor
        of torch's, of any type; torch's current stream must be info().stream.
        """
        if self._native.on_device:
            _copy_on_device(self._native, rows, self.device_blocks)
        else:
            self.rows[:] = rows

    @property
    def priority(self) -> int:
        """Of the request, lower first. 0 where the shim makes the batches: they are in order already."""
        return self._native.priority

    @property
    def deadline(self) -> float | None:
        """When nobody waits any more, in seconds of time.monotonic(). None: no deadline, or the shim makes the batches."""
        return self._native.deadline

    def _expect(self, token_ids: bool) -> None:
        if self._native.holds_token_ids != token_ids:
            kinds = ("token ids", "texts") if token_ids else ("texts", "token ids")
            raise InvalidPrompt(0, f"this engine takes {kinds[0]}, got {kinds[1]}")

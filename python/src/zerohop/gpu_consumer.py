"""Embeddings that stay on the GPU, for a process on the server's host."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from types import TracebackType

from zerohop._consumer import NativeConsumer, NativeRows

from ._errors import BadAnswer, Cancelled, DeadlineExceeded, InvalidInput, Overloaded, Unavailable, ZerohopError
from ._job import check_seconds, check_str

# By the name of the status; anything else is a ZerohopError.
_ERRORS: dict[str, type[ZerohopError]] = {
    "INVALID_ARGUMENT": InvalidInput,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Cancelled,
    "INTERNAL": BadAnswer,
}
_PROMPT = re.compile(r"(?:Prompt |Replica failure: .*?the last: prompt )(\d+): ", re.DOTALL)


class GpuRows:
    """Embeddings on the GPU: float32, shape (n, dim), in the order of the texts; leased from the server.

    Whatever takes DLPack or the CUDA array interface reads them in place: `torch.from_dlpack(rows)`,
    `cupy.asarray(rows)`. The lease is given back when the rows have been released and nothing made of them by DLPack is
    left; the server then writes other rows there, so what reads them must be done on the device by then. An array made
    by the CUDA array interface alone does not hold the lease: keep the rows until it is done. Giving it back waits for a
    server that does not read, once the socket is full.

    Use as a context manager, or leave it to the garbage collector.
    """

    def __init__(self, native: NativeRows) -> None:
        self._native = native

    @property
    def shape(self) -> tuple[int, int]:
        """(n, dim). Like all that follows a ValueError once released."""
        return self._native.shape

    @property
    def offset(self) -> int:
        """Of the first row in this process's arena, in bytes."""
        return self._native.offset

    @property
    def device(self) -> str:
        """The UUID of the GPU."""
        return self._native.device

    def __len__(self) -> int:
        return self.shape[0]

    def __dlpack__(self, **wishes: object) -> object:
        return self._native.dlpack(**wishes)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._native.dlpack_device()

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        return self._native.array_interface()

    def release(self) -> None:
        """Gives up this hold of the lease; more than once is no error."""
        self._native.release()

    def __enter__(self) -> GpuRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class GpuConsumer:
    """A client on the same host and GPU as `zerohop serve --consumer-socket PATH`.

    Any thread may call embed, several at once. The server has an arena of its own for each consumer
    (`--lease-arena-mib`); rows that are kept fill it, and then further requests are refused.

    Args:
        path: of the server's consumer socket.
        device: ordinal in this process, or UUID, of the GPU, which must be the server's.
        timeout: seconds that the server gets to make the arena; None: no end.

    Not across a fork.

    Raises:
        Unavailable: no server listens there.
        DeadlineExceeded: it has made no arena in time.
        ZerohopError: it cannot serve this process; one sentence says why.
        ValueError, TypeError: for arguments that cannot be.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | int = "0", timeout: float | None = 30.0) -> None:
        self._path = os.fspath(path)
        check_str("path", self._path)
        check_seconds("timeout", timeout)
        self._native = NativeConsumer()
        code, message = self._native.connect(self._path, str(device), timeout)
        if code:
            raise self._error(code, message)

    def embed(self, texts: Iterable[str], timeout: float | None = None) -> GpuRows:
        """Embeds texts, at least one, and waits for the rows.

        Args:
            texts: what to embed; together at most some 190 KiB as JSON.
            timeout: seconds until the answer; None: the server's own --forward-timeout, and no end where it stands still.

        Raises:
            InvalidInput: the texts cannot be embedded; with the index of the one at fault, where it is one.
            Overloaded: leases fill this process's arena, or the server has too much to do.
            DeadlineExceeded: the timeout is over.
            Unavailable: the server or its GPU is lost; the same texts may go to its gRPC port.
            Cancelled: the consumer is closed.
            ValueError, TypeError: for a timeout that cannot be; nothing is sent.
        """
        if isinstance(texts, str):
            raise InvalidInput("expected a sequence of texts, got one str", address=self._path)
        check_seconds("timeout", timeout)
        values = list(texts)
        for i, text in enumerate(values):
            self._check_text(i, text)
        rows, (code, message) = self._native.embed(values, timeout)
        if rows is None:
            raise self._error(code, message)
        return GpuRows(rows)

    def close(self) -> None:
        """No more requests; rows that are held stay. More than once is no error."""
        self._native.close()

    def __enter__(self) -> GpuConsumer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_text(self, index: int, text: object) -> None:
        if not isinstance(text, str):
            raise InvalidInput(f"text {index} is of type {type(text).__name__}, expected str", address=self._path, index=index)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"text {index} is no Unicode: {error.reason}", address=self._path, index=index) from error

    def _error(self, code: str, message: str) -> ZerohopError:
        kind, said = _ERRORS.get(code, ZerohopError), f"The server at {self._path}: {message}"
        found = _PROMPT.match(message)
        if found is not None and issubclass(kind, (InvalidInput, Unavailable)):
            return kind(said, address=self._path, index=int(found.group(1)))
        return kind(said, address=self._path)

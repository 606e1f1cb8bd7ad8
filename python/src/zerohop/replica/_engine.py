"""What an engine is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, fields
from typing import Any, Protocol

from zerohop.replica._batch import Batch
from zerohop.replica._options import Options

# Of a text, on average: what a batch is planned for where the engine says nothing.
_USUAL_TOKENS = 128
_MOST_FLOATS = 2**19 - 1  # kMaxDim of shm/row.h


@dataclass(frozen=True)
class Info:
    """What a loaded engine says of itself.

    dim            floats of an embedding
    max_tokens     token ids that a prompt may have; more are refused. Texts beyond it are the engine's to truncate
    vocabulary     valid token ids are 0 .. vocabulary-1; 0: ids are not checked
    batch_prompts  most prompts that one call of `embed` gets, where the shim makes the batches; a submission of an
                   async engine has at most twice as many. The broker gives a replica about four times as many ahead
    batch_tokens   most tokens, padded and estimated, in such a call; 0: batch_prompts times 128, or times
                   max_tokens where that is less. Here, too, about four times as much is ahead
    dtype          how it computes; shown by GetReplicaInfo
    engine         its name and version; shown by GetReplicaInfo. Empty: the name of its class
    device         the GPU on which a plain `embed` leaves its rows: an ordinal, "cuda:1" or a UUID. None: they are on the
                   host. An engine that names one has Batch.device_blocks instead of Batch.rows
    stream         then the CUstream, as an integer, on which embed's writes to rows are: work on it is waited for before
                   they are read. torch.cuda.Stream().cuda_stream, say; 0 is CUDA's default stream. It stays until `close`
    """

    dim: int
    max_tokens: int = 512
    vocabulary: int = 0
    batch_prompts: int = 32
    batch_tokens: int = 0
    dtype: str = "float32"
    engine: str = ""
    device: str | int | None = None
    stream: int | None = None


class Engine(Protocol):
    """The three methods of an engine. Where `embed` is `async def`, the others may be so, too.

    With a plain `embed`, all calls come on the main thread, one at a time; the shim puts prompts of like length into
    one batch, from as many requests as there are. With `async def embed`, each submission comes as it arrives, several
    at once on one event loop, and the engine makes its own batches; when nobody waits for it any more (abort, cancel,
    deadline), its task is cancelled.
    """

    def load(self, options: Options) -> None | Awaitable[None]:
        """Loads and warms the model. An exception ends the start, with its message as the reason."""

    def info(self) -> Info | dict[str, Any] | Awaitable[Info | dict[str, Any]]:
        """After load: what it serves."""
        ...

    def embed(self, batch: Batch) -> Any:
        """Fills `batch.rows`, or returns an array (n, dim) that is copied into them. Where info() names a device, it fills
        `batch.device_blocks`, or returns a tensor of torch's.

        InvalidPrompt is the caller's mistake; any other exception fails the prompts of this batch, which are tried
        one by one, and on other replicas.
        """


# Also looked for:
#   check_health(self)  async engines; called every second after load; an exception ends the replica, which is replaced
#   close(self)         when the broker has drained a replica that it started, before the process ends


def checked_info(said: Any, engine: object) -> Info:
    """The engine's info with all defaults filled in. TypeError or ValueError say what is wrong with it."""
    if isinstance(said, dict):
        unknown = set(said) - {field.name for field in fields(Info)}
        if unknown:
            raise ValueError(f"info() has an unknown key {sorted(unknown)[0]!r}; the keys are those of zerohop.replica.Info")
        if "dim" not in said:
            raise ValueError("info() does not say dim")
        said = Info(**said)
    if not isinstance(said, Info):
        raise TypeError(f"info() returned {type(said).__name__}, expected zerohop.replica.Info or a dict")
    for name, least in (("dim", 1), ("max_tokens", 1), ("vocabulary", 0), ("batch_prompts", 1), ("batch_tokens", 0)):
        value = getattr(said, name)
        if isinstance(value, bool) or not hasattr(value, "__index__") or not least <= value < 2**32:
            raise ValueError(f"info().{name} is {value!r}, expected an integer of at least {least}")
    if said.dim > _MOST_FLOATS:
        raise ValueError(f"info().dim is {said.dim}, expected at most {_MOST_FLOATS}")
    device, stream = _checked_device(said)
    return Info(
        dim=int(said.dim),
        max_tokens=int(said.max_tokens),
        vocabulary=int(said.vocabulary),
        batch_prompts=int(said.batch_prompts),
        batch_tokens=int(said.batch_tokens) or int(said.batch_prompts) * min(int(said.max_tokens), _USUAL_TOKENS),
        dtype=str(said.dtype),
        engine=str(said.engine) or type(engine).__name__,
        device=device,
        stream=stream,
    )


def _checked_device(said: Info) -> tuple[str | None, int | None]:
    if said.device is None:
        if said.stream is not None:
            raise ValueError("info() says stream and no device: rows on the host need none")
        return None, None
    if isinstance(said.device, bool) or not str(said.device):
        raise ValueError(f"info().device is {said.device!r}, expected an ordinal, a UUID or None")
    stream = said.stream
    if isinstance(stream, bool) or stream is None or not hasattr(stream, "__index__") or not 0 <= stream < 2**64:
        raise ValueError(f"info().stream is {stream!r}, expected the CUstream of embed's work as an integer, as info() says device")
    return str(said.device), int(stream)

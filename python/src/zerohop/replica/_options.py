"""What the broker, or a supervisor, says to a replica on its command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# Taken by the shim and the same for every engine; everything else is the engine's.
_KNOWN = ("engine", "model", "dtype", "threads", "cpu", "connect")


@dataclass
class Options:
    """engine   as --engine gave it
    model    a folder, or the name that --model gave where no folder of that name was found
    dtype    as --dtype gave it: "auto" where nothing was said
    threads  compute threads that this replica should use
    cpu      the CPU that the main thread is pinned to, by a supervisor's --cpu (engines with a plain `embed`); None: not pinned
    connect  path of the broker's control socket; empty: the broker has started us
    flags    what nobody has taken yet, in order. Those that are left after load() end the start
    """

    engine: str = ""
    model: str = ""
    dtype: str = "auto"
    threads: int = 1
    cpu: int | None = None
    connect: str = ""
    flags: list[str] = field(default_factory=list)

    def take(self, name: str, default: Any = None, type: Callable[[str], Any] = str) -> Any:
        """The value of `--name VALUE` or `--name=VALUE`, which is no longer in `flags`; the last one wins.

        ValueError where the value is missing, or not of the type.
        """
        said: str | None = None
        left: list[str] = []
        words = iter(self.flags)
        for word in words:
            if word == name:
                said = next(words, None)
                if said is None:
                    raise ValueError(f"{name} needs a value")
            elif word.startswith(name + "="):
                said = word[len(name) + 1 :]
            else:
                left.append(word)
        self.flags[:] = left
        if said is None:
            return default
        try:
            return type(said)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: expected {getattr(type, '__name__', 'another value')}, got {said!r}") from None

    def take_switch(self, name: str) -> bool:
        """Whether `--name` was said; it is no longer in `flags`."""
        said = name in self.flags
        self.flags[:] = [word for word in self.flags if word != name]
        return said

    def check_all_taken(self) -> None:
        """ValueError names the first flag that nobody has taken. Done after load; by an engine, before a long one."""
        if self.flags:
            raise ValueError(f"nobody takes {self.flags[0]}")


def parse(words: Sequence[str]) -> Options:
    """ValueError says which flag has a value that it cannot have."""
    options = Options(flags=list(words))
    for name in _KNOWN:
        default = getattr(options, name)
        whole_number = name in ("threads", "cpu")
        setattr(options, name, options.take("--" + name, default, int if whole_number else str))
    if options.cpu is not None and options.cpu < 0:
        options.cpu = None
    return options

"""serve: the main program of a replica in Python."""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import inspect
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, Optional

from zerohop import _shim
from zerohop.replica._options import Options, parse
from zerohop.replica._runners import BatchRunner, TaskRunner, in_words, show

_NO_CPU = -1


def serve(engine: Any, words: Optional[Sequence[str]] = None) -> NoReturn:
    """Serves `engine` (see Engine) as one replica of a broker, and ends the process when the broker says so.

    engine  an object with load, info and embed
    words   the command line; by default sys.argv

    A process serves once. It must be called in the main thread.
    """
    prepare_process()
    try:
        options = parse(sys.argv[1:] if words is None else words)
        _check_engine(engine)
    except (TypeError, ValueError) as error:
        leave(_shim.refuse(str(error)))
    if options.connect:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the loop is not Python, and would not hear of it
    status = _serve_tasks(engine, options) if inspect.iscoroutinefunction(engine.embed) else _serve_batches(engine, options)
    leave(status)


def prepare_process() -> None:
    """What it prints reaches the broker's log line by line, also when it dies."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    faulthandler.enable()


def leave(status: int) -> NoReturn:
    """At once: threads and atexit functions of an engine would keep a drained replica alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _check_engine(engine: Any) -> None:
    for method in ("load", "info", "embed"):
        if not callable(getattr(engine, method, None)):
            raise TypeError(f"{type(engine).__name__} has no method {method}: an engine has load, info and embed")


def _serve_batches(engine: Any, options: Options) -> int:
    cpu = _NO_CPU if options.cpu is None else options.cpu
    status = _shim.serve(BatchRunner(engine, options), False, options.connect, cpu)
    _close(engine)
    return status


def _serve_tasks(engine: Any, options: Options) -> int:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        runner = TaskRunner(engine, options, loop)
        health = loop.create_task(runner.watch_health())
        # The loop computes, or has others compute: it is not pinned.
        status = await loop.run_in_executor(
            None, functools.partial(_shim.serve, runner, True, options.connect, _NO_CPU)
        )
        health.cancel()
        return status

    status = asyncio.run(main())
    _close(engine)
    return status


def _close(engine: Any) -> None:
    try:
        close = getattr(engine, "close", None)
        if close is not None:
            close()
    except Exception as error:
        show(error)
        print(f"the engine could not be closed: {in_words(error)}", file=sys.stderr)

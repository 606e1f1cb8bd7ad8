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
from typing import Any, NoReturn

from zerohop import _shim
from zerohop.replica._options import Options, parse
from zerohop.replica._runners import BatchRunner, TaskRunner

_NO_CPU = -1


def serve(engine: Any, words: Sequence[str] | None = None) -> NoReturn:
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
    elif not _shim.is_spawned():
        print(_shim.NOT_SPAWNED, file=sys.stderr)
        leave(2)
    else:
        _let_forks_hear_signals()
    if inspect.iscoroutinefunction(engine.embed):
        leave(asyncio.run(_serve_tasks(engine, options)))
    leave(_shim.serve(BatchRunner(engine, options), False, options.connect, _NO_CPU if options.cpu is None else options.cpu))


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


def _let_forks_hear_signals() -> None:
    """The shim pays no heed to these signals; a process that an engine forks is to, from its first moment on."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def obey() -> None:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signals),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals),
        after_in_child=obey,
    )


def _check_engine(engine: Any) -> None:
    if isinstance(engine, type):
        raise TypeError(f"serve takes an engine, got the class {engine.__name__}: expected serve({engine.__name__}())")
    for method in ("load", "info", "embed"):
        if not callable(getattr(engine, method, None)):
            raise TypeError(f"{type(engine).__name__} has no method {method}: an engine has load, info and embed")
    if inspect.iscoroutinefunction(engine.embed):
        return
    for method in ("load", "info"):
        if inspect.iscoroutinefunction(getattr(engine, method)):
            raise TypeError(f"{type(engine).__name__}.{method} is `async def` and embed is not: make embed so, too")


async def _serve_tasks(engine: Any, options: Options) -> int:
    loop = asyncio.get_running_loop()
    serve_lanes = functools.partial(_shim.serve, TaskRunner(engine, options, loop), True, options.connect, _NO_CPU)
    status = await loop.run_in_executor(None, serve_lanes)
    leave(status)  # before the loop looks after tasks that nobody waits for

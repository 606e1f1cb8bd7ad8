"""Runners: what stands between the shim's loop and an engine. No exception leaves them."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import os
import sys
import time
import traceback
from collections.abc import Coroutine
from typing import Any, TypeVar

from zerohop import _shim
from zerohop._shim import NativeBatch
from zerohop.replica._batch import Batch, InvalidPrompt, one_line
from zerohop.replica._engine import Info, checked_info
from zerohop.replica._options import Options

Result = TypeVar("Result")

_BETWEEN_HEALTH_CHECKS_S = 1.0
_BETWEEN_TRACEBACKS_S = 1.0
_BETWEEN_LOOKS_AT_VIEWS_S = 0.001
_shown_at = -_BETWEEN_TRACEBACKS_S


def in_words(error: BaseException) -> str:
    """One line, type and message, whatever the message is made of."""
    try:
        message = one_line(str(error))
    except BaseException:
        message = "(an exception that cannot be shown)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def show(error: BaseException) -> None:
    """For the broker's log: with its traceback, unless there was one just now."""
    global _shown_at
    if time.monotonic() - _shown_at < _BETWEEN_TRACEBACKS_S:
        print(in_words(error), file=sys.stderr, flush=True)
        return
    _shown_at = time.monotonic()
    try:
        traceback.print_exception(type(error), error, error.__traceback__)
    except BaseException:
        print(in_words(error), file=sys.stderr)
    sys.stderr.flush()


def _info_of(engine: Any, said: Any, options: Options) -> Info:
    """What a loaded engine says of itself, if that can be, and if it has taken all its flags."""
    info = checked_info(said, engine)
    options.check_all_taken()
    return info


def _why_not_loaded(error: BaseException) -> str:
    """A ValueError is a sentence about flags, or about what info() says; anything else is shown whole."""
    if isinstance(error, ValueError):
        return in_words(error).removeprefix(f"{type(error).__name__}: ")
    show(error)
    return in_words(error)


def _take_result(batch: Batch, result: Any) -> None:
    """Copies what embed returned, if anything, and looks whether every row was filled."""
    if inspect.isawaitable(result):
        raise TypeError("embed returned something to be awaited: declare it with `async def`")
    if result is not None:
        batch.fill(result)
    unfilled = batch._native.first_unfilled()
    if unfilled is not None and unfilled in batch._indices:
        row = "its row" if len(batch) == 1 else f"row {batch._indices.index(unfilled)} of {len(batch)}"
        raise RuntimeError(f"embed did not fill {row}")


class BatchRunner:
    """For an engine whose embed is a plain function. Everything happens on the thread that serves."""

    def __init__(self, engine: Any, options: Options) -> None:
        self._engine, self._options = engine, options
        self._numbers = itertools.count()

    def load(self) -> tuple[Info | None, str]:
        try:
            self._engine.load(self._options)
            return _info_of(self._engine, self._engine.info(), self._options), ""
        except BaseException as error:  # SystemExit, too: the broker is to know why
            return None, _why_not_loaded(error)

    def run(self, native: NativeBatch) -> tuple[str, bool]:
        """What went wrong, empty if nothing did; and whether it is the caller's mistake."""
        ended = self._embed(Batch(native, str(next(self._numbers))))
        if native.views_held:
            _await_views(native)
        return ended

    def _embed(self, batch: Batch) -> tuple[str, bool]:
        try:
            _take_result(batch, self._engine.embed(batch))
            return "", False
        except BaseException as error:
            if isinstance(error, InvalidPrompt) and error.index < len(batch):
                return error.reason, True
            if len(batch) == 1:  # of a larger one the prompts are tried singly
                show(error)
            return in_words(error), False

    def close(self) -> None:
        close = getattr(self._engine, "close", None)
        try:
            if close is not None:
                close()
        except BaseException as error:
            show(error)


def _await_views(native: NativeBatch) -> None:
    """The rows become an answer, and then another's, when this returns: nobody may be able to write to them."""
    gc.collect()
    if native.views_held:
        print(f"embed has returned, but {native.views_held} views of its batch are still held: waiting", file=sys.stderr)
    while native.views_held:
        time.sleep(_BETWEEN_LOOKS_AT_VIEWS_S)


class TaskRunner:
    """For an engine whose embed is a coroutine function. It runs on the event loop; the shim calls from a thread."""

    def __init__(self, engine: Any, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._options, self._loop = engine, options, loop
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._health: asyncio.Task[None] | None = None

    # Called by the shim, on its thread.

    def load(self) -> tuple[Info | None, str]:
        return self._on_loop(self._load())

    def begin(self, native: NativeBatch) -> None:
        self._loop.call_soon_threadsafe(self._start, native)

    def cancel(self, number: int) -> None:
        self._loop.call_soon_threadsafe(self._stop, number)

    def close(self) -> None:
        self._on_loop(self._close())

    def _on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # On the loop.

    async def _load(self) -> tuple[Info | None, str]:
        try:
            await _finished(self._engine.load(self._options))
            info = _info_of(self._engine, await _finished(self._engine.info()), self._options)
            if info.device is not None:
                raise ValueError("info() says device, and embed is `async def`: rows on a GPU are for a plain embed")
        except BaseException as error:
            return None, _why_not_loaded(error)
        if hasattr(self._engine, "check_health"):
            self._health = self._loop.create_task(self._watch_health())
        return info, ""

    def _start(self, native: NativeBatch) -> None:
        task = self._tasks[native.id] = self._loop.create_task(self._run(native, native.id))
        task.add_done_callback(functools.partial(self._end, native))

    def _end(self, native: NativeBatch, task: asyncio.Task[None]) -> None:
        # Heard only if the task has said nothing: it was cancelled before it began, or is of no use.
        if native.id in self._cancelled:
            native.finish_withdrawn()
        else:
            native.finish_failed(0, "the engine's task ended without a word")
        self._tasks.pop(native.id, None)
        self._cancelled.discard(native.id)
        if native.views_held:
            gc.collect()  # an exception that was kept holds frames, and these hold views

    def _stop(self, number: int) -> None:
        task = self._tasks.get(number)
        if task is not None:
            self._cancelled.add(number)
            task.cancel()

    async def _run(self, native: NativeBatch, number: int) -> None:
        batch = Batch(native, f"{number:016x}")
        try:
            await self._embed(batch)
            native.finish_ok()
        except BaseException as error:
            if isinstance(error, InvalidPrompt) and error.index < len(batch):
                native.finish_rejected(error.index, error.reason)
            elif number in self._cancelled:
                native.finish_withdrawn()
            elif len(batch) == 1:
                show(error)
                native.finish_failed(0, in_words(error))
            else:
                await self._run_singly(native, batch.id, number)

    async def _run_singly(self, native: NativeBatch, name: str, number: int) -> None:
        """One prompt of several has failed: which?"""
        for i in range(len(native)):
            native.mark_unfilled(i)
            try:
                await self._embed(Batch(native, f"{name}.{i}", only=i))
            except BaseException as error:
                if isinstance(error, InvalidPrompt) and error.index == 0:
                    return native.finish_rejected(i, error.reason)
                if number in self._cancelled:
                    return native.finish_withdrawn()
                show(error)
                return native.finish_failed(i, in_words(error))
        native.finish_ok()

    async def _embed(self, batch: Batch) -> None:
        _take_result(batch, await self._engine.embed(batch))

    async def _watch_health(self) -> None:
        """Ends the process when the engine says that it is not well: the broker replaces it."""
        while True:
            await asyncio.sleep(_BETWEEN_HEALTH_CHECKS_S)
            try:
                await _finished(self._engine.check_health())
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                os._exit(_shim.refuse(f"the engine is not healthy: {in_words(error)}"))

    async def _close(self) -> None:
        if self._health is not None:
            self._health.cancel()
        close = getattr(self._engine, "close", None)
        try:
            if close is not None:
                await _finished(close())
        except BaseException as error:
            show(error)


async def _finished(result: Any) -> Any:
    """Of a method that may be a coroutine function or not."""
    return await result if inspect.isawaitable(result) else result

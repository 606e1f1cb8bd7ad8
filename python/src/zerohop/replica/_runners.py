"""Runners: what stands between the shim's loop and an engine. No exception leaves them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import itertools
import os
import sys
import time
import traceback
from typing import Any, Optional

from zerohop._shim import NativeBatch
from zerohop.replica._batch import Batch, InvalidPrompt
from zerohop.replica._engine import Info, checked_info
from zerohop.replica._options import Options

_BETWEEN_HEALTH_CHECKS_S = 1.0
_BETWEEN_TRACEBACKS_S = 1.0
_shown_at = -_BETWEEN_TRACEBACKS_S


def in_words(error: BaseException) -> str:
    """One line: type and message."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def show(error: BaseException) -> None:
    """The traceback goes to the broker's log; not all of them, where every request fails."""
    global _shown_at
    if time.monotonic() - _shown_at < _BETWEEN_TRACEBACKS_S:
        return
    _shown_at = time.monotonic()
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()


def _untaken(options: Options) -> Optional[str]:
    return f"nobody takes {options.flags[0]}" if options.flags else None


def _take_result(batch: Batch, result: Any) -> None:
    """Copies what embed returned, if anything, and looks whether every row was filled."""
    if result is not None:
        batch.rows[:] = result
    unfilled = batch._native.first_unfilled()
    if unfilled is not None and unfilled in batch._indices:
        raise RuntimeError(f"embed did not fill row {batch._indices.index(unfilled)} of {len(batch)}")


def _place(error: InvalidPrompt, batch: Batch) -> int:
    """Index within the submission; an engine may be wrong about it."""
    return batch._indices[error.index if 0 <= error.index < len(batch) else 0]


class BatchRunner:
    """For an engine whose embed is a plain function. Everything happens on the thread that serves."""

    def __init__(self, engine: Any, options: Options) -> None:
        self._engine, self._options = engine, options
        self._numbers = itertools.count()

    def load(self) -> tuple[Optional[Info], str]:
        try:
            self._engine.load(self._options)
            info = checked_info(self._engine.info(), self._engine)
        except BaseException as error:  # SystemExit, too: the broker is to know why
            show(error)
            return None, in_words(error)
        untaken = _untaken(self._options)
        return (None, untaken) if untaken else (info, "")

    def run(self, native: NativeBatch) -> tuple[str, bool]:
        """What went wrong, empty if nothing did; and whether it is the caller's mistake."""
        batch = Batch(native, str(next(self._numbers)))
        try:
            _take_result(batch, self._engine.embed(batch))
            return "", False
        except InvalidPrompt as error:
            return error.reason or "the engine does not accept it", True
        except BaseException as error:
            if len(batch) == 1:  # of a larger one the prompts are tried singly
                show(error)
            return in_words(error), False


class TaskRunner:
    """For an engine whose embed is a coroutine function. It runs on the event loop; the shim calls from a thread."""

    def __init__(self, engine: Any, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._options, self._loop = engine, options, loop
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()

    # Called by the shim, on its thread.

    def load(self) -> tuple[Optional[Info], str]:
        future: concurrent.futures.Future[tuple[Optional[Info], str]] = asyncio.run_coroutine_threadsafe(
            self._load(), self._loop
        )
        return future.result()

    def begin(self, native: NativeBatch) -> None:
        self._loop.call_soon_threadsafe(self._start, native)

    def cancel(self, number: int) -> None:
        self._loop.call_soon_threadsafe(self._stop, number)

    # On the loop.

    async def _load(self) -> tuple[Optional[Info], str]:
        try:
            loading = self._engine.load(self._options)
            if inspect.isawaitable(loading):
                await loading
            said = self._engine.info()
            info = checked_info(await said if inspect.isawaitable(said) else said, self._engine)
        except BaseException as error:
            show(error)
            return None, in_words(error)
        untaken = _untaken(self._options)
        return (None, untaken) if untaken else (info, "")

    def _start(self, native: NativeBatch) -> None:
        task = self._tasks[native.id] = self._loop.create_task(self._run(native, native.id))
        task.add_done_callback(functools.partial(self._end, native))

    def _end(self, native: NativeBatch, task: asyncio.Task[None]) -> None:
        native.finish_withdrawn()  # heard only if it was cancelled before it began
        self._tasks.pop(native.id, None)
        self._cancelled.discard(native.id)

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
        except InvalidPrompt as error:
            native.finish_rejected(_place(error, batch), error.reason or "the engine does not accept it")
        except BaseException as error:
            if number in self._cancelled:
                native.finish_withdrawn()
            elif len(batch) == 1:
                show(error)
                native.finish_failed(0, in_words(error))
            else:
                await self._run_singly(native, batch, number)

    async def _run_singly(self, native: NativeBatch, batch: Batch, number: int) -> None:
        """One prompt of several has failed: which?"""
        for i in range(len(native)):
            single = Batch(native, f"{batch.id}.{i}", only=i)
            try:
                await self._embed(single)
            except InvalidPrompt as error:
                return native.finish_rejected(i, error.reason or "the engine does not accept it")
            except BaseException as error:
                if number in self._cancelled:
                    return native.finish_withdrawn()
                show(error)
                return native.finish_failed(i, in_words(error))
        native.finish_ok()

    async def _embed(self, batch: Batch) -> None:
        _take_result(batch, await self._engine.embed(batch))

    async def watch_health(self) -> None:
        """Ends the process when the engine says that it is not well: the broker replaces it."""
        check = getattr(self._engine, "check_health", None)
        while check is not None:
            await asyncio.sleep(_BETWEEN_HEALTH_CHECKS_S)
            try:
                answer = check()
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                print(f"the engine is not healthy: {in_words(error)}", file=sys.stderr, flush=True)
                os._exit(1)

"""Engines whose texts say what they shall do; anything else gets its known row. For engine_test.py."""

import asyncio
import concurrent.futures
import ctypes
import multiprocessing
import os
import pathlib
import subprocess
import time
import zlib

import numpy as np
from zerohop.replica import Info, InvalidPrompt

DIM = 16


def known_row(prompt):
    """Of a text, or of an array of token ids."""
    data = prompt.encode() if isinstance(prompt, str) else np.asarray(prompt, "<i4").tobytes()
    return np.random.default_rng(zlib.crc32(data)).random(DIM, dtype=np.float32)


def known_rows(prompts):
    return np.stack([known_row(p) for p in prompts])


def obey(text):
    """Commands that both kinds of engine know: `verb argument`."""
    verb, _, argument = text.partition(" ")
    if verb == "raise":
        raise ArithmeticError(argument)
    if verb == "exit":
        raise SystemExit(3)
    if verb == "segfault":
        ctypes.string_at(0)
    if verb == "segfault-while-there-is" and pathlib.Path(argument).exists():
        pathlib.Path(argument).unlink()
        ctypes.string_at(0)
    if verb == "raise-what-cannot-be-shown":
        raise Unshowable()
    if verb == "raise-half-a-character":
        raise OSError("no file \udc80")
    if verb == "number-as-a-reason":
        raise InvalidPrompt(0, 42)
    if verb == "hold-the-gil-for":  # PyDLL keeps the interpreter's lock while it calls
        ctypes.PyDLL(None).usleep(int(float(argument) * 1e6))
    if verb == "print":
        print(argument)
    if verb == "have-a-child":
        print("child", subprocess.Popen(["sleep", "1000"]).pid)
    if verb == "end-a-child":
        child = subprocess.Popen(["sleep", "1000"])
        child.terminate()
        child.wait()
    if verb == "end-a-fork":
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        child.start()
        child.terminate()
        child.join()


class Unshowable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Plain:
    """embed is a function."""

    def load(self, options):
        if options.take_switch("--fail-to-load"):
            raise RuntimeError("the weights are\nnot there")
        self.delay = options.take("--delay", 0.0, float)
        self.said = Info(dim=DIM, vocabulary=1000, batch_prompts=options.take("--batch-prompts", 8, int))
        self.kept = []
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    def info(self):
        return self.said

    def embed(self, batch):
        time.sleep(self.delay)
        if batch.holds_token_ids:
            for ids, row in zip(batch.token_ids, batch.rows):
                assert ids.dtype == np.int32 and not ids.flags.writeable and not ids.flags.owndata
                row[:] = known_row(ids)
            return None
        for i, (text, view) in enumerate(zip(batch.texts, batch.text_bytes)):
            assert view.tobytes() == text.encode() and not view.flags.writeable and not view.flags.owndata
            assert batch.rows[i].dtype == np.float32 and not batch.rows[i].flags.owndata
            if text.startswith("reject"):
                raise InvalidPrompt(i, "no such thing")
            obey(text)
            if text.startswith("forget"):
                continue
            if text == "another shape":
                return np.zeros((len(batch) + 1, DIM))
            if text.startswith("leave-it-to-a-thread"):
                self.pool.submit(write_late, batch.rows[i])
                raise TimeoutError("gave up")
            if text.startswith("backwards"):
                batch.rows[::-1] = known_rows(batch.texts)[::-1]
                break
            batch.rows[i] = known_row(text)
        return None


    def close(self):
        time.sleep(0.05)
        print("closed")


def write_late(row):
    time.sleep(0.3)
    row[:] = 666


class Returning(Plain):
    """Answers with an array of another type; takes texts only."""

    def embed(self, batch):
        return known_rows(batch.texts).astype(np.float64)


class Tasks:
    """embed is a coroutine."""

    async def load(self, options):
        await asyncio.sleep(options.take("--load-for", 0.0, float))
        self.together = 0
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.met = asyncio.Condition()
        self.well = True

    async def info(self):
        return {"dim": DIM, "batch_tokens": 4096, "engine": "tasks"}

    async def embed(self, batch):
        for i, text in enumerate(batch.texts):
            verb, _, argument = text.partition(" ")
            if verb == "reject":
                raise InvalidPrompt(i, "no such thing")
            if verb == "reject-beyond":
                raise InvalidPrompt(99, "too far")
            if verb == "meet":  # as many of us as it says, all in here at once
                await self.meet(int(argument))
            if verb == "wait":
                print(f"waits: priority {batch.priority}, has a deadline: {batch.deadline is not None}")
                try:
                    await asyncio.Event().wait()
                finally:
                    print("no longer waits")
            if verb == "leave-it-to-a-thread":
                await asyncio.get_running_loop().run_in_executor(self.pool, write_late, batch.rows[i])
            if verb == "fill-then-raise" and len(batch) > 1:
                batch.rows[:] = known_rows(batch.texts)
                raise ArithmeticError("after all")
            if verb == "fill-then-raise":
                continue
            if verb == "fall-ill":
                self.well = False
            obey(text)
            batch.rows[i][:] = known_row(text)

    async def meet(self, count):
        async with self.met:
            self.together += 1
            self.met.notify_all()
            await self.met.wait_for(lambda: self.together >= count)

    async def check_health(self):
        if not self.well:
            raise ConnectionError("the core is dead")


    async def close(self):
        await asyncio.sleep(0.05)
        print("closed")


class HalfAsync(Plain):
    async def load(self, options): ...


class Disguised(Plain):
    def embed(self, batch):
        return asyncio.sleep(0)


class Wide(Plain):
    def info(self):
        return Info(dim=1_000_000)


class Dimless(Plain):
    def info(self):
        return {"max_tokens": 5}


class NoEmbed:
    def load(self, options): ...
    def info(self): ...


class WrongInfo(Plain):
    def info(self):
        return {"dim": 0}


class Misspelt(Plain):
    def info(self):
        return {"dim": 4, "max_token": 3}


assert os.environ.get("ZEROHOP_BIN"), "for the tests only"

"""vLLM behind a lane: `zerohop serve --engine vllm`. Tried with vLLM 0.32.

vLLM runs its scheduler and its workers in processes of its own, children of the replica. Submissions are given
to it as they come, several at once, so that it batches by itself; priority and withdrawal reach its queue.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zerohop.replica import Batch, Info, InvalidPrompt, Options

# Tokenizing this much takes about as long as handing it to a thread costs; more of it would hold up the loop.
TEXTS_ON_THE_LOOP = 4
CHARACTERS_ON_THE_LOOP = 4096

# vLLM's own default sets 92 % of the memory aside for a KV cache. On a CPU an encoder has none, the memory is
# everybody's, and several replicas cannot each have 92 % of it.
CPU_MEMORY_SHARE = 0.25


class VllmEngine:
    """An asyncio engine: the shim calls embed() for each submission as it comes."""

    _engine: Any = None

    async def load(self, options: Options) -> None:
        """Starts vLLM, and has it embed once, so that the first caller does not wait for what is made lazily.

        Raises ValueError with one sentence for flags that cannot be; takes out of options.flags what vLLM knows.
        """
        _set_environment()
        from vllm import PoolingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs.engine import tokens_input
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        if current_platform.is_cpu():
            _place_threads(options)
        arguments = engine_arguments(options, on_cpu=current_platform.is_cpu())
        options.check_all_taken()  # said now: loading for a minute first would help nobody
        self._prompt = tokens_input
        self._prompt_errors = (VLLMValidationError, ValueError)
        self._pooling = PoolingParams(task="embed")
        _have_children_die_with_us()
        self._engine = AsyncLLM.from_engine_args(arguments)

        config = self._engine.vllm_config
        self._has_priorities = config.scheduler_config.policy == "priority"
        self._max_tokens = config.model_config.max_model_len
        self._lower_case = (config.model_config.encoder_config or {}).get("do_lower_case", False)
        # One tokenizer for the loop and one for the thread: a Hugging Face tokenizer is not made for two at once.
        self._tokenizer = self._engine.get_tokenizer()
        self._thread_tokenizer = copy.deepcopy(self._tokenizer)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        first = await self._encode(self._tokenize(self._tokenizer, ["warm up"])[0], "warm-up", 0)
        self._dim = len(first)

    def info(self) -> Info:
        import vllm

        config = self._engine.vllm_config
        return Info(
            dim=self._dim,
            max_tokens=self._max_tokens,
            # As vLLM checks it: ids of the model or of the tokenizer, whichever has more.
            vocabulary=max(config.model_config.get_vocab_size(), len(self._tokenizer)),
            batch_prompts=config.scheduler_config.max_num_seqs,
            batch_tokens=config.scheduler_config.max_num_batched_tokens,
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            engine=f"vllm {vllm.__version__}",
        )

    async def embed(self, batch: Batch) -> None:
        if batch.holds_token_ids:
            prompts = [ids.tolist() for ids in batch.token_ids]
        else:
            prompts = await self._token_ids_of(batch.texts)
        ids = [f"{batch.id}:{i}" for i in range(len(prompts))]
        rows, priority = batch.rows, batch.priority if self._has_priorities else 0
        tasks = [
            asyncio.create_task(self._fill(rows, i, prompt, ids[i], priority)) for i, prompt in enumerate(prompts)
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except BaseException as error:  # withdrawn, or one prompt failed: the others are computed for nobody
            if self._engine.errored:
                # Its core is gone, and every prompt here fails. Failing them one by one would take more work in, to
                # fail it too; a replica that ends has all of it moved to others at once.
                print(f"vLLM is dead: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            # One message to vLLM for all of them; a cancelled encode would send one each.
            await self._engine.abort(ids)
            for task in tasks:
                task.cancel()
            # The rows are ours only until embed ends: nobody may still write.
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def check_health(self) -> None:
        """Raises EngineDeadError once vLLM's core, or a worker of it, is gone."""
        if self._engine is not None:
            await self._engine.check_health()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()

    async def _fill(self, rows: Any, i: int, token_ids: list[int], request_id: str, priority: int) -> None:
        try:
            rows[i][:] = await self._encode(token_ids, request_id, priority)
        except self._prompt_errors as error:  # empty, too long, ids that the model does not have
            raise InvalidPrompt(i, str(error)) from error

    async def _encode(self, token_ids: list[int], request_id: str, priority: int) -> Any:
        """One embedding as a numpy view of vLLM's tensor, float32."""
        output = None
        async for output in self._engine.encode(
            self._prompt(token_ids), self._pooling, request_id, priority=priority
        ):
            pass
        # An aborted prompt ends like any other, with nothing in it.
        if output is None or output.outputs.data.numel() == 0:
            raise RuntimeError(f"vLLM gave no embedding for {request_id}")
        return output.outputs.data.float().numpy()

    async def _token_ids_of(self, texts: list[str]) -> list[list[int]]:
        if len(texts) <= TEXTS_ON_THE_LOOP and sum(map(len, texts)) <= CHARACTERS_ON_THE_LOOP:
            return self._tokenize(self._tokenizer, texts)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._tokenize, self._thread_tokenizer, texts)

    def _tokenize(self, tokenizer: Any, texts: list[str]) -> list[list[int]]:
        if self._lower_case:
            texts = [text.lower() for text in texts]
        return tokenizer(
            texts, truncation=True, max_length=self._max_tokens, padding=False, return_attention_mask=False
        )["input_ids"]


def engine_arguments(options: Options, on_cpu: bool) -> Any:
    """vLLM's own flags, read by vLLM's own parser; what it does not know stays in options.flags."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Parser(FlexibleArgumentParser):
        """Raises where argparse would print a page and exit, and keeps what it does not know."""

        unknown: list[str] = []

        def error(self, message: str) -> Any:
            raise ValueError(f"vLLM does not take its flags: {message}")

        def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
            # Through parse_args, which alone reads --flag_name and --json.key as vLLM's users write them.
            namespace, self.unknown = super().parse_known_args(args, namespace)
            return namespace, []

    # What older versions were told, and what this one is told otherwise.
    task = options.take("--task", "embed")
    if task not in ("embed", "embedding", "auto"):
        raise ValueError(f"--task {task}: only embeddings are served here; leave the flag out")
    options.take_switch("--disable-log-requests")  # it is so

    parser = AsyncEngineArgs.add_cli_args(Parser())
    parser.set_defaults(
        model=options.model, dtype=options.dtype, runner="pooling", scheduling_policy="priority", disable_log_stats=True
    )
    if on_cpu:
        parser.set_defaults(gpu_memory_utilization=CPU_MEMORY_SHARE)
    arguments = AsyncEngineArgs.from_cli_args(parser.parse_args(list(options.flags)))
    options.flags[:] = parser.unknown
    return arguments


def _set_environment() -> None:
    """Before vLLM is imported; what the user has set stays."""
    # Plugins patch vLLM for other servers; the manager that we replace turned them off as well.
    os.environ.setdefault("VLLM_PLUGINS", "")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # A forked child would inherit the shim's threads half alive, and its descriptors, by which the broker
    # sees that the replica is gone.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


def _have_children_die_with_us() -> None:
    """A spawned process first runs the module that __main__'s spec names; for `python -m PACKAGE` it runs nothing.

    Its own children inherit that. The broker kills what is left of a replica's process group, but it may die itself.
    """
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("zerohop.engines._spawned")


def _place_threads(options: Options) -> None:
    """On a CPU, vLLM's worker computes on the core and with the threads that the broker gave this replica."""
    if "VLLM_CPU_OMP_THREADS_BIND" in os.environ:
        return
    if options.cpu is not None and options.threads == 1:
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = str(options.cpu)
    else:
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        os.environ["OMP_NUM_THREADS"] = str(options.threads)

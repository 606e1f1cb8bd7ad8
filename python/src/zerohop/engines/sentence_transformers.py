"""sentence-transformers behind a lane: `zerohop serve --engine sentence-transformers`. Tried with 6.2.

Flags: --device cpu|cuda|ORDINAL|UUID|…, --prompt-name NAME (a prompt of the model's own, put before every text),
--normalize (rows of length one even where the model does not say so), --trust-remote-code. Of a model on a GPU the rows
stay there.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from zerohop.replica import Batch, Info, InvalidPrompt, Options


class SentenceTransformersEngine:
    """A plain engine: the shim calls embed() with one batch at a time."""

    def load(self, options: Options) -> None:
        """Loads a folder, or a name that is in the local Hugging Face cache; nothing is downloaded."""
        device = options.take("--device")
        self._prompt_name = options.take("--prompt-name")
        self._normalize = options.take_switch("--normalize")
        trust = options.take_switch("--trust-remote-code")
        options.check_all_taken()  # said now: loading for a minute first would help nobody

        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # a bar is no line of a log
        torch.set_num_threads(options.threads)
        dtypes = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if options.dtype not in dtypes:
            raise ValueError(f"--dtype {options.dtype}: sentence-transformers takes {', '.join(dtypes)}")
        dtype = dtypes[options.dtype]
        self._torch = torch
        try:
            self._model = SentenceTransformer(
                options.model,
                device=_torch_device(torch, device),
                local_files_only=True,
                trust_remote_code=trust,
                # Without it a model has the type that its weights were stored in.
                model_kwargs={} if dtype is None else {"dtype": dtype},
            ).eval()
        except OSError as error:
            if os.path.isdir(options.model):
                raise
            # The library speaks of a hub that it was told not to ask.
            raise ValueError(f"{options.model} is neither a folder nor in the local Hugging Face cache") from error
        if self._prompt_name is not None and self._prompt_name not in self._model.prompts:
            has = ", ".join(self._model.prompts) or "none"
            raise ValueError(f"--prompt-name {self._prompt_name}: the model has no such prompt (it has: {has})")
        self._device, self._stream = self._open_device()
        with self._on_stream():
            self._dim = self._embed_texts(["warm up"]).shape[1]
        self._max_tokens = self._model.max_seq_length or 512

    def info(self) -> Info:
        import sentence_transformers

        return Info(
            dim=self._dim,
            max_tokens=self._max_tokens,
            # Ids beyond the table of embeddings would be read out of its bounds.
            vocabulary=self._model[0].auto_model.get_input_embeddings().num_embeddings,
            dtype=str(next(self._model.parameters()).dtype).removeprefix("torch."),
            engine=f"sentence-transformers {sentence_transformers.__version__}",
            device=self._device,
            stream=None if self._stream is None else self._stream.cuda_stream,
        )

    def embed(self, batch: Batch) -> None:
        with self._on_stream():
            rows = self._embed_token_ids(batch.token_ids) if batch.holds_token_ids else self._embed_texts(batch.texts)
            batch.fill(rows.float().cpu().numpy() if self._device is None else rows)  # numpy has no bfloat16

    def _open_device(self) -> tuple[int | None, Any]:
        """The GPU that the model is on, if any, and a stream there for all that comes."""
        device = self._model.device
        if device.type != "cuda":
            return None, None
        self._torch.cuda.synchronize(device)  # the weights came by another stream
        return device.index, self._torch.cuda.Stream(device)

    def _on_stream(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._stream is None else self._torch.cuda.stream(self._stream)

    def _embed_texts(self, texts: list[str]) -> Any:
        return self._model.encode(
            texts,
            batch_size=len(texts),
            prompt_name=self._prompt_name,
            normalize_embeddings=self._normalize,
            show_progress_bar=False,
            convert_to_tensor=True,
        )

    def _embed_token_ids(self, prompts: list[Any]) -> Any:
        """The model without its tokenizer: the ids are taken as they are, special tokens and all."""
        for i, ids in enumerate(prompts):
            if len(ids) == 0:
                raise InvalidPrompt(i, "no token ids")
            if len(ids) > self._max_tokens:
                raise InvalidPrompt(i, f"{len(ids)} token ids, the model takes at most {self._max_tokens}")
        torch = self._torch
        padded = self._model.tokenizer.pad({"input_ids": [ids.tolist() for ids in prompts]}, return_tensors="pt")
        features = {name: tensor.to(self._model.device) for name, tensor in padded.items()}
        with torch.inference_mode():
            rows = self._model(features)["sentence_embedding"]
            if self._normalize:
                rows = torch.nn.functional.normalize(rows, p=2, dim=1)
        return rows


def _torch_device(torch: Any, said: str | None) -> str | None:
    """A device in torch's words: `zerohop serve` names a GPU by its ordinal or its UUID, too."""
    if said is None or not said.upper().startswith(("GPU-", "MIG-")):
        return f"cuda:{said}" if said is not None and said.isdecimal() else said
    uuids = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
    if said[4:].lower() not in uuids:
        raise ValueError(f"--device {said}: expected one of {', '.join(uuids) or 'none: torch sees no GPU'}")
    return f"cuda:{uuids.index(said[4:].lower())}"

"""A consumer that torch reads in place. Run by gpu_sentence_transformers_test.py: SOCKET, file of texts and their rows."""

import sys

import numpy as np
import torch
import zerohop

path, expected = sys.argv[1:]
known = np.load(expected, allow_pickle=True)
texts, vectors = list(known["texts"]), torch.from_numpy(known["rows"]).cuda()
with zerohop.GpuConsumer(path, device=0) as consumer:
    for i in range(20):
        with consumer.embed(texts, timeout=60.0) as rows:
            assert rows.shape == tuple(vectors.shape), rows.shape
            tensor = torch.from_dlpack(rows)
            assert tensor.device == vectors.device and tensor.dtype == torch.float32
            interface = torch.as_tensor(rows, device="cuda")
            assert interface.data_ptr() == tensor.data_ptr(), "both are the memory itself"
            least = torch.nn.functional.cosine_similarity(tensor, vectors).min().item()
            torch.cuda.synchronize()
            assert least > 0.99999, (i, least)

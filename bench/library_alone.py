#!/usr/bin/env python3
"""The limit of gpu_replicas.py: what sentence-transformers embeds on a GPU when nothing serves it.

Question: how many texts a second do N processes of the library embed?
Load:     a file of texts, shuffled, batches of --batch, rows fetched to the host.
Baseline: this is the baseline.
Machine:  every process reports its own rate; they are added up.

Runs with an interpreter that has the library. Prints one JSON line.
"""

import argparse
import json
import multiprocessing
import pathlib
import queue
import random
import statistics
import sys
import time

PATIENCE_S = 300  # until all have loaded


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument("--corpus", required=True, type=pathlib.Path, help="file with a text a line")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--processes", default=1, type=int)
    parser.add_argument("--batch", default=32, type=int)
    parser.add_argument("--warmup", default=1.0, type=float)
    parser.add_argument("--seconds", default=5.0, type=float)
    return parser.parse_args()


def embed(options, seed, all_ready, results):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model = SentenceTransformer(options.model, device=options.device, local_files_only=True,
                                model_kwargs={"dtype": getattr(torch, options.dtype)}).eval()
    texts = options.corpus.read_text().splitlines()
    generator = random.Random(seed)

    def run_for(seconds):
        """The seconds that it took, and those of each batch."""
        begin, times = time.perf_counter(), []
        while (began := time.perf_counter()) - begin < seconds:
            model.encode(generator.sample(texts, options.batch), batch_size=options.batch, show_progress_bar=False)
            times.append(time.perf_counter() - began)
        return time.perf_counter() - begin, times

    model.encode(texts[: options.batch], show_progress_bar=False)
    all_ready.wait(PATIENCE_S)
    run_for(options.warmup)
    results.put(run_for(options.seconds))


def main():
    options = parse()
    processes = multiprocessing.get_context("spawn")
    all_ready, results = processes.Barrier(options.processes), processes.Queue()
    started = [processes.Process(target=embed, args=(options, seed, all_ready, results)) for seed in range(options.processes)]
    for process in started:
        process.start()
    measured = []
    while len(measured) < len(started):
        try:
            measured.append(results.get(timeout=1))
        except queue.Empty:
            if any(process.exitcode for process in started):
                all_ready.abort()
                sys.exit("library_alone: a process has ended before it was measured")
    for process in started:
        process.join()
    times = sorted(one for _, batches in measured for one in batches)
    print(json.dumps({
        "processes": options.processes,
        "batch": options.batch,
        "prompts_per_second": sum(len(batches) * options.batch / seconds for seconds, batches in measured),
        "p50_us": statistics.median(times) * 1e6,
        "p99_us": times[min(len(times) - 1, len(times) * 99 // 100)] * 1e6,
    }))


if __name__ == "__main__":
    main()

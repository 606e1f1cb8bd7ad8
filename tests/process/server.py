"""A server under test: started on a free loopback port, ended by its pid.

Every server listens on 127.0.0.1 and is waited for; nothing outlives a test.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import grpc
import inference_pb2 as pb
import inference_pb2_grpc as pb_grpc
import numpy as np
from device import a_gpu, flags_of_replicas

BIN = os.environ["ZEROHOP_BIN"]
# A return path: then replicas have the echo engine on a GPU (device.py), unless a test brings a program of its own.
RETURN = os.environ.get("ZEROHOP_TEST_RETURN")
MAX_MESSAGE = 200 << 20
# A wait that ends early on success; what is waited for never takes this long unless it is broken.
PATIENCE_S = 60


def until(condition, what, patience=PATIENCE_S):
    """Waits for a condition that another process brings about."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.01)


@contextlib.contextmanager
def stopped(pids):
    """Processes of which no thread runs inside; they go on at the end, those that still live."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: all(stands_still(pid) for pid in pids), f"{pids} stand still")
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def stands_still(pid):
    # A signal stops a process when its threads come to it, and on a busy machine that may be later.
    try:
        stats = [task.read_text() for task in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread that has just ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def is_running(pid):
    """Also false of one that nobody has waited for."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(") ")[-1][0] != "Z"
    except OSError:
        return False


class Server:
    """`zerohop serve` with the given flags. Use as a context manager."""

    def __init__(self, *flags, engine="echo", replicas=2, ready=None, env=None, patience=PATIENCE_S, return_path=RETURN):
        self.gpu = a_gpu() if return_path and engine == "echo" else None
        command = [f"{BIN}/zerohop", "serve", "--host=127.0.0.1", "--port=0", f"--engine={engine}",
                   f"--num-replicas={replicas}", "--request-arena-mib=8", "--response-arena-mib=16",
                   *(flags_of_replicas(return_path) if self.gpu else ()), *flags]
        environment = {**os.environ, **(self.gpu.env(env) if self.gpu else env or {})}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        errors="replace", env=environment)
        self.log = []
        self.port = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.port or self.process.poll() is not None, "the server listens")
        if self.port is None:
            self._reader.join()
            raise AssertionError("the server ended:\n" + "\n".join(self.log))
        self.address = f"127.0.0.1:{self.port}"
        self.channel = connect(self.address)
        self.stub = pb_grpc.InferenceServiceStub(self.channel)
        try:
            self.wait_healthy(replicas if ready is None else ready, patience)
            self.model = self.info().replica_infos[0].model_name
        except BaseException:
            self.__exit__()  # nobody else would
            raise

    def _read(self):
        for line in self.process.stdout:
            self.log.append(line.rstrip())
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.stop(signal.SIGKILL)
        if self.gpu:
            self.gpu.remove()

    def stop(self, sig=signal.SIGTERM):
        """Sends the signal; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()
        return status

    def info(self):
        return self.stub.GetReplicaInfo(pb.ReplicaInfoRequest())

    def wait_healthy(self, count, patience=PATIENCE_S):
        until(lambda: self.info().n_healthy_replicas >= count, f"{count} replicas are healthy", patience)

    def replica_pids(self):
        """Of the replicas that have a process now."""
        pids = [int(re.search(r"pid=(\d+)", r.parallel_config).group(1)) for r in self.info().replica_infos]
        return [pid for pid in pids if pid > 0]

    def encode(self, texts=(), *, ids=(), n=None, model=None, request_id="r", priority=0, timeout=PATIENCE_S, stub=None):
        """One Encode; n defaults to the number of prompts."""
        request = pb.EncodeRequest(request_id=request_id, prompts=texts,
                                   token_id_bytes_i32=[np.asarray(i, "<i4").tobytes() for i in ids],
                                   n_prompts=(len(ids) or len(texts)) if n is None else n,
                                   model_name=self.model if model is None else model, priority=priority)
        return (stub or self.stub).Encode(request, timeout=timeout)


def field_of(replica, name):
    """A `name=value` of the free texts that GetReplicaInfo gives of one replica."""
    texts = " ".join((replica.parallel_config, replica.decoding_config, replica.scheduler_config))
    found = re.search(rf'\b{name}=("[^"]*"|\S+)', texts)
    return found.group(1).strip('"') if found else None


def connect(address):
    options = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE),
               ("grpc.use_local_subchannel_pool", 1)]
    return grpc.insecure_channel(address, options)


def rows_of(response):
    """The embeddings as an array of (prompts, dim); checks what existing clients check."""
    assert not response.error, response.error
    assert len(response.embedding_bytes_fp32) == response.n_prompts
    for blob in response.embedding_bytes_fp32:
        assert len(blob) == 4 * response.embedding_dim, (len(blob), response.embedding_dim)
    return np.frombuffer(b"".join(response.embedding_bytes_fp32), "<f4").reshape(-1, response.embedding_dim)


def echo_row(prompt, dim):
    """What the echo engine answers, from its definition (replica_shim/engines/echo_engine.h)."""
    state = 0xCBF29CE484222325
    for byte in prompt if isinstance(prompt, bytes) else prompt.encode():
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(1, dim + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(8388608) - np.float32(1)


def echo_rows(prompts, dim):
    return np.stack([echo_row(p, dim) for p in prompts])

"""Engines in Python whose rows are born on a GPU, by ctypes on the driver alone. For device_engine_test.py.

A text says what its engine shall do; anything else gets its known row. Rows are written by work on a stream that is
under way when embed returns, so whoever reads them too early reads something else.
"""

import concurrent.futures
import ctypes
import mmap
import sys
import time
import types

import numpy as np
from known_engines import DIM, Plain, known_rows
from zerohop.replica import Info

STAGING_BYTES = 1 << 20
PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
CUDA = 2  # kDLCUDA
FLOAT32 = (2, 32, 1)  # kDLFloat, bits, lanes


class Gpu:
    """One device, a stream on it, and host memory that it knows, from which rows are copied there."""

    def __init__(self, ordinal=0):
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        self.context = self.primary_context(ordinal)
        self.enter(self.context)
        self.stream = ctypes.c_void_p()
        self.call("cuStreamCreateWithPriority", ctypes.byref(self.stream), NON_BLOCKING, 0)
        self.memory = mmap.mmap(-1, STAGING_BYTES)
        self.staging = np.frombuffer(self.memory, np.float32)
        self.call("cuMemHostRegister_v2", ctypes.c_void_p(self.staging.ctypes.data), ctypes.c_size_t(STAGING_BYTES), PORTABLE)

    def call(self, name, *arguments):
        result = getattr(self.driver, name)(*arguments)
        if result != 0:
            raise RuntimeError(f"{name}: {result}")

    def primary_context(self, ordinal):
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        return context

    def enter(self, context):
        self.call("cuCtxSetCurrent", context)

    def stage(self, rows):
        """A copy of the rows, for copies to the device that begin later."""
        self.call("cuStreamSynchronize", self.stream)  # what the copies before read is overwritten
        staged = self.staging[: rows.size].reshape(rows.shape)
        staged[:] = rows
        return staged

    def copy(self, block, staged):
        """Begins to copy rows into their block."""
        assert staged.shape == block.shape and len(block) == len(staged)
        self.call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address_of(block)), ctypes.c_void_p(staged.ctypes.data),
                  ctypes.c_size_t(staged.nbytes), self.stream)

    def write(self, blocks, rows):
        staged = self.stage(rows)
        for block in blocks:
            self.copy(block, staged[block.prompts])

    def close(self):
        self.call("cuStreamDestroy_v2", self.stream)
        self.call("cuMemHostUnregister", ctypes.c_void_p(self.staging.ctypes.data))


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64)]


def tensor_of(capsule):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.cast(get(capsule, b"dltensor"), ctypes.POINTER(Tensor)).contents


def address_of(block):
    """What both protocols say of it is the same."""
    capsule = block.__dlpack__(stream=1)
    tensor = tensor_of(capsule)
    assert (tensor.device_type, tensor.device_id) == block.__dlpack_device__()
    assert tensor.device_type == CUDA and tensor.ndim == 2 and tensor.offset == 0
    assert (tensor.code, tensor.bits, tensor.lanes) == FLOAT32
    assert tuple(tensor.shape[:2]) == block.shape and tuple(tensor.strides[:2]) == (block.shape[1], 1)
    interface = block.__cuda_array_interface__
    assert interface == {"shape": block.shape, "typestr": "<f4", "data": (tensor.data, False), "strides": None,
                         "stream": None, "version": 3}
    return tensor.data


class OnDevice:
    """embed is a function, and its rows are on the GPU that --device says."""

    def load(self, options):
        ordinal = options.take("--device", 0, int)
        self.delay = options.take("--delay", 0.0, float)
        self.gpu = Gpu(ordinal)
        self.other = self.gpu.primary_context(1) if options.take_switch("--leave-on-the-other-device") else None
        self.said = Info(dim=DIM, vocabulary=1000, batch_prompts=64, device=ordinal, stream=self.gpu.stream.value)
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.most_blocks = 0

    def info(self):
        return self.said

    def embed(self, batch):
        time.sleep(self.delay)
        self.gpu.enter(self.gpu.context)
        prompts = batch.token_ids if batch.holds_token_ids else batch.texts
        for text in () if batch.holds_token_ids else batch.texts:
            self.obey(text, batch)
        if batch.holds_token_ids or not any(text.startswith("forget") for text in prompts):
            self.answer(batch, prompts)
        if self.other is not None:
            self.gpu.enter(self.other)

    def answer(self, batch, prompts):
        blocks = batch.device_blocks
        covered = [i for block in blocks for i in range(len(batch))[block.prompts]]
        assert covered == list(range(len(batch)))
        self.gpu.write(blocks, known_rows(prompts))
        if len(blocks) > self.most_blocks:
            self.most_blocks = len(blocks)
            print(f"most blocks of a batch: {len(blocks)}, of {len(batch)} rows")

    def obey(self, text, batch):
        if text == "ask for rows":
            batch.rows[0][:] = 1
        if text == "fill an array":
            batch.fill(known_rows(batch.texts))
        if text.startswith("raise"):
            raise ArithmeticError(text)
        if text.startswith("leave-it-to-a-thread"):
            self.pool.submit(self.write_late, batch.device_blocks)
            raise TimeoutError("gave up")

    def write_late(self, blocks):
        time.sleep(0.3)
        self.gpu.enter(self.gpu.context)
        rows = sum(len(block) for block in blocks)
        self.gpu.write(blocks, np.full((rows, DIM), 666, np.float32))
        self.gpu.call("cuStreamSynchronize", self.gpu.stream)

    def close(self):
        self.gpu.close()
        print("closed")


class StandInTorch(types.ModuleType):
    """As much of torch as batch.fill asks for: tensors on the host, whose copies go to the GPU."""

    def __init__(self, gpu):
        super().__init__("torch")
        self.gpu = gpu
        self.current = gpu.stream.value
        self.copied = []
        self.cuda = types.SimpleNamespace(current_stream=lambda device: types.SimpleNamespace(cuda_stream=self.current))
        self.Tensor = StandInTensor

    def from_dlpack(self, block):
        return types.SimpleNamespace(copy_=lambda rows: self.copy(block, rows))

    def copy(self, block, rows):
        assert rows.detached
        self.copied.append(rows.shape)
        self.gpu.copy(block, self.gpu.stage(rows.array))


class StandInTensor:
    def __init__(self, array, detached=False):
        self.array, self.shape, self.detached = array, array.shape, detached

    def __getitem__(self, at):
        return StandInTensor(self.array[at])

    def detach(self):
        return StandInTensor(self.array, detached=True)


class WithTorch(OnDevice):
    """Fills a tensor, or answers with one."""

    def load(self, options):
        super().load(options)
        self.torch = sys.modules["torch"] = StandInTorch(self.gpu)

    def embed(self, batch):
        self.gpu.enter(self.gpu.context)
        self.torch.current = 0 if "another stream" in batch.texts else self.gpu.stream.value
        rows = StandInTensor(known_rows(batch.texts).astype(np.float64))
        if "too few" in batch.texts:
            rows = StandInTensor(rows.array[1:])
        if "answer" in batch.texts:
            return rows
        batch.fill(rows)
        print("copied by torch:", sum(n for n, _ in self.torch.copied), "rows")
        return None


class Claiming(Plain):
    """Says what its flags say."""

    def load(self, options):
        device, stream = options.take("--claim-device"), options.take("--claim-stream", None, int)
        super().load(options)
        self.said = Info(dim=DIM, device=device, stream=stream)


class AsyncOnDevice:
    async def load(self, options): ...

    def info(self):
        return Info(dim=DIM, device=0, stream=0)

    async def embed(self, batch): ...


class OnHost(Plain):
    """Asks for what it has not."""

    def embed(self, batch):
        if "ask for blocks" in batch.texts:
            return batch.device_blocks
        batch.fill(known_rows(batch.texts))
        return None

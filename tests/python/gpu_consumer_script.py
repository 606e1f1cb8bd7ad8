"""Consumers in Python, each function one process of gpu_consumer_test.py: main(NAME, path of the socket)."""

import concurrent.futures
import ctypes
import gc
import pathlib
import socket
import struct
import sys
import threading
import time

import numpy as np
from device_engines import Gpu, address_of
from known_engines import DIM, known_rows
from server import stopped
from zerohop import Cancelled, DeadlineExceeded, GpuConsumer, InvalidInput, Overloaded, Unavailable

TEXTS = [f"text {i}" for i in range(50)]


class Reader(Gpu):
    def read(self, rows):
        count = rows.shape[0] * rows.shape[1]
        assert 4 * count <= self.staging.nbytes
        self.call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(self.staging.ctypes.data), ctypes.c_uint64(address_of(rows)),
                  ctypes.c_size_t(4 * count), self.stream)
        self.call("cuStreamSynchronize", self.stream)
        return self.staging[:count].reshape(rows.shape).copy()


def rows_are_right_and_shown_alike(path):
    gpu = Reader()
    with GpuConsumer(path, device=0) as consumer:
        for texts in (TEXTS, ["héllo 🙂\0"], ("a", "tuple")):
            with consumer.embed(texts, timeout=60) as rows:
                assert rows.shape == (len(texts), DIM) and len(rows) == len(texts)
                assert rows.device.startswith("GPU-") and rows.offset > 0
                np.testing.assert_array_equal(gpu.read(rows), known_rows(list(texts)))
    gpu.close()


def threads_share_a_consumer(path):
    gpu = Reader()
    with GpuConsumer(path) as consumer, concurrent.futures.ThreadPoolExecutor(8) as pool:
        for texts, rows in pool.map(lambda i: ([f"{i}"] * 3, consumer.embed([f"{i}"] * 3)), range(200)):
            np.testing.assert_array_equal(gpu.read(rows), known_rows(texts))


def a_lease_lives_as_long_as_its_rows_and_what_was_made_of_them(path):
    consumer = GpuConsumer(path)
    rows = consumer.embed(["one"])
    first, capsule = rows.offset, rows.__dlpack__()
    rows.release()
    rows.release()
    for use in (lambda: rows.shape, rows.__dlpack__, lambda: rows.__cuda_array_interface__):
        try:
            use()
        except ValueError as error:
            assert "released" in str(error)
        else:
            raise AssertionError("released rows can be used")
    held = consumer.embed(["two"])
    assert held.offset != first, "a matrix of the first is still there"
    del capsule
    gc.collect()
    held.release()
    again = {consumer.embed(["three"]).offset for _ in range(100)}  # each is collected at once
    assert len(again) <= 2, again
    consumer.close()
    consumer.close()


def rows_outlive_a_closed_consumer(path):
    gpu = Reader()
    with GpuConsumer(path) as consumer:
        rows = consumer.embed(["kept"])
    np.testing.assert_array_equal(gpu.read(rows), known_rows(["kept"]))


def errors_are_those_of_the_client(path):
    def expect(kind, words, call):
        try:
            call()
        except kind as error:
            assert words in str(error), str(error)
            return error
        raise AssertionError(f"no {kind.__name__}")

    with GpuConsumer(path) as consumer:
        expect(InvalidInput, "got one str", lambda: consumer.embed("text"))
        expect(InvalidInput, "at least one", lambda: consumer.embed([]))
        assert expect(InvalidInput, "is no Unicode", lambda: consumer.embed(["ok", "\ud800"])).index == 1
        expect(InvalidInput, "of type bytes", lambda: consumer.embed([b"bytes"]))
        expect(InvalidInput, "in parts", lambda: consumer.embed(["x" * 300_000]))
        kept = []

        def keep_all():
            while True:
                kept.append(consumer.embed(["x"] * 2000))

        assert expect(Unavailable, "raise it", lambda: consumer.embed(["ok", "raise it"])).index == 1
        for timeout in (float("nan"), float("inf"), -1, 1e12):
            expect(ValueError, "timeout must be", lambda timeout=timeout: consumer.embed(["ok"], timeout=timeout))
        expect(TypeError, "timeout must be", lambda: consumer.embed(["ok"], timeout="5"))
        error = expect(Overloaded, "give leases back", keep_all)
        assert path in str(error) and error.address == path
    expect(Cancelled, "closed", lambda: consumer.embed(["ok"]))
    expect(Unavailable, "cannot connect", lambda: GpuConsumer(path + "-nobody"))
    expect(ValueError, "path cannot be written", lambda: GpuConsumer("\ud800"))


def dlpack_wishes_that_cannot_be_met_are_refused(path):
    with GpuConsumer(pathlib.Path(path)) as consumer:
        rows = consumer.embed(text for text in ("from", "a generator"))
        assert rows.shape == (2, DIM) and rows.__dlpack_device__() == (2, 0)
        for wishes in ({}, {"stream": None}, {"stream": 7, "max_version": (1, 0), "copy": None, "dl_device": None},
                       {"copy": False, "dl_device": (2, 0)}):
            assert '"dltensor"' in repr(rows.__dlpack__(**wishes))
        for wishes in ({"copy": True}, {"dl_device": (1, 0)}, {"dl_device": (2, 1)}):
            try:
                rows.__dlpack__(**wishes)
            except BufferError:
                pass
            else:
                raise AssertionError(f"{wishes} were met")


def server_pid(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as look:
        look.connect(path)
        return struct.unpack("3i", look.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def a_server_that_does_not_read_holds_up_only_who_speaks_to_it(path):
    """More leases go back than a socket takes."""
    with GpuConsumer(path) as consumer:
        capsules, leases = [], [consumer.embed(["x"]) for _ in range(1000)]
        for rows in leases[::2]:
            capsules.append(rows.__dlpack__())
            rows.release()
        kept = leases[1::2]
        del leases, rows
        gone = []

        def let_go():
            while kept:
                kept.pop().release()
                capsules.pop()
                gone.append(1)

        speaker = threading.Thread(target=let_go)
        with stopped([server_pid(path)]):
            speaker.start()
            same = 0  # looks at which the speaker had not gone on, after it had begun
            while same < 100:
                before = len(gone)
                time.sleep(0.002)
                same = same + 1 if before == len(gone) > 0 else 0
            assert kept, "the socket took them all"
        speaker.join()
        assert len(gone) == 500
        consumer.embed(["y"] * 200).release()


def a_server_that_stands_still_is_not_waited_for_beyond_the_timeout(path):
    with GpuConsumer(path) as consumer:
        with stopped([server_pid(path)]):
            for speak in (lambda: consumer.embed(["x"], timeout=0.01), lambda: GpuConsumer(path, timeout=0.01)):
                try:
                    speak()
                except DeadlineExceeded:
                    continue
                raise AssertionError("it was answered")
        consumer.embed(["x"]).release()


def another_device_is_refused(path):
    try:
        GpuConsumer(path, device=1)
    except Exception as error:
        assert "expected GPU-" in str(error), error
    else:
        raise AssertionError("it was let in")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])

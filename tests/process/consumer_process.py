"""A consumer of rows on the GPU, written from the protocol alone (shm/consumer/consumer_message.h), to be told what to do.

Reads one JSON command a line, answers each with one line:
    {"do": "say", "message": {…} or "any text"}   sends a packet; where "may_fail", to nobody, too
    {"do": "hear"}                                 the next packet; null at the end of the connection
    {"do": "open"}                                 opens the arena of the last offer
    {"do": "take", "arena": …}                     as an offer would, of an arena that is another's
    {"do": "read", "offset": …, "floats": …}       what lies there; by the device, as the host may not look
    {"do": "close"}                                closes the arena
    {"do": "connect", "path": …}                   begins a connection anew
    {"do": "remember"}                             keeps the arena open, to read it as "remembered", whatever is opened next
"""

import ctypes
import json
import socket
import sys

CU = ctypes.CDLL("libcuda.so.1")
LAZY_PEER_ACCESS = 1


def call(name, *arguments):
    result = getattr(CU, name)(*arguments)
    if result != 0:
        raise RuntimeError(f"{name}: {result}")


class Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * 64)]


class Process:
    def __init__(self, path):
        self.connect(path)
        call("cuInit", 0)
        context, self.stream, self.arena, self.offer = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64(), None
        call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        call("cuCtxSetCurrent", context)
        call("cuStreamCreateWithPriority", ctypes.byref(self.stream), 1, 0)

    def connect(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)

    def say(self, message, may_fail=False):
        try:
            self.socket.send((message if isinstance(message, str) else json.dumps(message)).encode())
        except ConnectionError:
            if not may_fail:
                raise

    def hear(self):
        try:
            packet = self.socket.recv(1 << 20)
        except ConnectionError:
            packet = b""
        message = json.loads(packet) if packet else None
        if message and message["type"] == "offer":
            self.offer = message["arena"]
        return message

    def take(self, arena):
        self.offer = arena

    def open(self):
        handle = Handle.from_buffer_copy(bytes.fromhex(self.offer["ipc"]))
        open_handle = CU.cuIpcOpenMemHandle_v2
        open_handle.argtypes = [ctypes.POINTER(ctypes.c_uint64), Handle, ctypes.c_uint]
        result = open_handle(ctypes.byref(self.arena), handle, LAZY_PEER_ACCESS)
        if result != 0:
            raise RuntimeError(f"open: {result}")

    def remember(self):
        self.remembered, self.arena = self.arena, ctypes.c_uint64()
        return self.offer

    def read(self, offset, floats, remembered=False):
        host = (ctypes.c_float * floats)()
        arena = self.remembered if remembered else self.arena
        call("cuMemcpyDtoHAsync_v2", host, ctypes.c_uint64(arena.value + offset), ctypes.c_size_t(4 * floats), self.stream)
        call("cuStreamSynchronize", self.stream)
        return list(host)

    def close(self):
        call("cuIpcCloseMemHandle", self.arena)


def main():
    process = Process(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        print(json.dumps(getattr(process, do)(**command)), flush=True)


if __name__ == "__main__":
    main()

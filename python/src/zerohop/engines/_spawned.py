"""What a process that multiprocessing spawns from an engine runs first, in place of the engine's main module.

Such a process must not outlive its parent: vLLM's core does not notice that it is alone, and keeps its memory for
good. See vllm.py.
"""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1

if __name__ == "__mp_main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

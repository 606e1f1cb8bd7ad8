"""Zerohop, an embedding server for one host: its clients, and (zerohop.replica) engines of one's own.

The clients are loaded when they are first named, so that a replica does without gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zerohop.client import (
        AsyncClient,
        BadAnswer,
        Cancelled,
        Client,
        DeadlineExceeded,
        Health,
        InvalidInput,
        Overloaded,
        ReplicaInfo,
        ServerInfo,
        Unavailable,
        WrongModel,
        ZerohopError,
    )
    from zerohop.gpu_consumer import GpuConsumer, GpuRows

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "GpuConsumer",
    "GpuRows",
    "Health",
    "InvalidInput",
    "Overloaded",
    "ReplicaInfo",
    "ServerInfo",
    "Unavailable",
    "WrongModel",
    "ZerohopError",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'zerohop' has no attribute {name!r}")
    module = "gpu_consumer" if name.startswith("Gpu") else "client"
    return getattr(import_module(f"zerohop.{module}"), name)

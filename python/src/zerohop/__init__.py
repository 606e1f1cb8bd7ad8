"""Zerohop, an embedding server for one host: its client, and (zerohop.replica) engines of one's own.

The client is loaded when it is first named, so that a replica does without gRPC.
"""

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

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
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
    from zerohop import client

    return getattr(client, name)

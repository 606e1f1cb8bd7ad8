"""Write an engine in Python, get N crash-proof replicas of it.

An engine is any object with three methods (see Engine)::

    class MyEngine:
        def load(self, options): ...        # options.model, options.take("--my-flag")
        def info(self): return zerohop.replica.Info(dim=384)
        def embed(self, batch): batch.rows[:] = self.model.encode(batch.texts)

    if __name__ == "__main__":
        zerohop.replica.serve(MyEngine())

`zerohop serve --engine ./my_engine.py` starts it, as often as --num-replicas says.
"""

from zerohop._shim import DeviceBlock
from zerohop.replica._batch import Batch, InvalidPrompt, Rows
from zerohop.replica._engine import Engine, Info
from zerohop.replica._options import Options
from zerohop.replica._serve import serve

__all__ = ["Batch", "DeviceBlock", "Engine", "Info", "InvalidPrompt", "Options", "Rows", "serve"]

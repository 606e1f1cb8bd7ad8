"""python -m zerohop.replica --engine NAME: what the broker starts for an engine that is not a script.

NAME is one of those that ship with this package, or `module:Class`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

from zerohop import _shim
from zerohop.replica import _serve
from zerohop.replica._options import parse
from zerohop.replica._runners import in_words, show

_SHIPPED = {
    "sentence-transformers": "zerohop.engines.sentence_transformers:SentenceTransformersEngine",
    "vllm": "zerohop.engines.vllm:VllmEngine",
}


def find_engine(name: str) -> Any:
    """An engine, not loaded. ValueError and ImportError say why there is none."""
    module, _, attribute = _SHIPPED.get(name, name).partition(":")
    if not module or not attribute:
        raise ValueError(f"no engine is called {name!r}: expected {', '.join(sorted(_SHIPPED))} or module:Class")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ValueError(f"the module {module} has no {attribute}")
    return found()


def main() -> NoReturn:
    _serve.prepare_process()
    sys.path.insert(0, os.getcwd())  # as `python -m` does: where the broker was started
    try:
        engine = find_engine(parse(sys.argv[1:]).engine)
    except ValueError as error:
        _serve.leave(_shim.refuse(str(error)))
    except BaseException as error:
        show(error)
        _serve.leave(_shim.refuse(in_words(error)))
    _serve.serve(engine)


if __name__ == "__main__":
    main()

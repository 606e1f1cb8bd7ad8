"""python -m zerohop.replica --engine NAME: what the broker starts for an engine in Python.

NAME is one of those that ship with this package, `module:Class`, or a script that calls zerohop.replica.serve.
"""

from __future__ import annotations

import importlib
import os
import runpy
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
    if not name:
        raise ValueError(f"--engine is missing: expected {', '.join(sorted(_SHIPPED))}, module:Class or a script.py")
    module, _, attribute = _SHIPPED.get(name, name).partition(":")
    if not module or not attribute:
        raise ValueError(f"no engine is called {name!r}: expected {', '.join(sorted(_SHIPPED))}, module:Class or a script.py")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise ValueError(f"the module {module} has no {attribute}")
    return found()


def run_script(path: str) -> NoReturn:
    """As `python path` would, with a clear word for a script that does not serve."""
    sys.argv[0] = path
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        raise ValueError(f"{path} has ended by itself ({in_words(end)}), without zerohop.replica.serve") from end
    raise ValueError(f"{path} has ended without a call of zerohop.replica.serve")


def main() -> NoReturn:
    _serve.prepare_process()
    name = ""
    try:
        name = parse(sys.argv[1:]).engine
        if name.endswith(".py"):
            run_script(name)
        sys.path.insert(0, os.getcwd())  # as `python -m` does: where the broker was started
        engine = find_engine(name)
    except ValueError as error:
        if name.endswith(".py"):  # the script's own line may be what matters
            show(error)
        _serve.leave(_shim.refuse(str(error)))
    except BaseException as error:
        show(error)
        _serve.leave(_shim.refuse(in_words(error)))
    _serve.serve(engine)


if __name__ == "__main__":
    main()

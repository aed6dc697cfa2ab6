"""Namespaces, and the module `__main__`, which answers for that of whoever asks."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from typing import Any

import pytest

from tapd.model.durable.namespace import Namespace, main_names


@pytest.fixture
def spaces() -> tuple[Namespace, Namespace]:
    made = Namespace(), Namespace()
    for number, namespace in enumerate(made):
        namespace.names["__name__"] = "__main__"
        namespace.names["number"] = number
    return made


def typed(namespace: Namespace, text: str) -> None:
    exec(text, namespace.names)


def test_each_namespace_is_main_to_its_own_code(spaces: Any) -> None:
    for number, namespace in enumerate(spaces):
        typed(namespace, "import __main__, sys\nfound = __main__.number\n")
        typed(namespace, "def later(): return sys.modules[__name__].__dict__ is globals()\n")
        assert namespace.names["found"] == number
        assert namespace.names["later"]()


def test_the_nearest_on_the_stack_is_asked(spaces: Any) -> None:
    first, second = spaces
    typed(second, "import __main__\ndef call(f): return __main__.number, f(), __main__.number\n")
    first.names["call"] = second.names["call"]
    typed(first, "import __main__\nfound = call(lambda: __main__.number)\n")
    assert first.names["found"] == (1, 0, 1)


def test_who_is_not_typed_gets_the_module(spaces: Any) -> None:
    main: Any = sys.modules["__main__"]
    assert issubclass(type(main), types.ModuleType)
    assert vars(main) is main_names()
    assert not hasattr(main, "number")
    main.seen_by_all = 5
    try:
        typed(spaces[0], "import __main__\nfound = __main__.seen_by_all\n")
        assert spaces[0].names["found"] == 5
        assert "seen_by_all" not in spaces[0].names
    finally:
        del main.seen_by_all
    with pytest.raises(AttributeError):
        getattr(main, "seen_by_all")  # noqa: B009 - it has none: that is what is tested


def test_names_are_set_and_deleted_by_the_module(spaces: Any) -> None:
    typed(spaces[0], "import __main__\n__main__.made = 1\nx = 2\ndel __main__.x\n")
    assert spaces[0].names["made"] == 1
    assert "x" not in spaces[0].names
    assert "made" not in main_names()
    assert "made" not in spaces[1].names


def test_in_threads_and_in_coroutines(spaces: Any) -> None:
    first, second = spaces
    for namespace in spaces:
        typed(namespace, "import __main__, asyncio\nfound = []\n")
        typed(namespace, "def look(): found.append(__main__.number)\n")
        typed(
            namespace,
            "async def watch():\n"
            "    for _ in range(3):\n        look()\n        await asyncio.sleep(0)\n",
        )
    thread = threading.Thread(target=first.names["look"])
    thread.start()
    thread.join()

    async def both() -> None:
        await asyncio.gather(first.names["watch"](), second.names["watch"]())

    asyncio.run(both())
    assert (first.names["found"], second.names["found"]) == ([0] * 4, [1] * 3)


def test_what_typed_code_pickles_is_found(spaces: Any) -> None:
    for number, namespace in enumerate(spaces):
        typed(namespace, f"import pickle\nclass C:\n    number = {number}\n")
        typed(namespace, "found = pickle.loads(pickle.dumps(C())).number, pickle.dumps(C)\n")
        assert namespace.names["found"][0] == number
    with pytest.raises(Exception, match="C"):
        __import__("pickle").dumps(spaces[0].names["C"])


def test_a_submodule_that_was_imported_is_imported_again(spaces: Any) -> None:
    namespace, again = spaces
    typed(namespace, "import xml.sax.saxutils\n")
    assert "import" not in namespace.__getstate__()
    namespace.note_imports(["xml.sax.saxutils"])
    state = namespace.__getstate__()
    del sys.modules["xml.sax.saxutils"]
    typed(namespace, "del xml.sax.saxutils\n")
    again.__setstate__(state)
    typed(again, "found = xml.sax.saxutils.escape('<')\n")
    assert again.names["found"] == "&lt;"
    assert again.__getstate__()["import"] == ["xml.sax.saxutils"]
    del again.names["xml"]
    assert "import" not in again.__getstate__()

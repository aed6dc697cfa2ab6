"""Typed code: its text is shown, and it lives through a TAP and through the journal."""

from __future__ import annotations

import asyncio
import gc
import inspect
import linecache
import pathlib
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import typed_kinds
from other_pythons import ENVIRONMENT, other_pythons
from portrait import differences, portrait_of
from typed_kinds import Prompt, holds, kinds_here

from tapd.image.pickling.pickler import (
    Restoration,
    StateLoader,
    StatePickler,
    dump_graph,
    load_graph,
)
from tapd.image.typed import compile_typed, will_not_be_saved
from tapd.model.durable.namespace import Namespace


def through_tap(prompt: Prompt) -> Namespace:
    dump = dump_graph(prompt.application)
    assert dump.losses == ()
    return load_graph(dump.data).services["shell"].namespace  # type: ignore[no-any-return]


def through_pickle(prompt: Prompt) -> Namespace:
    data = dump_graph(prompt.application).data
    return pickle.loads(data).services["shell"].namespace  # type: ignore[no-any-return]


def through_two_taps(prompt: Prompt) -> Namespace:
    first = load_graph(dump_graph(prompt.application).data)
    dump = dump_graph(first)
    assert dump.losses == ()
    return load_graph(dump.data).services["shell"].namespace  # type: ignore[no-any-return]


def through_journal(prompt: Prompt) -> Namespace:
    dump = StatePickler(lambda _obj: 7).dump_object(prompt.namespace)
    assert dump.losses == ()
    namespace = Namespace.__new__(Namespace)
    StateLoader(lambda _oid: namespace).restore(namespace, dump.data)
    return namespace


WAYS: tuple[Callable[[Prompt], Namespace], ...] = (
    through_tap, through_pickle, through_two_taps, through_journal,
)  # fmt: skip


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: Any) -> Callable[[Prompt], Namespace]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", kinds_here())
def test_it_lives(kind: str, way: Callable[[Prompt], Namespace]) -> None:
    prompt = Prompt()
    prompt.run(kinds_here()[kind][0])
    before = portrait_of(prompt.namespace.names)
    namespace = way(prompt)
    names = namespace.names
    assert names is not prompt.namespace.names
    assert differences(before, portrait_of(names)) == []
    for scope in (prompt.namespace.names, names):
        assert holds(kind, scope)


def test_it_lives_in_every_other_python(tmp_path: pathlib.Path) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python of 3.11 to 3.13 here: set TAPD_TEST_PYTHONS, or install one")
    own = tmp_path / "own"
    typed_kinds.save_all(own)
    for number, python in enumerate(pythons.values()):
        theirs = tmp_path / str(number)
        for mode, path in (("save", theirs), ("check", own)):
            command = [python, typed_kinds.__file__, mode, str(path)]
            done = subprocess.run(
                command, env=ENVIRONMENT, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stdout) == (0, ""), (python, mode, done.stderr)
        assert typed_kinds.failures(theirs) == []


def test_incomplete_input_is_none_and_wrong_input_raises() -> None:
    namespace = Namespace()
    assert compile_typed("def f():", namespace) is None
    assert compile_typed("(1,", namespace) is None
    with pytest.raises(SyntaxError):
        compile_typed("1 +* 2", namespace)


def test_names_of_sources_are_numbered_without_a_gap() -> None:
    namespace = Namespace()
    first = compile_typed("def f(): ...\n", namespace, stem="gap")
    assert compile_typed("def g():", namespace, stem="gap") is None
    second = compile_typed("def g(): ...\n", namespace, stem="gap")
    assert first is not None
    assert second is not None
    assert (first.co_filename, second.co_filename) == ("<gap 1>", "<gap 2>")


def test_await_at_the_prompt_gives_a_coroutine() -> None:
    namespace = Namespace()
    code = compile_typed("x = await nothing()", namespace, "exec")
    assert code is not None
    assert code.co_flags & inspect.CO_COROUTINE

    async def nothing() -> int:
        return 5

    namespace.names["nothing"] = nothing
    asyncio.run(eval(code, namespace.names))
    assert namespace.names["x"] == 5


def test_getsource_and_tracebacks_show_the_text(way: Callable[[Prompt], Namespace]) -> None:
    prompt = Prompt()
    text = "def divide(x):\n    return 1 / x  # here\n"
    prompt.type(text)
    namespace = way(prompt)
    for names in (prompt.namespace.names, namespace.names):
        assert inspect.getsource(names["divide"]) == text
        try:
            names["divide"](0)
        except ZeroDivisionError:
            assert "return 1 / x  # here" in traceback.format_exc()


def test_the_text_of_a_class_lives_as_long_as_the_class() -> None:
    prompt = Prompt()
    prompt.type("class Shown:\n    x = 1\n")
    dump_graph(prompt.application)  # as the turn's end does
    shown = prompt["Shown"]
    for number in range(300):
        prompt.type(f"def f{number % 3}(): return {number}\n")
    filename = inspect.getfile(shown)
    assert inspect.getsource(shown) == "class Shown:\n    x = 1\n"
    del prompt.namespace.names["Shown"], shown
    gc.collect()
    for number in range(300):
        prompt.type(f"def f{number % 3}(): return {number}\n")
    assert filename not in linecache.cache


def test_of_two_classes_of_one_name_each_shows_its_own_text() -> None:
    prompt = Prompt()
    prompt.type("class Twice:\n    def f(self): return 1\n")
    first = prompt["Twice"]
    prompt.type("class Twice:\n    def f(self): return 2\n")
    assert "return 1" in inspect.getsource(first)
    assert "return 2" in inspect.getsource(prompt["Twice"])


def test_other_classes_are_shown_as_ever() -> None:
    prompt = Prompt()
    code = compile_typed("class Path: ...\nmade = type('Made', (), {})\n", prompt.namespace, "exec")
    assert code is not None
    exec(code, prompt.namespace.names)
    assert inspect.getfile(pathlib.Path) == sys.modules[pathlib.Path.__module__].__file__
    assert "class Namespace" in inspect.getsource(Namespace)
    with pytest.raises(TypeError, match="built-in"):
        inspect.getfile(int)
    with pytest.raises((OSError, TypeError)):
        inspect.getsource(prompt["made"])


def test_two_texts_of_one_name_stay_apart() -> None:
    prompt = Prompt()
    prompt.type("def f(): return 'first'\n")
    data = dump_graph(prompt.application).data
    filename = prompt["f"].__code__.co_filename
    other = data.replace(b"'first'", b"'other'")
    names = load_graph(other).services["shell"].namespace.names
    assert names["f"]() == "other"
    assert names["f"].__code__.co_filename != filename
    assert "'other'" in inspect.getsource(names["f"])
    assert "'first'" in inspect.getsource(prompt["f"])


def test_a_text_that_nothing_needs_is_dropped() -> None:
    namespace = Namespace()
    code = compile_typed("def f(): ...\n", namespace, stem="dropped")
    assert code is not None
    filename = code.co_filename
    del code
    for number in range(300):
        compile_typed(f"1 + {number}", namespace, stem="dropped")
    assert filename not in linecache.cache


def test_a_line_that_is_repeated_is_compiled_once() -> None:
    namespace = Namespace()
    code = compile_typed("1 / 0", namespace, stem="again")
    assert code is not None
    for number in range(300):
        compile_typed(f"1 + {number}", namespace, stem="again")
        assert compile_typed("1 / 0", namespace, stem="again") is code
    assert linecache.getline(code.co_filename, 1) == "1 / 0\n"
    assert compile_typed("1 / 0", namespace, stem="other") is not code
    assert compile_typed("1 / 0", namespace, "exec", stem="again") is not code
    namespace.names["annotations"] = annotations
    assert compile_typed("1 / 0", namespace, stem="again") is not code
    del namespace.names["annotations"]
    for number in range(300):
        compile_typed(f"2 + {number}", namespace, stem="again")
    assert compile_typed("1 / 0", namespace, stem="again") is not code
    assert code.co_filename not in linecache.cache


def test_texts_that_others_dropped_are_dropped() -> None:
    namespace = Namespace()
    compile_typed("'shown'", namespace, stem="cleared")
    linecache.clearcache()
    for number in range(300):
        assert compile_typed(f"3 + {number}", namespace, stem="cleared") is not None


def test_definitions_and_long_texts_are_compiled_each_time() -> None:
    namespace = Namespace()
    for text in ("f = lambda: 0", f"'{'x' * 5000}'"):
        assert compile_typed(text, namespace) is not compile_typed(text, namespace)


def test_the_journal_finds_the_definitions_of_the_tap() -> None:
    prompt = Prompt()
    prompt.type("class C: pass\n")
    prompt.type("c = C()")
    prompt.type("def f(): return n\n")
    prompt.namespace._p_oid = 7
    restoration = Restoration()
    tap = load_graph(dump_graph(prompt.application).data, restoration)
    namespace = tap.services["shell"].namespace
    function, cls = namespace.names["f"], namespace.names["C"]
    prompt.type("n = 5")
    prompt.type("f.count = 3")
    prompt.type("C.x = 6")
    dump = StatePickler(lambda _obj: 7).dump_object(prompt.namespace)
    StateLoader(lambda _oid: namespace, restoration).restore(namespace, dump.data)
    assert namespace.names["f"] is function
    assert namespace.names["C"] is cls
    assert (function(), function.count, cls.x) == (5, 3, 6)
    assert type(namespace.names["c"]) is cls


def test_a_typed_durable_class_is_named_in_the_journal() -> None:
    prompt = Prompt()
    prompt.type("from tapd import Persistent")
    prompt.type("class R(Persistent):\n    def f(self): return self.v\n")
    pickler = StatePickler(lambda _obj: 7)
    data = pickler.dump_class(prompt["R"])
    namespace = Namespace.__new__(Namespace)
    loader = StateLoader(lambda _oid: namespace)
    cls = loader.load_class(data)
    made = cls.__new__(cls)
    made.__setstate__({"v": 3})
    assert made.f() == 3
    assert loader.load_class(data) is cls
    assert cls.f.__globals__ is namespace.names


def test_what_will_not_be_saved_is_said() -> None:
    prompt = Prompt()
    prompt.type("def gen():\n    yield\n")
    prompt.type("g = gen()")
    prompt.type("deep = {'a': [1, g]}")
    loss = will_not_be_saved(prompt["g"])
    assert loss is not None
    assert "generator" in loss.reason
    inside = will_not_be_saved(prompt["deep"])
    assert inside is not None
    assert inside.path == "['a'][1]"
    for name in ("gen", "__name__"):
        assert will_not_be_saved(prompt[name]) is None


def test_a_function_without_text_is_lost_and_costs_nothing_else() -> None:
    prompt = Prompt()
    prompt.type("import ast")
    prompt.type("exec(compile(ast.parse('def f(): return 1'), 'no text', 'exec'))")
    prompt.type("x = 5")
    dump = dump_graph(prompt.application)
    assert [loss.path for loss in dump.losses] == [
        "application.services['shell'].namespace.names['f']"
    ]
    assert load_graph(dump.data).services["shell"].namespace.names["x"] == 5


if sys.version_info >= (3, 12):

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("type Tree[T] = T | list[Tree[T]]\n", "refers to itself"),
            ("type Later = NoSuchName\n", "can't be evaluated yet: NameError"),
            ("def f[T: NoSuchName](): ...\n", "can't be evaluated yet: NameError"),
        ],
    )
    def test_what_of_types_is_lost_is_named_and_costs_nothing_else(text: str, reason: str) -> None:
        prompt = Prompt()
        prompt.run(f"{text}x = 5\n")
        dump = dump_graph(prompt.application)
        assert [reason in loss.reason for loss in dump.losses] == [True]
        namespace = load_graph(dump.data).services["shell"].namespace
        assert namespace.names["x"] == 5

"""`tapd-mktap app`: what authors write, and each way to write it wrong, named in a line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapd import Application, AuthorError, LineProtocol, PeerError, Service, UsageError
from tapd.cli.machine import Machine
from tapd.cli.mktap.command import run
from tapd.services.app.factory import make_from, parse_options, parse_target
from tapd.store.generations import Store
from tapd.store.key import load_key

MODULE = """
import asyncio
import functools
import pathlib
import threading
from tapd import Application, AsyncioService, LineProtocol, Protocol, Service, UsageError


class Chat(LineProtocol):
    pass


class Room(Service):
    protocol = Chat

    def __init__(self, title: str = "hall", seats: int = 3, warm: bool = False) -> None:
        self.title = title
        self.seats = seats
        self.warm = warm


def plain():
    return Room("plain")


class Prepared(Room):
    protocol = functools.partial(Chat)


def of_application(application, *, greeting="hello", tries=3, where: pathlib.Path | None = None):
    application.add_service(Room("second"), "second")
    room = Room(greeting, tries)
    room.where = where
    return room


def needs(name: str, share: float):
    return Room(f"{name} {share}")


def anything(**options):
    return Room(repr(options))


class Unmade(Application):
    def __init__(self):
        self.title = "super().__init__ was forgotten"


class WithoutFactory(AsyncioService):
    def __init__(self):
        self.title = "and here"


def the_class():
    return Room


def whole(application):
    application.listen(4711, Room("whole"))
    return application


def own():
    application = Application("own")
    application.listen("127.0.0.1:4712", Room("own"))
    application.listen("127.0.0.1:4713", Service(), )
    return application


def nothing():
    Room()


def wrong():
    return {"a": 1}


def a_protocol():
    return Chat


def raises():
    def inner():
        return {}["key"]

    return inner()


def refuses():
    raise UsageError("set the title first")


def exits():
    raise SystemExit("no database")


async def suspended():
    return Room()


def generated():
    yield Room()


def local():
    class Inside(Service):
        pass

    return Inside()


def local_protocol():
    class Outside(LineProtocol):
        pass

    room = Room()
    Room.protocol = Outside
    return room


def empty():
    return Application("empty")


def lossy():
    room = Room()
    room.socket = threading.Thread(target=print)
    return room


def hosts_asyncio():
    return asyncio.Protocol()


instance = Room("instance")
number = 5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with the module in it, a key, and a clean list of modules."""
    before = dict(sys.modules)
    directory = tmp_path / "here"
    package = directory / "office"
    package.mkdir(parents=True)
    (directory / "rooms.py").write_text(MODULE)
    (package / "__init__.py").write_text("")
    (package / "desk.py").write_text("from office import lamp\nfrom rooms import Room\n")
    (package / "lamp.py").write_text("")
    (directory / "needing.py").write_text("import rooms\nimport redis_that_is_not_there\n")
    (directory / "broken.py").write_text("def make(:\n")
    (directory / "raising.py").write_text("import rooms\nvalue = 1 / 0\n")
    (directory / "main_only.py").write_text("from tapd import Service\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TAPD_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.chdir(directory)
    yield directory
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


@pytest.fixture
def make(here: Path) -> Callable[..., Any]:
    sys.path.insert(0, str(here))

    def make_one(target: str, **options: str) -> Any:
        return make_from(parse_target(target), Application("a"), options)

    return make_one


Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ("rooms:plain", "plain"),
        ("rooms:of_application", "hello"),
        ("rooms:the_class", "hall"),
        ("rooms:Room", "hall"),
        ("rooms:Prepared", "hall"),
        ("rooms:instance", "instance"),
        ("office.desk:Room", "hall"),
    ],
)
def test_what_gives_a_service(make: Make, target: str, title: str) -> None:
    assert make(target).title == title


def test_options_become_what_the_signature_says(make: Make) -> None:
    room = make("rooms:Room", title="7", seats="7", warm="yes")
    assert (room.title, room.seats, room.warm) == ("7", 7, True)
    room = make("rooms:of_application", greeting="hi", tries="5", where="/srv")
    assert (room.title, room.seats, room.where) == ("hi", 5, Path("/srv"))
    assert make("rooms:needs", name="n", share="0.5").title == "n 0.5"
    assert make("rooms:anything", x="1").title == "{'x': '1'}"


def test_options_as_typed() -> None:
    assert parse_options(["a=1", "b-c==2", "d="]) == {"a": "1", "b_c": "=2", "d": ""}
    for wrong in ("a", "=1", "1a=2"):
        with pytest.raises(UsageError, match="write KEY=VALUE"):
            parse_options([wrong])
    with pytest.raises(UsageError, match="given twice"):
        parse_options(["a=1", "a=2"])


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("rooms:Room", {"titel": "x"}, "has no such parameter; did you mean title?"),
        ("rooms:plain", {"x": "y"}, "has no such parameter; it has none"),
        ("rooms:Room", {"seats": "many"}, "--option seats=many: write a whole number"),
        ("rooms:Room", {"warm": "maybe"}, "--option warm=maybe: write yes or no"),
        ("rooms:needs", {"name": "n"}, "rooms:needs needs --option share=VALUE"),
        ("rooms:instance", {"a": "b"}, "takes no --option"),
        ("rooms:Rom", {}, "has no Rom; did you mean Room?"),
        ("rooms:zzz", {}, "has no zzz; it has Chat, Room, plain"),
        ("main_only:make", {}, "it defines nothing that can be called"),
        ("romos:Room", {}, "there is no module romos; did you mean rooms?"),
        ("quite.other:Room", {}, "as --path, or install it"),
        ("office.dsek:Room", {}, "there is no module office.dsek; did you mean desk?"),
        ("office.xyzzy.q:Room", {}, r"no module office.xyzzy \(of office.xyzzy.q\)"),
        ("rooms.inner:Room", {}, "rooms is a module and no package"),
        ("rooms", {}, "write MODULE:FACTORY"),
        ("rooms:", {}, "write MODULE:FACTORY"),
        (":Room", {}, "write MODULE:FACTORY"),
        ("rooms.py:Room", {}, "rooms.py is a file's name.*rooms:Room"),
        ("./rooms.py", {}, "rooms:make_application"),
        ("__main__:Room", {}, "is not found again by the server"),
        ("rooms:refuses", {}, "set the title first"),
    ],
)
def test_what_the_one_at_the_keyboard_can_mend(
    make: Make, target: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make(target, **options)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("rooms:nothing", "rooms:nothing returned None; forgot its `return`?"),
        ("rooms:wrong", "returned a dict; return a Service or an Application"),
        ("rooms:a_protocol", r"class My\(Service\): protocol = Chat"),
        ("rooms:Chat", r"class My\(Service\): protocol = Chat"),
        (
            "rooms:raises",
            r"raised KeyError: 'key' \(.*rooms.py:\d+ in inner, called at .*in raises",
        ),
        ("rooms:exits", "raised SystemExit: no database"),
        ("rooms:suspended", "is async def: it runs once"),
        ("rooms:generated", "is a generator: it runs once"),
        ("rooms:local", r"local.<locals>.Inside is not found again.*top of a module"),
        ("rooms:local_protocol", r"local_protocol.<locals>.Outside is not found again"),
        ("rooms:Unmade", r"Unmade.__init__ .* write super\(\).__init__\(NAME\)"),
        ("rooms:WithoutFactory", r"write super\(\).__init__\(FACTORY\) in its __init__"),
        ("rooms:number", "rooms:number is a int; name a function"),
        ("rooms:hosts_asyncio", "returned a Protocol; host it: return AsyncioService"),
        ("needing:make", r"imports 'redis_that_is_not_there', which .*\(.*needing.py:2"),
        ("broken:make", r"importing broken: SyntaxError: .* \(.*broken.py:1: def make"),
        ("raising:make", r"ZeroDivisionError: division by zero \(.*raising.py:2"),
    ],
)
def test_what_the_author_can_mend(make: Make, target: str, said: str) -> None:
    with pytest.raises(AuthorError, match=said) as caught:
        make(target)
    assert "factory.py" not in str(caught.value)  # none of our own lines


# --- through the command ----------------------------------------------------------------


def tap(path: Path) -> Application:
    return Store(path, load_key()).load().application


BY_HAND = Machine(is_system=False)


def test_the_tap_is_named_after_the_module_and_knows_where_that_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["app", "office.desk:Room", "--port", "4711", "-o", "seats=9"], BY_HAND) == 0
    application = tap(here / "desk.tap")
    assert application.services["room"].seats == 9
    assert application.python_path == (str(here),)
    assert {port.address.port for port in application.ports} == {4711}
    assert "room on 127.0.0.1:4711" in capsys.readouterr().out


def test_the_server_finds_its_module_without_being_told(here: Path, tmp_path: Path) -> None:
    assert run(["app", "rooms:plain", "--port", "4711"], BY_HAND) == 0
    code = (
        "import sys; from pathlib import Path; from tapd.store.key import load_key; "
        "from tapd.store.generations import Store; "
        f"print(Store(Path({str(here / 'rooms.tap')!r}), load_key()).load().application.services)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "<Room room>" in loaded.stdout


def test_another_directory_is_named_by_path(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["app", "rooms:plain", "--port", "4711"]
    assert run(arguments, BY_HAND) == 64
    assert run([*arguments, "--path", "here"], BY_HAND) == 0
    assert tap(tmp_path / "rooms.tap").python_path == (str(here),)


def test_an_application_brings_its_own_name_and_ports(here: Path) -> None:
    assert run(["app", "rooms:own", "--directory", "."], BY_HAND) == 0
    application = tap(here / "own.tap")
    assert [str(port.address) for port in application.ports] == ["127.0.0.1:4712", "127.0.0.1:4713"]
    assert run(["app", "rooms:own", "--name", "renamed", "--port", "4714"], BY_HAND) == 0
    application = tap(here / "renamed.tap")
    assert application.name == "renamed"
    assert [str(port.address) for port in application.ports][2:] == ["127.0.0.1:4714", "[::1]:4714"]
    assert {port.service.name for port in application.ports[2:]} == {"room"}
    assert run(["app", "rooms:whole"], BY_HAND) == 0
    assert len(tap(here / "rooms.tap").ports) == 2


def test_a_second_service_is_appended(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["app", "rooms:plain", "--port", "4711", "--name", "one"], BY_HAND) == 0
    appended = ["app", "rooms:Room", "--append", "one.tap", "--port", "4712", "--name", "two"]
    assert run(appended, BY_HAND) == 0
    assert list(tap(here / "one.tap").services) == ["room", "two"]
    capsys.readouterr()
    assert run(["app", "rooms:own", "--append", "one.tap", "--port", "4713"], BY_HAND) == 64
    assert "an application of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["rooms:plain"], 64, "--port is needed"),
        (["rooms:empty", "--port", "1"], 70, "has no service; add one"),
        (["rooms:zzz", "--port", "x"], 64, "has no zzz"),
        ([], 64, "Missing argument 'MODULE:FACTORY'"),
        (["rooms:plain", "more", "--port", "1"], 64, "'more' is too much"),
    ],
)
def test_wrong_command_lines(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert run(["app", *arguments], BY_HAND) == status
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == len(set(told.splitlines()))
    assert not list(here.glob("*.tap"))


def test_what_cannot_be_kept_is_named_when_the_tap_is_made(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["app", "rooms:lossy", "--port", "4711"], BY_HAND) == 0
    assert (here / "rooms.tap").exists()
    told = capsys.readouterr().err
    assert "not kept: " in told
    assert "services['room'].socket" in told


def test_async_callbacks_are_refused_where_they_are_written() -> None:
    with pytest.raises(AuthorError, match=r"Waiting.data_received is async def, so it can't be"):

        class Waiting(LineProtocol):
            async def data_received(self, data: bytes) -> None:  # type: ignore[override]
                await asyncio.sleep(0)

    with pytest.raises(AuthorError, match=r"Yielding.line_received is a generator"):

        class Yielding(LineProtocol):
            def line_received(self, line: str) -> Any:
                yield line

    with pytest.raises(AuthorError, match=r"Starting.start is async def"):

        class Starting(Service):
            async def start(self) -> None:  # type: ignore[override]
                raise PeerError

    class Helping:
        def helper(self) -> Any:
            """Another class's own affair: nobody's callback."""

    class Fine(LineProtocol, Helping):
        async def helper(self) -> None:
            """The same."""


async def _later() -> None: ...


def test_a_timer_of_a_coroutine_is_refused() -> None:
    with pytest.raises(AuthorError, match=r"call_later: .* is async def"):
        Application("a").call_later(1, _later)
    with pytest.raises(AuthorError, match=r"can't be called; give the method, without \(\)"):
        Application("a").call_later(1, print())  # type: ignore[arg-type]

"""Server types that an administrator adds: found by the packaged commands, run by its units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from booted import Booted

pytestmark = pytest.mark.timeout(600)  # a busy machine installs packages slowly

SOURCE = '''
"""A server type of a person's own: it counts lines."""

from tapd.model.protocol import Protocol
from tapd.model.server_type import ServerType
from tapd.model.service import Service


class Count(Protocol):
    def data_received(self, data):
        self.service.lines += data.count(b"\\n")
        self.transport.write(b"%d\\n" % self.service.lines)


class Counter(Service):
    lines = 0

    def build_protocol(self, peer):
        return Count()


counter_type = ServerType("@NAME@", "Counts lines.", lambda application, options: Counter())
'''

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tapd-@NAME@"
version = "1.0"

[project.entry-points."tapd.types"]
@NAME@ = "tapd_@NAME@:counter_type"

[tool.setuptools]
py-modules = ["tapd_@NAME@"]
"""


def write_project(debian: Booted, name: str) -> str:
    directory = f"/root/{name}"
    debian.run("mkdir", "-p", directory)
    debian.write(f"{directory}/tapd_{name}.py", SOURCE.replace("@NAME@", name))
    debian.write(f"{directory}/pyproject.toml", PROJECT.replace("@NAME@", name))
    return directory


def with_pip(debian: Booted, name: str) -> None:
    """Into /usr/local/lib/python3.X/dist-packages, as a person does it."""
    pip = ["pip", "install", "--break-system-packages", "--no-index", "--no-build-isolation",
           "--quiet", "--root-user-action=ignore"]  # fmt: skip
    debian.run(*pip, write_project(debian, name))


def with_a_package(debian: Booted, name: str) -> None:
    """Into /usr/lib/python3/dist-packages, as a Debian package does it."""
    directory = write_project(debian, name)
    script = """
set -e
cd "$1"
pip install --no-index --no-build-isolation --no-compile --quiet --root-user-action=ignore \\
    --target root/usr/lib/python3/dist-packages .
mkdir root/DEBIAN
printf '%s\\n' "Package: tapd-$2" 'Version: 1.0' 'Architecture: all' 'Depends: tapd' \\
    'Maintainer: A person <person@example.invalid>' 'Description: counts lines' >root/DEBIAN/control
dpkg-deb --build root plugin.deb
dpkg --install plugin.deb
"""
    debian.run("sh", "-c", script, "sh", directory, name)


@pytest.mark.parametrize(
    ("name", "install", "port"),
    [("pip", with_pip, 4320), ("package", with_a_package, 4321)],
    ids=["pip", "package"],
)
def test_a_type_of_ones_own_runs_under_systemd(
    debian: Booted, name: str, install: Callable[[Booted, str], None], port: int
) -> None:
    install(debian, name)
    assert name in debian.output("tapd-mktap", "--help")
    debian.run("tapd-mktap", name, "--port", str(port))
    debian.run("systemctl", "start", f"tapd@{name}")

    def count(lines: str) -> str:
        return debian.output("nc", "-N", "127.0.0.1", str(port), stdin=lines)

    assert count("a\nb\n") == "2\n"
    # Kept over a kill: its class is found again, from inside the sandbox.
    debian.run("systemctl", "kill", "--signal=KILL", f"tapd@{name}")
    assert count("c\n") == "3\n"
    debian.run("systemctl", "stop", f"tapd@{name}")
    assert count("d\n") == "4\n"
    assert "Traceback" not in debian.journal(f"tapd@{name}", "--output=cat")
    debian.run("systemctl", "stop", f"tapd@{name}.socket")


def test_a_broken_type_costs_only_itself(debian: Booted) -> None:
    with_pip(debian, "broken")
    module = debian.glob("/usr/local/lib/python3*/dist-packages/tapd_broken.py")[0]
    debian.write(module, "import there_is_no_such_module\n")
    refused = debian.run("tapd-mktap", "broken", "--port", "4322", check=False)
    assert refused.returncode == 70
    assert "there_is_no_such_module" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "telnet" in debian.output("tapd-mktap", "--help")
    debian.run("pip", "uninstall", "--yes", "--break-system-packages", "tapd-broken")

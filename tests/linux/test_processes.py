"""prctl(2), clone(2) and limits, in processes of their own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tapd.linux import processes


def run(code: str) -> str:
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def test_an_import_loads_no_ctypes() -> None:
    imports = "import tapd.linux.memory, tapd.linux.processes, tapd.linux.sockets"
    assert run(f"import sys; {imports}; print('ctypes' in sys.modules)") == "False"


def test_a_child_gets_its_signal_when_its_parent_ends() -> None:
    code = """
import os, signal, time
from tapd.linux.processes import prepare_prctl, signal_at_parents_end
prepare_prctl()
ready, told = os.pipe()
if os.fork() == 0:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    asked = signal_at_parents_end(signal.SIGUSR1)
    os.write(told, b"!")
    number = signal.sigtimedwait([signal.SIGUSR1], 60).si_signo
    print(asked, number == signal.SIGUSR1, flush=True)
else:
    os.read(ready, 1)
os._exit(0)
"""
    assert run(code) == "True True"


def test_files_are_shared_and_the_name_is_its_own() -> None:
    code = """
import os
from tapd.linux.processes import fork_sharing_files, open_files, set_process_name
ready, told = os.pipe()
pid = fork_sharing_files()
if pid == 0:
    set_process_name(b"shares")
    os.dup2(1, 99)
    os.write(told, open("/proc/self/comm", "rb").read())
    os._exit(0)
name = os.read(ready, 99).decode().strip()
os.waitpid(pid, 0)
print(name, 99 in open_files())
"""
    assert run(code) == "shares True"


def test_a_failed_clone_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processes._SYS_CLONE, os.uname().machine, 100_000)
    with pytest.raises(OSError, match="not implemented"):
        processes.fork_sharing_files()


def test_open_files_are_raised_as_far_as_allowed() -> None:
    code = """
import resource
from tapd.linux.processes import open_files_max, raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 80))
raise_open_files(40); print(open_files_max())
raise_open_files(60); print(open_files_max())
raise_open_files(99); print(open_files_max())
"""
    assert run(code).split() == ["50", "60", "80"]


def test_no_limit_of_open_files_is_no_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    infinite = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (infinite, infinite))
    assert processes.open_files_max() == sys.maxsize


def test_the_oom_killer_is_offered_the_process() -> None:
    code = """
from pathlib import Path
from tapd.linux.processes import offer_to_oom_killer
offer_to_oom_killer(); print(Path("/proc/self/oom_score_adj").read_text())
"""
    assert run(code) == "1000"
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"

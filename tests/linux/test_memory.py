"""What proc(5) says of memory, and the limit of the address space."""

from __future__ import annotations

import subprocess
import sys

from tapd.linux import memory


def test_figures_are_plausible() -> None:
    assert 1 << 20 < memory.resident_bytes() <= memory.peak_bytes()
    assert 0 <= memory.available_bytes() <= memory.NO_LIMIT


def test_a_peak_is_forgotten() -> None:
    data = bytes(range(256)) * (1 << 18)
    with_data = memory.peak_bytes()
    del data
    memory.forget_peak()
    assert memory.peak_bytes() < with_data


def test_what_asks_for_more_fails_until_the_limit_is_gone() -> None:
    code = """
import resource
from tapd.linux.memory import limit_address_space, restore_address_space
before = limit_address_space(100 << 20)
bytearray(50 << 20)
try:
    bytearray(200 << 20)
except MemoryError:
    print("refused")
lower = limit_address_space(1 << 40)
assert resource.getrlimit(resource.RLIMIT_AS) == lower, "a lower limit stays"
restore_address_space(before)
print(len(bytearray(200 << 20)) >> 20)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["refused", "200"]

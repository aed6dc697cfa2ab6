"""The ways in which an author's code forks: by name, code that sets `out` to 0 if all is well."""

from __future__ import annotations

_TEXT = """\
# os.fork
import os; pid = os.fork()
if pid:
    out = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# a child that ends itself
import os; pid = os.fork()
if not pid: os._exit(7)
out = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) - 7

# a child that is cleared up after
import os, sys; pid = os.fork()
try:
    if not pid: sys.exit(3)
finally:
    if pid: out = os.waitpid(pid, 0)[0] - pid

# os.forkpty
import os; pid, fd = os.forkpty()
if pid:
    os.waitpid(pid, 0); os.close(fd); out = 0

# forks of forks
import os; pid = os.fork()
if not pid: os.fork()
if pid: out = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# multiprocessing.Process
import multiprocessing
process = multiprocessing.get_context('fork').Process(target=print, args=('in the child',))
process.start(); process.join()
# From a thread of an executor it ends with 1 in plain Python as well.
out = int(process.exitcode not in (0, 1))

# a process terminated at once
import multiprocessing, time
process = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))
process.start(); process.terminate(); process.join()
out = process.exitcode + 15

# multiprocessing.Pool
import multiprocessing
with multiprocessing.get_context('fork').Pool(2) as pool:
    out = sum(pool.map(abs, [-1, 1])) - 2
pool.join()

# ProcessPoolExecutor
import concurrent.futures, multiprocessing
context = multiprocessing.get_context('fork')
with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
    out = executor.submit(abs, 0).result()

# preexec_fn
import os, subprocess
out = subprocess.run(['true'], preexec_fn=os.getpid).returncode

# a loop of its own
import asyncio, os; pid = os.fork()
if not pid: os._exit(asyncio.run(asyncio.sleep(0, 5)))
out = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) - 5

# a signal for the child
import os, signal, time; pid = os.fork()
if not pid: time.sleep(600)
os.kill(pid, signal.SIGTERM)
out = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) + 15
"""

WAYS = dict(each.split("\n", 1) for each in _TEXT.removeprefix("# ").split("\n\n# "))

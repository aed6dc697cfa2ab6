"""What typed and imported code does to the interpreter under it; by name, the code.

docs/promises.md has a row for each, in the section that says what holds.
"""

from __future__ import annotations

_BUILTINS = ("print", "open", "id", "__build_class__", "__import__", "super", "BaseException")

GOES_ON = {
    "sys.settrace": "import sys; sys.settrace(lambda *given: None)",
    "threading.settrace": "import threading; threading.settrace(lambda *given: 1 / 0)",
    "sys.setrecursionlimit low": "import sys; sys.setrecursionlimit(60)",
    "sys.setrecursionlimit high": "import sys; sys.setrecursionlimit(10**6)",
    "gc": "import gc; gc.disable(); gc.set_threshold(1); gc.freeze()",
    "sys.setswitchinterval": "import sys; sys.setswitchinterval(100)",
    "sys.stdout closed": "import sys; sys.stdout.close(); sys.stderr.close()",
    "sys.stdout None": "import sys; sys.stdout = sys.stderr = sys.stdin = None",
    "descriptors 0 to 2 closed": "import os; os.close(0); os.close(1); os.close(2)",
    "os.chdir": "import os; os.chdir('/')",
    "os.umask": "import os; os.umask(0o777)",
    "os.environ": "import os; os.environ.clear()",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "signals ignored": "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]",
    "signals blocked": "import signal; signal.pthread_sigmask(0, signal.valid_signals())",
    "random.seed": "import random; random.seed(1)",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "logging.disable": "import logging; logging.disable(1000)",
    "logging.shutdown": "import logging; logging.shutdown()",
    "exception handler": "import asyncio; loop = asyncio.get_event_loop()\n"
    "loop.set_exception_handler(lambda *given: 1 / 0); loop.call_soon(lambda: 1 / 0)",
    "sys.excepthook": "import sys; sys.excepthook = sys.unraisablehook = None",
    "sys.exit in a thread": "import sys, threading; threading.Thread(target=sys.exit).start()",
    "RLIMIT_NOFILE": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))",
    "os.nice": "import os; os.nice(5)",
    "sys.modules": "import sys\nfor name in list(sys.modules):\n"
    "    if name.startswith('tapd'): del sys.modules[name]",
    "sys.path": "import sys; sys.path.clear(); sys.meta_path.clear()",
    "atexit": "import atexit, os; atexit.register(os._exit, 9)",
} | {f"builtins.{name}": f"import builtins; builtins.{name} = None" for name in _BUILTINS}
"""The server serves on, in the same process."""

ENDS = {
    "loop.stop": "import asyncio; asyncio.get_event_loop().stop()",
    "the loop's selector": "import asyncio; asyncio.get_event_loop()._selector.close()",
    "time.time": "import time; time.time = time.monotonic = time.sleep = None",
}
"""The process ends once it has answered, and the next one is as it was before."""

SKIPPED = {
    "builtins.len": "import builtins; builtins.len = None",
    "os.closerange": "import os; os.closerange(3, 1000)",
}
"""The process ends before it has answered, each time: the input is skipped in the end."""

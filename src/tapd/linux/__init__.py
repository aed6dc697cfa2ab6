"""Linux facts that Python's standard library has no name for, each once.

`sockets` has socket options and credentials, `processes` prctl(2), clone(2) and the limit of
open files, `memory` what proc(5) and cgroups(7) say of memory. Each constant names the man
page or header that it is from. Importing them loads no `ctypes`: what needs it imports it.
"""

"""Linux interfaces that Python's standard library lacks.

`sockets` has socket options and credentials, `processes` prctl(2), clone(2) and the limit
of open files, `memory` figures from proc(5) and cgroups(7). Each constant names its man
page or header. Importing these modules loads no `ctypes`; the functions that need it
import it.
"""

"""Faults at each system call: a real server under strace, against the same server without.

`scenario` is a short, deterministic play of a few clients against `service`; `rig` runs
it with one life of the server under strace, which kills it at the entry of its Nth call
of a kind, or has that call fail; `calls` says which calls, which errors and which N;
`verdict` says what has to hold. ``python tests/faults`` runs any of it by hand.
"""

"""Which system calls a fault is for, and which faults."""

from __future__ import annotations

KILLED_AT = (
    # what is durable
    "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "linkat", "unlink", "mkdir",
    "flock", "fchmod",
    # connections
    "accept4", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown", "setsockopt", "getsockopt",
    "epoll_ctl", "epoll_wait", "epoll_create1", "socket", "socketpair", "bind", "listen",
    "getpeername", "getsockname",
    # processes and threads
    "clone", "clone3", "vfork", "pipe2", "pidfd_open", "pidfd_send_signal", "wait4", "kill",
    "exit_group", "futex", "poll",
)  # fmt: skip
"""Calls at which the server is killed, for every number that there is."""

STARTING = (
    "openat", "close", "read", "pread64", "ioctl", "lseek", "fcntl", "newfstatat", "getdents64",
    "mmap", "munmap", "mremap", "mprotect", "brk", "rt_sigaction", "rt_sigprocmask", "getrandom",
    "readlink", "getpid", "geteuid", "getcwd",
)  # fmt: skip
"""Calls that an interpreter makes by the thousand before the first line of tapd is run."""

ERRORS = {
    "write": ("ENOSPC", "EIO", "EINTR"),
    "pwrite64": ("ENOSPC", "EIO", "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EINTR"),
    "fdatasync": ("EIO", "ENOSPC", "EINTR"),
    "ftruncate": ("EIO", "EINTR"),
    "rename": ("ENOSPC", "EIO", "ENOMEM"),
    "linkat": ("ENOSPC", "EIO", "ENOMEM"),
    "unlink": ("EIO", "ENOMEM"),
    "mkdir": ("ENOSPC", "EIO", "ENOMEM"),
    "flock": ("EINTR", "ENOMEM"),
    "fchmod": ("EIO", "ENOMEM"),
    "accept4": ("EMFILE", "ENOMEM", "EINTR", "EAGAIN"),
    "sendto": ("ENOMEM", "EINTR", "EAGAIN"),
    "sendmsg": ("ENOMEM", "EINTR", "EAGAIN"),
    "recvfrom": ("ENOMEM", "EINTR", "EAGAIN"),
    # Not EAGAIN: a segment of the vault that holds a connection never says that it is empty.
    "recvmsg": ("ENOMEM", "EINTR"),
    "setsockopt": ("ENOMEM",),
    "getsockopt": ("ENOMEM",),
    "ioctl": ("ENOMEM",),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR",),
    "epoll_create1": ("EMFILE", "ENOMEM"),
    "socket": ("EMFILE", "ENOMEM"),
    "socketpair": ("EMFILE", "ENOMEM"),
    "bind": ("ENOMEM",),
    "poll": ("EINTR", "ENOMEM"),
    "clone": ("EAGAIN", "ENOMEM"),
    "clone3": ("EAGAIN", "ENOMEM"),
    "pipe2": ("EMFILE", "ENOMEM"),
    "pidfd_open": ("EMFILE", "ENOMEM"),
    "wait4": ("EINTR",),
    "openat": ("EMFILE", "ENOMEM", "EIO", "EINTR", "ENOSPC"),
    "read": ("EIO", "EINTR"),
    "newfstatat": ("ENOMEM", "EIO"),
    "getdents64": ("EIO", "ENOMEM"),
    "mmap": ("ENOMEM",),
    "mprotect": ("ENOMEM",),
}
"""Errors with which a call may fail, by what its man page says."""

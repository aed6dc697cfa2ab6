"""Every exception of tapd, grouped by who can act on it.

Each class has the exit status of a command that ends with this error. The statuses of
sysexits.h (64 to 78) mean that a restart does not help; the unit file lists them in
``RestartPreventExitStatus=``.

A message names the operation, its object, the problem and the next step, in one line if
possible.
"""

from __future__ import annotations


class TapdError(Exception):
    """Base of every error that tapd raises on purpose."""

    exit_status = 70  # EX_SOFTWARE


# --- the peer can act: somebody at the other end of a connection -----------


class PeerError(TapdError):
    """A client broke the protocol; only its own connection suffers."""


class InputTooLong(PeerError):
    """A line or a message is longer than the limit set for it."""


# --- the administrator can act ----------------------------------------------


class AdministratorError(TapdError):
    """Something that the server's administrator can fix."""

    exit_status = 78  # EX_CONFIG


class UsageError(AdministratorError):
    """The command line is wrong."""

    exit_status = 64  # EX_USAGE


class TapMissing(AdministratorError):
    """There is no TAP where one was named."""

    exit_status = 66  # EX_NOINPUT


class TapDamaged(AdministratorError):
    """A TAP is empty, cut short or changed since it was written."""

    exit_status = 65  # EX_DATAERR


class TapForeign(AdministratorError):
    """A TAP carries no signature made with this host's key."""

    exit_status = 77  # EX_NOPERM


class TapTooNew(AdministratorError):
    """A TAP was written by a later tapd, in a format this one does not know."""

    exit_status = 65  # EX_DATAERR


class TapExists(AdministratorError):
    """A TAP would be overwritten and ``--force`` was not given."""

    exit_status = 73  # EX_CANTCREAT


class JournalDamaged(AdministratorError):
    """A journal is damaged before its end, so not by a torn last write."""

    exit_status = 65  # EX_DATAERR


class KeyUnusable(AdministratorError):
    """The key that signs TAPs is missing, unreadable or malformed."""

    exit_status = 78  # EX_CONFIG


class StateLocked(AdministratorError):
    """Another daemon runs on the same TAP."""

    exit_status = 75  # EX_TEMPFAIL


class NotRunning(AdministratorError):
    """A command needs a running server, and there is none, or it ended meanwhile."""

    exit_status = 69  # EX_UNAVAILABLE


class NotAllowed(AdministratorError):
    """A user other than root and the server's own asked at its control socket."""

    exit_status = 77  # EX_NOPERM


class StateUnwritable(AdministratorError):
    """The state directory can't be written: permissions, or a full disk."""

    exit_status = 74  # EX_IOERR


class ConnectionsUnreadable(AdministratorError):
    """This process may not open as many files as the vault holds connections.

    They stay in the vault, so the next start with a higher limit has them all.
    """

    exit_status = 74  # EX_IOERR, the one that a restart may mend


class AddressUnusable(AdministratorError):
    """A port is in use, or an address is not one of this machine's."""

    exit_status = 69  # EX_UNAVAILABLE


class SocketMismatch(AdministratorError):
    """The inherited sockets do not match the application's ports."""

    exit_status = 78  # EX_CONFIG


class UnitFileMalformed(AdministratorError):
    """A unit file or drop-in contains a line that is not of its syntax."""


class ServiceManagerFailed(AdministratorError):
    """systemctl could not be run, or refused what it was asked."""

    exit_status = 69  # EX_UNAVAILABLE


class UpgradeRefused(AdministratorError):
    """State can't be brought to the version of the code that is installed."""

    exit_status = 65  # EX_DATAERR


# --- the author of an application can act ------------------------------------


class AuthorError(TapdError):
    """An application uses the API wrongly."""


class NotStorable(AuthorError):
    """An object that must be saved can't be pickled, and no placeholder will do."""


class LostObject(AuthorError):
    """An operation needs an object that could not be saved."""


class CannotKeep(AuthorError):
    """One object can't be saved; the message is the reason. Never leaves room ``image``."""


class StartFailed(AuthorError):
    """A service raised in `start`; those that had started were stopped, nothing was saved.

    A restart tries again and keeps the connections meanwhile, unless the status of the
    error says that a restart does not help.
    """

    exit_status = 1


class DescriptorLost(AuthorError):
    """Code in this process closed or replaced a descriptor that tapd needs.

    The process ends, since its knowledge of its descriptors is invalid. The next one takes
    connections from the vault and state from the journal, and nothing is lost.
    """

    exit_status = 1


class InterpreterBroken(AuthorError):
    """Code in this process replaced a builtin with an object that can't be called.

    The process ends, and nothing is lost: nothing else is to blame for its failures.
    """

    exit_status = 1


class UntrackedChange(AuthorError):
    """Strict mode found a change that the journal would not restore."""


# --- nobody outside can act: a bug -------------------------------------------


class BugError(TapdError):
    """An invariant of tapd's own does not hold; please report it."""

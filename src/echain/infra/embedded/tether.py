"""Becomes another program that dies with its parent, even when the parent is killed.

Run as a script by `child.spawn`: ``tether.py <parent pid> <signal> <user id or -> <program> <argument>…``.
It is a script, as a function between fork and exec is unsafe in a process with threads. It imports nothing of
ours and starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x2008_0522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _become(libc: ctypes.CDLL, user: int) -> None:
    """Give up root for ``user``, keeping the right to pass through folders that only root may enter.

    A checkout below ``/root`` is the usual case; the alternative is to loosen the modes of others' folders.
    """
    # Capabilities survive the change of user, and access(2), with which PostgreSQL looks around, heeds them.
    libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    libc.capget(ctypes.byref(header), data)
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bit = 1 << capability
        if data[0].permitted & bit:
            data[0].effective = data[0].permitted = data[0].inheritable = bit
            data[1].effective = data[1].permitted = data[1].inheritable = 0
            libc.capset(ctypes.byref(header), data)
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            return
    _give_up_all(libc, header, data)


def _give_up_all(libc: ctypes.CDLL, header: _Header, data: ctypes.Array[_Data]) -> None:
    for word in data:
        word.effective = word.permitted = word.inheritable = 0
    libc.capset(ctypes.byref(header), data)


def main() -> None:
    parent, signal_number, user, *command = sys.argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if user != "-":
            _become(libc, int(user))
        # After the change of user, which clears it; and the parent may have died before this line.
        libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()

"""Who works at the command line."""

from __future__ import annotations

import os
import pwd

from echain.infra import audit


def at_keyboard() -> audit.Actor:
    """Return the operator by the account that this process runs as; what the environment says can be said."""
    user_id = os.getuid()
    try:
        return audit.operator(pwd.getpwuid(user_id).pw_name)
    except KeyError:
        return audit.operator(f"uid {user_id}")

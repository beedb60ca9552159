"""When a refresh token is good, what a device is called, what dangerous actions say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

import msgspec

NONCE_LIFE: Final = timedelta(minutes=10)
ACCESS_LIFE: Final = timedelta(minutes=10)
REFRESH_LIFE: Final = timedelta(days=30)
"""How long a session lives that nobody uses."""
SESSION_LIFE: Final = timedelta(days=90)
"""How long a session lives at most, until the wallet signs again."""
REPEAT_GRACE: Final = timedelta(seconds=10)
"""How long the same client may show a used refresh token again: two tabs, or an answer that got lost."""

CONFIRMATION_LIFE: Final = timedelta(minutes=5)

ACTIONS: Final[Mapping[str, str]] = {
    "account.erase": "Erase the account {0} and what is known of its owner.",
    "admin.grant": "Make {0} an administrator of this platform.",
    "admin.revoke": "Take the role of administrator from {0}.",
    "identity.link": "Let whoever signs in as you at the provider {0} open this account.",
    "user.reinstate": "Let the suspended user {0} in again.",
    "user.suspend": "Suspend the user {0} and end their sessions and keys.",
    "organization.delete": "Delete the organization {0}.",
    "organization.hand_over": "Hand the organization {0} over to the user {1}.",
    "organization.invite_owner": "Invite another owner to the organization {0}.",
    "organization.unmake_owner": "Take the role of an owner of the organization {0} from the user {1}.",
    "organization.make_owner": "Make the user {1} an owner of the organization {0}.",
}
"""What a wallet signs before such a thing is done, in the characters that EIP-4361 allows a statement; the
braces take the parts of the target."""

_TARGET: Final = re.compile(r"[A-Za-z0-9._-]{1,100}(?::[A-Za-z0-9._-]{1,100})*")

_MAX_DEVICE: Final = 40
_PLAIN: Final = re.compile(r"[A-Za-z0-9. -]")

# The first match counts: browsers name those they descend from, systems those they look like.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


class RefreshState(msgspec.Struct, frozen=True):
    """A refresh token and its session, as stored.

    ``client`` marks who used it; ``successor_used`` says whether what was given for it was used too.
    """

    session_ended: bool
    session_expires_at: datetime
    expires_at: datetime
    used_at: datetime | None
    client: bytes | None
    successor_used: bool


class Verdict(Enum):
    """What to do with a refresh token."""

    ROTATE = "rotate"
    REPEAT = "repeat"
    """Give again what was given for it."""
    REUSED = "reused"
    """Somebody else holds it: end the session."""
    REFUSE = "refuse"


def refresh_verdict(state: RefreshState, *, client: bytes, now: datetime) -> Verdict:
    """Return what a refresh token deserves that ``client`` shows.

    A used token ends its session, unless the same client shows it within 10 s and what it got for it is still
    unused: then it gets that again, so that no second line of tokens ever begins.
    """
    if state.session_ended or state.session_expires_at <= now:
        return Verdict.REFUSE
    if state.used_at is None:
        return Verdict.ROTATE if now < state.expires_at else Verdict.REFUSE
    repeated = state.client == client and now - state.used_at <= REPEAT_GRACE and not state.successor_used
    return Verdict.REPEAT if repeated else Verdict.REUSED


def sentence(action: str, target: str) -> str | None:
    """Return what an action on a target says; None when there is no such action, or it has no such target.

    A target is one part or several with colons between, none of which can hold words.
    """
    template = ACTIONS.get(action)
    parts = target.split(":")
    if template is None or not _TARGET.fullmatch(target) or len(parts) != template.count("{"):
        return None
    return template.format(*parts)


def device_name(user_agent: str) -> str:
    """Return what people call the device that sends this User-Agent; at most 40 characters.

    Of one that we do not know only letters, digits, points, hyphens are kept: the name is shown to others
    than its sender, and is to hold no address nor anything that a page or a terminal could read.
    """
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if browser and system:
        return f"{browser} on {system}"
    product = "".join(_PLAIN.findall(user_agent.partition(" ")[0]))
    return browser or system or product[:_MAX_DEVICE] or "unknown device"


def is_shown_safely(name: str) -> bool:
    """Return whether a name reads as what it is: nothing invisible, nothing that turns the text around."""
    return name.isprintable() and name == " ".join(name.split())

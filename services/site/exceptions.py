"""The site's errors.

SiteError
  ConfigError        the settings file is missing something or has something it should not
  StoreUnavailable   the database did not answer, or refused to work
  NameTaken          another account has this user name
  UnknownUser        the writer's account is not in the database (a lost or restored one)
  KeyReused          an idempotency key came back with a different message
  SessionEnded       the session was ended by logging out, and its cookie came back
  Busy               too many passwords wait to be checked
"""

from __future__ import annotations


class SiteError(Exception):
    """Whatever the site itself raises."""


class ConfigError(SiteError):
    """The settings file cannot be used; the text says which field and why."""


class StoreUnavailable(SiteError):
    """The database cannot serve this request now; asking again later may help.

    ``unsure``: a commit was under way, so the write may have happened all the same.
    """

    unsure = False


class NameTaken(SiteError):
    """Two users cannot have one name."""


class UnknownUser(SiteError):
    """The session names a user the database does not have, as after a failover that lost rows."""


class KeyReused(SiteError):
    """The same idempotency key with another text: replaying would silently drop the new text."""


class SessionEnded(SiteError):
    """Logging out ends a session everywhere, also for whoever has a copy of its cookie."""


class Busy(SiteError):
    """So many passwords wait to be checked here that one more would only wait, and take a thread from others."""

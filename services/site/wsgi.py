"""The application that gunicorn runs: `services.site.wsgi:app`, with the settings file named by FOOBAR_SITE_CONFIG."""

from __future__ import annotations

import os
from pathlib import Path

from services.site.app import create_app
from services.site.config import load
from services.site.exceptions import ConfigError

VARIABLE = "FOOBAR_SITE_CONFIG"

if VARIABLE not in os.environ:
    raise ConfigError(f"{VARIABLE} must name the site's settings file")

app = create_app(load(Path(os.environ[VARIABLE])))

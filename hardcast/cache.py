"""The folder that keeps what can be fetched or built again: models, simulators, cell libraries."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "HARDCAST_CACHE"


def cache_folder() -> Path:
    """$HARDCAST_CACHE, or the user's cache folder of the system. It need not be there yet."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("hardcast"))

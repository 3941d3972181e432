"""Opening a page in the user's browser."""

from __future__ import annotations

import os
import sys
import webbrowser

__all__ = ["open_page"]


def open_page(address: str) -> bool:
    """Open an address in a graphical browser; False if there is none (a text browser would take the terminal)."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    return webbrowser.open(address)

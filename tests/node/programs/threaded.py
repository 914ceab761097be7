"""A module that no template may have: its import starts a thread."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()

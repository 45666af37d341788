"""Everything that happens before torch is imported: the command line, its checks, folders, processes, errors.

Nothing in this package imports torch, numpy or matplotlib, so that a wrong command is answered at once.
"""

from . import threads as threads  # counts from here how busy the cores are

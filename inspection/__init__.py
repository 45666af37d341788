"""Show what trained networks answer, and why: side by side, stage by stage, where they look, where they err.

`page` puts all of it on the page of demo.py; the other files know nothing of a browser.
"""

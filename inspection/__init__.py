"""Show what trained networks answer, and why: side by side, stage by stage, where they look, where they err.

For the page of demo.py `views` writes them as HTML, `page` answers its events, and `layout` builds it with gradio.
"""

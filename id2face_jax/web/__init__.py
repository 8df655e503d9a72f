"""The page: drop a photo, compare before and after, save the result.

`answers` turns one photo into one answer, `server` speaks HTTP, and page.html, page.css
and page.js are what the browser gets. It is the standard library's server and not
Gradio's: Gradio writes uploads to disk and its page asks other hosts for fonts and
scripts; and its newest release refuses the Pillow that is pinned here.
"""

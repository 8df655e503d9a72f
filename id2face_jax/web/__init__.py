"""The page: drop a photo, compare before and after, save the result.

`answers` turns one photo into one answer. `app` is what a browser may ask, `jobs` the
line in which photos wait, `intake` those that are on their way; `connections` and
`server` speak HTTP with uvicorn. page.css and page.js go to the browser as they are. It
is not Gradio, which writes uploads to disk and asks other hosts for fonts and scripts.
"""

"""A report as a single HTML file: no script, no external content, a strict Content-Security-Policy.

Pages are trees of elements, never concatenated strings, so that a name or a text from the API can't become markup.
"""

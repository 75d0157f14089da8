"""A report as one HTML file: no script, nothing from elsewhere, a strict Content-Security-Policy.

Pages are trees of elements, never strings put together, so that no name and no word of an API can become markup.
"""

"""The page for the people on call, and its JSON.

Other processes read the logs and render the page, so that no viewer delays a run. Nothing of this package is imported
before the first request for the page.
"""

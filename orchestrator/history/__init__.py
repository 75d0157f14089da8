"""What many runs come to: an index over their logs, which can be made anew from them at any time, and what was saved.

May import audit, billing and the words.
"""

"""What a stop does to the bill: rates per CVM, and the note that goes with every accepted stop.

Pure. May import the words. Money is `Decimal`, in USD per hour unless a name says otherwise; unknown is None, never a
guess. The facts behind it: a stop settles the open compute usage at once and compute ends; storage goes on for running
and stopped CVMs alike; an on-demand GPU CVM is charged a 24-hour minimum up front, and again after a stop and a start.
"""

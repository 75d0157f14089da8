"""The effect of actions on the bill: rates per CVM, the note of every accepted stop, charges and savings.

Pure. May import the shared words. Money is `Decimal`, in USD per hour unless a name says otherwise; an unknown amount
is None, never a guess. The facts: a stop charges the open compute usage at once, and compute ends; storage is charged
for running and stopped CVMs alike; an on-demand GPU CVM is charged a 24-hour minimum up front, and again after a stop
and a start.
"""

"""What released versions wrote: every later version reads it."""

"""Classes of values with a quick creation: a plan creates several values for each of thousands of CVMs.

A frozen dataclass assigns every field by a call of `object.__setattr__`, and so takes four times as long to create.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value_class
else:
    from dataclasses import dataclass

    def value_class(**options):  # noqa: ANN003, ANN201 - typed above
        """Make a dataclass with the hash of a frozen dataclass; only the type checker refuses a change of a value."""
        return dataclass(**options | {"frozen": False, "unsafe_hash": True})


__all__ = ["value_class"]

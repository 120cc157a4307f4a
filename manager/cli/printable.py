"""Make text safe to print, as every process of the desk does."""

from manager.processes.printable import printable

__all__ = ["printable"]

"""The command line, `layeron-job`: servers to run, and a client for people and scripts."""

from .main import main

__all__ = ["main"]

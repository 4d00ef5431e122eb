"""Darkroom: the words every part of the service shares."""

from importlib.metadata import version

__version__ = version("darkroom")

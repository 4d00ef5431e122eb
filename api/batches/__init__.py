"""Batches over HTTP: lines in, lines out."""

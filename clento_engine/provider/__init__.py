"""Unipile over HTTP: the only requests to it."""

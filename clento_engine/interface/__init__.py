"""The doors for people and machines."""

"""The storm that replays: one process, time of its own, every accident drawn by a seed."""

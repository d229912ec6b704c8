"""The demo: invented people, real parts, weeks in seconds, and a verdict."""

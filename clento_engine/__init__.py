"""LinkedIn outreach campaigns through the Unipile API, on PostgreSQL alone."""

__version__ = "0.1.0"

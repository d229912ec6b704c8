"""A LinkedIn of invented people behind a faithful Unipile HTTP server, with its own ledger."""

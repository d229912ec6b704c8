"""What brings domain, store and provider together: ticker, reconcile, sweep, inbox, outbox."""

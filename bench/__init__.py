"""The benchmark: ours and the peers, in the same run.  Run by `python -m bench`, never imported."""

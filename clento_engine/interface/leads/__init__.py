"""The file of leads: a table as people export it, read into rows.

What is certain is put right without asking (addresses, spaces, a byte order mark); what would be
a guess is left out or refused with its row and a fix, because a guessed name is sent to a real
person.
"""

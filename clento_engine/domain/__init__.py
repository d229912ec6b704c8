"""Pure decisions: values in, values out; no SQL, no HTTP, no clock."""

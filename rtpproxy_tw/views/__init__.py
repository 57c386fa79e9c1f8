"""Sessions as plain values, the same in answers, records, reports and log lines. Pure."""

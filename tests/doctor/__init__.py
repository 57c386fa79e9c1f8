"""The doctor: what it concludes, and what it finds in networks made to be faulty."""

"""The hostile plan: each row of it against a real relay process, see docs/hostile.rst."""

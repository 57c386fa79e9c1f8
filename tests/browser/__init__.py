"""The dashboard in a real browser, in front of a real relay that carries real calls."""

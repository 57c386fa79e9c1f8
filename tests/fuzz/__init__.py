"""Arbitrary input, chosen by what it reaches: ``python -m tests.fuzz NAME --seconds N``.

``targets`` are functions that take bytes and return nothing, or raise. ``engine`` drives them where
atheris is not installed, ``driven`` lets atheris do it. Inputs worth keeping are in ``corpora``, a
file for each target and an input a line, in hexadecimal; what ever made a target raise is in
``findings``, in the same form, and both are tried again by every run of the tests.
"""

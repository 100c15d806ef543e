"""Figures of Apocryph, each with a name, measured again by one command.

`python -m bench NAME` runs one figure; `bench/README.md` holds the table of the last full run.
Nothing in the product imports this package, and it is in no wheel.
"""

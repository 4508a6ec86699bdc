"""What comes from outside, against the code that reads it first.

One module a target: `seeds()` are what its corpus begins with, `prepare(folder)` gives the production entry that takes one
input of at most LONGEST bytes and raises for a find only. `run` drives them by coverage, `test_structured` by hypothesis.
"""

"""How fast the node is, as ratios against fair peers in the same run: ``make bench``.

`subjects.SUBJECTS` lists what is measured; each subject is one module with a function
``run(scale, work, tell)`` that returns a `report.Report`. `python -m tests.bench`
runs them, and writes the tables of ``docs/performance.md``. Nothing asserts a time:
the machines that run this are shared and noisy.
"""

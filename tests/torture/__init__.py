"""Twenty tests that try to break a running node, as programs anybody can run.

``python -m tests.torture`` lists them; each module ``row_<NN>_<slug>.py`` is one, with
a short form for CI and a full one for the figures of ``docs/reliability.md``.
"""

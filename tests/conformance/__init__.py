"""Other people's test suites and our own torture, run against the embedded cluster.

python -m tests.conformance            every suite, the table, docs/conformance.md with --write
python -m tests.conformance kopf kr8s  some of them

sources     a package's source distribution, taken from the registry at test time; nothing of it is committed
embedded    a cluster of its own for a suite, gone when the suite ends
outcome     what became of each test, and the table
suite_*     one suite each: how it is run and which misses are known, with the reason
"""

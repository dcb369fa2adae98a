"""Coverage-guided fuzzing: ``python -m tests.fuzz tar -max_total_time=900``.

Needs root and atheris (the extra ``fuzz``). What it finds is kept in ``cases/`` and tried again by
``tests/root/test_fuzz_cases.py``. A fuzzer NAME is a module ``fuzz_NAME`` with a context manager ``target(corpus)``.
"""

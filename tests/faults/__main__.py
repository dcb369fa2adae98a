"""Every fault at every step of the transactions, on throw-away machines; takes a quarter of an hour.

``python -m tests.faults`` prints each point, and at the end a table like that of ``docs/faults.md``; with arguments
only the campaigns whose titles have all words of one of them, as in ``python -m tests.faults "update crash" recover``.
"""

import sys

from tests.machine.transactions import main

sys.exit(main(sys.argv[1:]))

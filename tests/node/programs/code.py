"""A program that may be forked: runs the code in its first argument, as `python -c` does."""

import sys

if __name__ == "__main__":
    sys.argv[0] = "-c"
    exec(compile(sys.argv.pop(1), "<code>", "exec"), {"__name__": "__main__"})

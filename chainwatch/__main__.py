"""``python -m chainwatch`` and the ``chainwatch`` command."""

from chainwatch.cli import main

if __name__ == "__main__":
    main()
